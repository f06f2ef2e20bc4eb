"""Written and spoken English sentences, for text normalisation: WordNet's glosses with numbers said by num2words.

    slam prepare normalization --tree TREE --out FOLDER

writes ``{split}.written``, ``{split}.spoken`` and ``{split}.classes`` of train, valid and test: a sentence a line, and
its class, the kind of its one word with digits (:mod:`data_prep.text.numbers`) or ``plain`` if it has none. A written
sentence is normalised (lower case, no punctuation) but for that word, which stands as it is written.

Sentences come from two sources. *Found* ones are definitions and examples of WordNet with exactly one word with digits,
whose kind is sure: four digits without a comma, which may be a year or not, are one behind a word that years follow
and else of no sure kind. Other words with digits (``2-dimensional``, ``B1``) are not read; their sentences are left out
and counted. *Generated* ones are for the kinds that glosses hardly have: a quarter of the definitions without digits
get a phrase with a written form before or behind, such as "sold for $3.50"; one of thirteen stays plain. Kind, form and
phrase are drawn by the definition's own text. The split is that of the gloss. What is said is what num2words says of
numbers, with a few rules around it; nobody has checked it against speech.
"""

import argparse
import calendar
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.splits import SPLIT_OF_FAIRSEQ, bucket
from data_prep.packages import wordnet
from data_prep.packages.command import left_out, writing
from data_prep.text.normalize import ENGLISH_LETTERS, foreign_letters, normalize_english
from data_prep.text.numbers import CURRENCIES, KINDS, UNITS, kinds_of, ordinal_form, speak
from data_prep.text.parallel import PLAIN, SIDES
from slam_plugin.data.files import atomic_write

# The splits' names here, as fairseq's translation task has them.
FEWEST_WORDS, MOST_WORDS = 3, 14
# One definition in so many gets a generated form.
CARRIER_PARTS = 4
LONGEST_WORDS = 50

# Words that a year follows where four digits without a comma do.
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
    """A sentence as it is written and as it is said, and the kind of its one word with digits, or ``plain``."""

    written: str
    spoken: str
    kind: str


class Parallel(NamedTuple):
    """Sentences by split, how many of them were found and generated, and why others are left out."""

    splits: dict[str, list[Sentence]]
    sources: Counter[str]
    dropped: Counter[str]


def read_parallel(glosses: Sequence[wordnet.Gloss]) -> Parallel:
    """The sentences of WordNet's glosses; no written and no spoken sentence occurs twice."""
    parallel = Parallel({split: [] for split in SPLIT_OF_FAIRSEQ}, Counter(), Counter())
    names = {there: here for here, there in SPLIT_OF_FAIRSEQ.items()}
    seen: set[str] = set()
    for gloss in glosses:
        for number, text in enumerate(gloss.sentences):
            if any(map(str.isdigit, text)):
                source, made = "found", find(text)
            elif number == 0 and bucket(text, CARRIER_PARTS) == 0:
                source, made = "generated", generate(text)
            else:
                continue
            fault = made if isinstance(made, str) else _fault(made, seen)
            if fault:
                parallel.dropped[f"{source}: {fault}"] += 1
                continue
            seen |= {made.written, made.spoken}
            parallel.sources[f"{source}, {made.kind}"] += 1
            parallel.splits[names[gloss.split]].append(made)
    return parallel


def find(text: str) -> Sentence | str:
    """The sentence of a text that holds digits, or why it is not used."""
    words = text.split()
    numbered = [place for place, word in enumerate(words) if any(map(str.isdigit, word))]
    if len(numbered) > 1:
        return "several words with digits"
    at = numbered[0]
    before, behind = (normalize_english(" ".join(part)) for part in (words[:at], words[at + 1 :]))
    form = words[at].lstrip(_OPENING).rstrip(_CLOSING).lower()
    kind = _sure_kind(form, before)
    said = speak(form, kind) if kind else None
    if said is None:
        return "a word with digits whose reading is not sure"
    written, spoken = (" ".join(filter(None, (before, middle, behind))) for middle in (form, said))
    return Sentence(written, spoken, kind)


def generate(text: str) -> Sentence | str:
    """A text without digits with a phrase and a written form, drawn by the text, or why it is not used."""
    carrier = normalize_english(text)
    if not FEWEST_WORDS <= carrier.count(" ") + 1 <= MOST_WORDS:
        return f"fewer than {FEWEST_WORDS} or more than {MOST_WORDS} words"
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


def write_parallel(out: str | Path, split: str, sentences: Sequence[Sentence]) -> None:
    """Write the two sides and the classes of one split below ``out``."""
    for name, lines in zip((*SIDES, "classes"), zip(*sentences, strict=True), strict=True):
        with atomic_write(Path(out, f"{split}.{name}")) as file:
            file.writelines(f"{line}\n" for line in lines)


def draw_form(kind: str, draw: random.Random) -> str:
    """A written form of a kind, one that :func:`data_prep.text.numbers.speak` can say."""
    match kind:
        case "cardinal":
            number = _some_whole(draw, 6.5)
            return f"{number:,}" if number >= 10_000 or draw.random() < 0.5 else str(number)
        case "ordinal":
            return ordinal_form(_some_whole(draw, 3))
        case "decimal":
            return f"{draw.randrange(1000) if draw.random() < 0.3 else draw.randrange(10)}.{_some_digits(draw, 3)}"
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
            return f"{draw.choice(tuple(CURRENCIES))}{_some_whole(draw, 5):,}{cents}"
        case "percent":
            return f"{draw.randint(1, 100)}%" if draw.random() < 0.7 else f"{draw.randrange(100)}.{draw.randrange(10)}%"
        case "fraction":
            bottom = draw.choice((2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20, 100))
            return f"{draw.randint(1, bottom - 1)}/{bottom}"
        case "measure":
            rest = f".{_some_digits(draw, 2)}" if draw.random() < 0.3 else ""
            return f"{_some_whole(draw, 4):,}{rest}{draw.choice(tuple(UNITS))}"
        case "time":
            return f"{draw.randint(1, 12)}:{draw.choice((0, 5, 15, 30, draw.randrange(60))):02}"
        case "digits":
            return f"{draw.randrange(1000):03}-{draw.randrange(10_000):04}"
    raise ValueError(f"no form of {kind!r} can be drawn")


def _some_whole(draw: random.Random, most_digits: float) -> int:
    """A number from 1 on, as many of each length."""
    return int(10 ** draw.uniform(0, most_digits))


def _some_digits(draw: random.Random, most: int) -> str:
    return "".join(str(draw.randrange(10)) for _ in range(draw.randint(1, most)))


def _sure_kind(form: str, before: str) -> str | None:
    """The kind of a form that stands behind normalised words, None where it may be one of several or of none."""
    kinds = [kind for kind in kinds_of(form) if kind not in _NEVER_FOUND]
    if kinds == ["cardinal", "year"]:
        return "year" if before.rpartition(" ")[2] in _BEFORE_YEARS else None
    return kinds[0] if len(kinds) == 1 else None


def _fault(made: Sentence, seen: set[str]) -> str | None:
    """Why a sentence is not used."""
    if made.written in seen or made.spoken in seen:
        return "a sentence that occurred before"
    if foreign_letters(made.spoken, ENGLISH_LETTERS):
        return "letters that are not English"
    if made.spoken.count(" ") + 1 > LONGEST_WORDS:
        return f"more than {LONGEST_WORDS} words"
    return None


def _write(arguments: argparse.Namespace) -> Iterator[str]:
    parallel = read_parallel(wordnet.read_glosses(arguments.tree))
    for split, sentences in parallel.splits.items():
        write_parallel(arguments.out, split, sentences)
        counts = sorted(Counter(sentence.kind for sentence in sentences).items())
        yield f"{split}: " + ", ".join(f"{count} {kind}" for kind, count in counts)
    yield from left_out(parallel.dropped)


main = writing("normalization", __doc__, _write)
