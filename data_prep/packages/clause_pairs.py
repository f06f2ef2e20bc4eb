"""Pairs of short clauses, English and Spanish, cut from two Bibles: what :mod:`data_prep.packages.clauses` speaks.

Both sides of a verse are cut at punctuation. They are paired if they have equally many clauses. Many such pairs are no
translations of each other. IBM model 1 (:mod:`data_prep.text.word_alignment`) scores them in both directions, and the
best third is kept. The model is fit on training clauses. A model of one half of the chapters scores the other half, so
that training clauses are chosen by the same standard as dev and test clauses, which the model never saw either.

A clause has the split of its chapter, as the verses of :mod:`data_prep.packages.bibles` do. An English clause is used
once, in the first of test, dev and train that it occurs in.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.engine.splits import SPLITS, bucket
from data_prep.engine.units import Dropped
from data_prep.packages.bibles import Place, homes, normalized, read_printed
from data_prep.text.normalize import normalize, normalize_english
from data_prep.text.word_alignment import fit, mean_log_probability, number_words, vocabulary_of

ENGLISH, SPANISH = "web", "rv1909"
_MODULES = {"English": ENGLISH, "Spanish": SPANISH}
MIN_ENGLISH_WORDS, MAX_ENGLISH_WORDS, MAX_SPANISH_WORDS = 3, 12, 14
MIN_RATIO, MAX_RATIO = 0.45, 2.0  # characters of Spanish to a character of English
# Nats per word, the mean of both directions.
MIN_LOG_PROBABILITY = -3.5

_MARKS = re.compile(r"[,;:.!?]")


class Clause(NamedTuple):
    """A clause and its translation, normalized.

    Attributes:
        key: its verse and its number in the verse.
        chapter: book and number.
    """

    key: str
    chapter: str
    split: str
    english: str
    spanish: str


_SIDES = (Clause._fields.index("english"), Clause._fields.index("spanish"))


class Chosen(NamedTuple):
    """Clauses in the order of the books.

    Attributes:
        clauses: those to be spoken.
        unspoken: good training clauses beyond the number asked for: pairs for text translation.
        dropped: clauses that are not good.
        spare: number of good clauses of the other splits that were not needed.
    """

    clauses: tuple[Clause, ...]
    unspoken: tuple[Clause, ...]
    dropped: tuple[Dropped, ...]
    spare: int


def choose_clauses(tree: Path, sizes: Mapping[str, int]) -> Chosen:
    """Return ``sizes[split]`` clauses of each split, those of smallest md5, or all if there are fewer.

    ``tree`` holds the unpacked packages. Raises :class:`DataError` if a Bible is absent or damaged.
    """
    printed = {name: read_printed(tree, name) for name in (ENGLISH, SPANISH)}
    found = list(cut_verses(printed))
    dropped = [each for each in found if isinstance(each, Dropped)]
    clauses = _in_one_split([each for each in found if isinstance(each, Clause)], dropped)
    good = _once(_aligned(clauses, dropped), dropped)
    drawn = {each.key for split, size in sizes.items() for each in draw(good, split, size)}
    chosen, others = (tuple(each for each in good if (each.key in drawn) == spoken) for spoken in (True, False))
    unspoken = tuple(each for each in others if each.split == "train")
    return Chosen(chosen, unspoken, tuple(dropped), len(others) - len(unspoken))


def cut_verses(printed: Mapping[str, Mapping[Place, str]]) -> Iterator[Clause | Dropped]:
    """Yield the pairs of clauses of all verses, and the verses and clauses that are dropped."""
    bibles = {name: normalized(name, verses) for name, verses in printed.items()}
    home = homes({ENGLISH: bibles[ENGLISH]})
    for place, written in printed[ENGLISH].items():
        if not written.strip():
            continue  # the numbering has this place, but the translation does not
        name = str(place)
        missing = [language for language, own in _MODULES.items() if place not in bibles[own].verses]
        if missing:
            yield Dropped(name, f"is no verse, or none of letters alone, in {' and '.join(missing)}")
        elif home[bibles[ENGLISH].verses[place]] != place.split:
            yield Dropped(name, "is a verse that occurs in another split")
        else:
            yield from _cut_verse(name, place, written, printed[SPANISH][place])


def _cut_verse(name: str, place: Place, english: str, spanish: str) -> Iterator[Clause | Dropped]:
    sides = _cut(english, normalize_english), _cut(spanish, normalize)
    if len(sides[0]) != len(sides[1]):
        yield Dropped(name, "is a verse of different numbers of clauses")
        return
    for number, (first, second) in enumerate(zip(*sides, strict=True), 1):
        fault = fault_of(first, second)
        if fault:
            yield Dropped(f"{name}, clause {number}", fault)
        else:
            key = f"{place.book.replace(' ', '_')}-{place.chapter}-{place.verse}-{number}"
            yield Clause(key, f"{place.book} {place.chapter}", place.split, first, second)


def _cut(verse: str, normalizer: Callable[[str], str]) -> list[str]:
    """Return the normalized clauses of a printed verse."""
    return [clause for clause in map(normalizer, _MARKS.split(verse)) if clause]


def fault_of(english: str, spanish: str) -> str | None:
    """Return why a pair of normalized clauses is not used, None if it is."""
    if not MIN_ENGLISH_WORDS <= len(english.split()) <= MAX_ENGLISH_WORDS:
        return f"has fewer than {MIN_ENGLISH_WORDS} or more than {MAX_ENGLISH_WORDS} English words"
    if len(spanish.split()) > MAX_SPANISH_WORDS:
        return f"has more than {MAX_SPANISH_WORDS} Spanish words"
    if not MIN_RATIO <= len(spanish) / len(english) <= MAX_RATIO:
        return f"has Spanish of less than {MIN_RATIO} or more than {MAX_RATIO} times the length of its English"
    return None


def _in_one_split(clauses: Sequence[Clause], dropped: list[Dropped]) -> list[Clause]:
    home: dict[str, str] = {}
    for split in SPLITS:
        home |= {each.english: split for each in clauses if each.split == split}
    dropped += [Dropped(each.key, "occurs in another split") for each in clauses if home[each.english] != each.split]
    return [each for each in clauses if home[each.english] == each.split]


def _aligned(clauses: Sequence[Clause], dropped: list[Dropped]) -> list[Clause]:
    good = scores(clauses) >= MIN_LOG_PROBABILITY
    dropped += [
        Dropped(each.key, "is not aligned word by word") for each, kept in zip(clauses, good, strict=True) if not kept
    ]
    return [each for each, kept in zip(clauses, good, strict=True) if kept]


def _once(clauses: Sequence[Clause], dropped: list[Dropped]) -> list[Clause]:
    first: dict[str, Clause] = {}
    for each in clauses:
        if first.setdefault(each.english, each) is not each:
            dropped.append(Dropped(each.key, "has English that occurs before"))
    return list(first.values())


def scores(clauses: Sequence[Clause]) -> np.ndarray:
    """Return (clauses,) float64: mean log probability of a word given the other side, in nats, over both directions.

    Each half of the training chapters is scored by a model of the other half; dev and test clauses by one of these.
    """
    found = np.zeros(len(clauses))
    # The half whose model is fit on a training clause; None for the other splits.
    halves = [bucket(each.chapter, 2) if each.split == "train" else None for each in clauses]
    for half in (0, 1):
        fitted = [each for each, own in zip(clauses, halves, strict=True) if own == half]
        scored = [place for place, own in enumerate(halves) if own == 1 - half or (own is None and half == 0)]
        if fitted and scored:
            found[scored] = _scores_by(fitted, [clauses[place] for place in scored])
    return found


def _scores_by(fitted: Sequence[Clause], scored: Sequence[Clause]) -> np.ndarray:
    vocabularies = [vocabulary_of(each[side] for each in fitted) for side in _SIDES]
    training, wanted = (
        [number_words([each[side] for each in group], own) for side, own in zip(_SIDES, vocabularies, strict=True)]
        for group in (fitted, scored)
    )
    total = np.zeros(len(scored))
    for source, target in ((0, 1), (1, 0)):
        table = fit(training[source], training[target], len(vocabularies[target]) + 1)
        total += mean_log_probability(table, wanted[source], wanted[target])
    return total / 2


def draw(clauses: Sequence[Clause], split: str, size: int) -> list[Clause]:
    """Return the ``size`` clauses of a split whose English has the smallest md5, or all if there are fewer."""
    own = [each for each in clauses if each.split == split]
    return sorted(own, key=lambda each: hashlib.md5(each.english.encode()).digest())[:size]
