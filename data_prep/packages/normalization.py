"""Written and spoken English sentences, for text normalization: WordNet's glosses with numbers read by num2words.

    slam prepare normalization --tree TREE --out FOLDER [--jobs N] [--shard I/N | --merge]

writes ``{split}.written``, ``{split}.spoken`` and ``{split}.classes`` of train, valid and test: a sentence a line, and
its class, the kind of its only word with digits (:mod:`data_prep.text.numbers`) or ``plain`` if it has none. A written
sentence is normalized (lower case, no punctuation) except that word, which stays as it is written.

Sentences come from two sources. *Found* ones are definitions and examples of WordNet with exactly one word with digits
of a known kind. Four digits without a comma are a year after a word that years follow; otherwise their kind is unknown.
Sentences with other words with digits (``2-dimensional``, ``B1``) are left out and counted. *Generated* ones are for
the kinds that glosses hardly have: a quarter of the definitions without digits get a phrase with a written form before
or after them, such as "sold for $3.50"; one of thirteen stays plain. The definition's own text decides kind, form and
phrase. The split is that of the gloss. The spoken side is what num2words gives, with a few rules around it. It was not
checked against speech.
"""

import calendar
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.engine.splits import FAIRSEQ_SPLITS, SPLIT_NAMES, bucket
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, lines
from data_prep.packages import wordnet
from data_prep.packages.command import package_preparation
from data_prep.text.normalize import ENGLISH_LETTERS, foreign_letters, normalize_english
from data_prep.text.numbers import CURRENCIES, KINDS, UNITS, kinds_of, ordinal_form, speak
from data_prep.text.parallel import FILES, PLAIN

# Of a definition that gets a generated form.
MIN_CARRIER_WORDS, MAX_CARRIER_WORDS = 3, 14
# One definition of four gets a generated form.
CARRIER_PARTS = 4
MAX_WORDS = 50

# After these words, four digits without a comma are a year.
_BEFORE_YEARS = {"in", "since", "until", "till", "after", "before", "born", "died", "during"}
# "950-1021" is no telephone number in a gloss.
_NEVER_FOUND = {"digits"}
_OPENING, _CLOSING = "([\"'`", ")]\"'`,;:.!?"
_PHRASES = {
    "cardinal": (
        "with {} of them in all",
        "for {} people",
        "and {} more like it",
        "one of {} kinds",
        "worth {} points",
    ),
    "ordinal": ("the {} of its kind", "on the {} day", "for the {} time", "now in its {} edition", "the {} in a row"),
    "decimal": ("by a factor of {}", "with a mean of {}", "{} times as large", "rated {} by most", "a score of {}"),
    "year": ("first seen in {}", "known since {}", "until the spring of {}", "made before {}", "named in {}"),
    "years": ("from the years {}", "by an artist who lived {}", "in the reign of {}", "built {}"),
    "date": ("on {}", "dated {}", "as of {}", "due by {}", "last seen on {}"),
    "money": ("sold for {}", "at a price of {}", "worth {} today", "for {} a piece", "which cost {}"),
    "percent": ("{} of all cases", "up by {}", "{} pure", "less than {} of it"),
    "fraction": ("{} of the whole", "about {} full", "{} of it", "no more than {} of all"),
    "measure": ("about {} of it", "at {}", "no less than {}", "of {} or more"),
    "time": ("at {}", "from {} on", "every day at {}", "until {}", "just before {}"),
    "digits": ("call {}", "the number is {}", "listed under {}", "by phone at {}"),
}


class Sentence(NamedTuple):
    """A written and spoken sentence, and the kind of its only word with digits, or ``plain``."""

    written: str
    spoken: str
    kind: str


class Made(NamedTuple):
    """A sentence that is used, and its source: ``found`` or ``generated``."""

    source: str
    sentence: Sentence


def read_parallel(glosses: Sequence[wordnet.Gloss]) -> list[list[Made | Dropped]]:
    """Return what each gloss gives. No written and no spoken sentence occurs twice."""
    seen: set[str] = set()
    return [list(_of_gloss(gloss, seen)) for gloss in glosses]


def _of_gloss(gloss: wordnet.Gloss, seen: set[str]) -> Iterator[Made | Dropped]:
    for number, text in enumerate(gloss.sentences):
        if any(map(str.isdigit, text)):
            source, made = "found", find(text)
        elif number == 0 and bucket(text, CARRIER_PARTS) == 0:
            source, made = "generated", generate(text)
        else:
            continue
        fault = made if isinstance(made, str) else _fault(made, seen)
        if fault:
            yield Dropped(gloss.id, f"{source}: {fault}")
            continue
        seen |= {made.written, made.spoken}
        yield Made(source, made)


def find(text: str) -> Sentence | str:
    """Return the sentence of a text that has digits, or why it is not used."""
    words = text.split()
    numbered = [place for place, word in enumerate(words) if any(map(str.isdigit, word))]
    if len(numbered) > 1:
        return "several words with digits"
    at = numbered[0]
    before, after = (normalize_english(" ".join(part)) for part in (words[:at], words[at + 1 :]))
    form = words[at].lstrip(_OPENING).rstrip(_CLOSING).lower()
    kind = _sure_kind(form, before)
    reading = speak(form, kind) if kind else None
    if reading is None:
        return "a word with digits of unknown kind"
    written, spoken = (" ".join(filter(None, (before, middle, after))) for middle in (form, reading))
    return Sentence(written, spoken, kind)


def generate(text: str) -> Sentence | str:
    """Return a text without digits with a phrase and a written form, drawn by the text, or why it is not used."""
    carrier = normalize_english(text)
    if not MIN_CARRIER_WORDS <= carrier.count(" ") + 1 <= MAX_CARRIER_WORDS:
        return f"fewer than {MIN_CARRIER_WORDS} or more than {MAX_CARRIER_WORDS} words"
    draw = random.Random(carrier)
    kind = draw.choice((PLAIN, *KINDS))
    if kind == PLAIN:
        return Sentence(carrier, carrier, PLAIN)
    form = draw_form(kind, draw)
    phrase = draw.choice(_PHRASES[kind])
    sentence = draw.choice(("{carrier} {phrase}", "{carrier} {phrase}", "{phrase} {carrier}"))
    written, spoken = (
        sentence.format(carrier=carrier, phrase=phrase.format(side)) for side in (form, speak(form, kind))
    )
    return Sentence(written, spoken, kind)


def draw_form(kind: str, draw: random.Random) -> str:
    """Return a written form of a kind that :func:`data_prep.text.numbers.speak` can read."""
    match kind:
        case "cardinal":
            number = _drawn_whole(draw, 6.5)
            return f"{number:,}" if number >= 10_000 or draw.random() < 0.5 else str(number)
        case "ordinal":
            return ordinal_form(_drawn_whole(draw, 3))
        case "decimal":
            return f"{draw.randrange(1000) if draw.random() < 0.3 else draw.randrange(10)}.{_drawn_digits(draw, 3)}"
        case "year":
            return str(draw.randint(1100, 2099))
        case "years":
            first = draw.randint(1100, 2009)
            return f"{first}-{first + draw.randint(1, 90)}"
        case "date":
            year, month = draw.randint(1500, 2099), draw.randint(1, 12)
            day = draw.randint(1, calendar.monthrange(year, month)[1])
            return f"{month}/{day}/{year}" if draw.random() < 0.75 else f"{year}-{month:02}-{day:02}"
        case "money":
            cents = f".{draw.randrange(100):02}" if draw.random() < 0.5 else ""
            return f"{draw.choice(tuple(CURRENCIES))}{_drawn_whole(draw, 5):,}{cents}"
        case "percent":
            return f"{draw.randint(1, 100)}%" if draw.random() < 0.7 else f"{draw.randrange(100)}.{draw.randrange(10)}%"
        case "fraction":
            bottom = draw.choice((2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20, 100))
            return f"{draw.randint(1, bottom - 1)}/{bottom}"
        case "measure":
            rest = f".{_drawn_digits(draw, 2)}" if draw.random() < 0.3 else ""
            return f"{_drawn_whole(draw, 4):,}{rest}{draw.choice(tuple(UNITS))}"
        case "time":
            return f"{draw.randint(1, 12)}:{draw.choice((0, 5, 15, 30, draw.randrange(60))):02}"
        case "digits":
            return f"{draw.randrange(1000):03}-{draw.randrange(10_000):04}"
    raise ValueError(f"no form of {kind!r} can be drawn")


def _drawn_whole(draw: random.Random, max_digits: float) -> int:
    """Return a number from 1 on. All lengths are equally likely."""
    return int(10 ** draw.uniform(0, max_digits))


def _drawn_digits(draw: random.Random, max_digits: int) -> str:
    return "".join(str(draw.randrange(10)) for _ in range(draw.randint(1, max_digits)))


def _sure_kind(form: str, before: str) -> str | None:
    """Return the kind of a form after the normalized words ``before``, None unless it has exactly one."""
    kinds = [kind for kind in kinds_of(form) if kind not in _NEVER_FOUND]
    if kinds == ["cardinal", "year"]:
        return "year" if before.rpartition(" ")[2] in _BEFORE_YEARS else None
    return kinds[0] if len(kinds) == 1 else None


def _fault(made: Sentence, seen: set[str]) -> str | None:
    """Return why a sentence is not used, None if it is."""
    if made.written in seen or made.spoken in seen:
        return "a sentence that occurred before"
    if foreign_letters(made.spoken, ENGLISH_LETTERS):
        return "letters that are not English"
    if made.spoken.count(" ") + 1 > MAX_WORDS:
        return f"more than {MAX_WORDS} words"
    return None


@lru_cache(maxsize=1)
def _parallel(root: Path) -> list[list[Made | Dropped]]:
    """Return what all glosses give. Each process reads them all, as a sentence may occur in any of them."""
    return read_parallel(wordnet.read_glosses(root))


@dataclass(frozen=True)
class Normalization(Corpus):
    """Sentences of the glosses in WordNet's folder ``root``. A unit is a run of neighboring glosses."""

    root: Path

    part_bytes = 2 << 20

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {"corpus": "normalization", "layout": 1, "root": str(self.root)}

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {split: Output(tuple(f"{split}.{name}" for name in FILES)) for split in FAIRSEQ_SPLITS}

    def units(self) -> Iterator[Unit]:
        return wordnet.units_of(wordnet.read_glosses(self.root))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        part = slice(*unit.data)
        for gloss, found in zip(wordnet.read_glosses(self.root)[part], _parallel(self.root)[part], strict=True):
            for each in found:
                if isinstance(each, Dropped):
                    yield each
                else:
                    yield Noted(f"{each.source}, {each.sentence.kind}")
                    yield lines(SPLIT_NAMES[gloss.split], *each.sentence)


def open_corpus(tree: Path) -> Normalization:
    """Return the sentences of WordNet below ``tree``, the unpacked package.

    Raises :class:`DataError` if a file of it is absent.
    """
    return Normalization(wordnet.folder_of(tree))


main = package_preparation("normalization", __doc__, lambda options: open_corpus(options.tree))
