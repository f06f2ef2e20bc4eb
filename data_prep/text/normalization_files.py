"""Files of written and spoken text: tokens in two publishers' formats, and pairs of sentences.

:mod:`data_prep.corpora.text_normalization` describes the layouts. A file is cut into stretches that begin with a
sentence, so that they can be read independently.
"""

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.units import Dropped
from data_prep.formats.lines import Line, Stretch, header_of, lines_of, stretches

CHALLENGE, RELEASE, PAIRS = "challenge", "release", "pairs"
UNIT_BYTES = 8 << 20
COLUMNS = ("sentence_id", "class", "before", "after")
END = "<eos>"


class Token(NamedTuple):
    """A token: its class in capitals, its written form and its spoken form (possibly ``sil`` or ``<self>``)."""

    kind: str
    written: str
    spoken: str


class Tokens(NamedTuple):
    """A sentence. ``line`` is the line of its first token."""

    line: int
    tokens: list[Token]


class Pair(NamedTuple):
    """A sentence in written and in spoken form."""

    line: int
    written: str
    spoken: str


def stretches_of(path: Path, kind: str) -> Iterator[Stretch]:
    """Yield the file in stretches of about :data:`UNIT_BYTES` that begin with a sentence."""
    cut = stretches(path, UNIT_BYTES)
    if kind == PAIRS:
        yield from cut
        return
    # Stretches that begin within the same long sentence have the same next sentence and become one.
    begins = dict.fromkeys(_next_sentence(path, stretch, kind) for stretch in cut[1:])
    ends = [(begin, line) for begin, line in begins if begin < path.stat().st_size]
    for (begin, line), (end, _) in zip([(0, 1), *ends], [*ends, (path.stat().st_size, 0)], strict=True):
        if begin < end:
            yield Stretch(begin, end, line)


def _next_sentence(path: Path, stretch: Stretch, kind: str) -> tuple[int, int]:
    """Return the byte and the line of the first sentence that begins within the stretch or after it."""
    line, first = stretch.line, None
    with path.open("rb") as file:
        file.seek(stretch.begin)
        while True:
            place, data = file.tell(), file.readline()
            if kind == RELEASE and data.startswith(END.encode()):
                return file.tell(), line + 1
            sentence = data.split(b",", 1)[0]
            if not data or (kind == CHALLENGE and sentence.isdigit() and first not in (None, sentence)):
                return place, line
            first, line = sentence if sentence.isdigit() else first, line + 1


def pairs_of(path: Path, place: str, stretch: Stretch) -> Iterator[Pair | Dropped]:
    """Yield the pairs of a stretch. A line without exactly one tab is dropped."""
    for line in lines_of(path, place, stretch):
        if isinstance(line, Dropped):
            yield line
            continue
        sides = line.text.split("\t")
        if len(sides) == 2:
            yield Pair(line.number, *sides)
        else:
            yield Dropped(f"{place}:{line.number}", f"found {len(sides)} columns, expected two: written and spoken")


def sentences_of(path: Path, place: str, kind: str, stretch: Stretch) -> Iterator[Tokens | Dropped]:
    """Yield the sentences of a stretch. A sentence with a malformed line is dropped, under the name of that line."""
    found = _release(path, place, stretch) if kind == RELEASE else _challenge(path, place, stretch)
    begin, tokens, faults = None, [], []
    for entry in chain(found, [None]):
        match entry:
            case Dropped():
                faults.append(entry)
            case None:
                if faults:
                    yield from faults
                elif tokens:
                    yield Tokens(begin, tokens)
                begin, tokens, faults = None, [], []
            case line, token:
                begin = begin or line
                tokens.append(token)


def _release(path: Path, place: str, stretch: Stretch) -> Iterator[tuple[int, Token] | None | Dropped]:
    """Yield each token with its line, and None after each sentence."""
    for line in lines_of(path, place, stretch):
        if isinstance(line, Dropped):
            yield line
            continue
        fields = line.text.split("\t")
        if fields[0] == END:
            yield None
        elif len(fields) == 3 and all(fields):
            yield line.number, Token(*fields)
        else:
            yield Dropped(f"{place}:{line.number}", "is no token: expected a class, a written and a spoken form")


def _challenge(path: Path, place: str, stretch: Stretch) -> Iterator[tuple[int, Token] | None | Dropped]:
    """Yield each token with its line, and None after each sentence."""
    header = header_of(path, COLUMNS, ",")
    columns = [header.index(name) for name in COLUMNS]
    sentence, is_broken = None, False
    for line in lines_of(path, place, stretch):
        if isinstance(line, Line) and line.number == 1:
            continue
        fields = line if isinstance(line, Dropped) else _fields(line, place, len(header))
        if isinstance(fields, Dropped):
            yield fields
            is_broken = True
            continue
        key, *token = (fields[column] for column in columns)
        if key != sentence and sentence is not None:
            yield None
            if is_broken:  # the malformed line may belong to either of the two sentences
                yield Dropped(f"{place}:{line.number}", "begins a sentence after a line that is no token")
        sentence, is_broken = key, False
        yield line.number, Token(*token)


def _fields(line: Line, place: str, expected: int) -> list[str] | Dropped:
    try:
        fields = next(csv.reader([line.text], strict=True), [])
    except csv.Error as error:
        return Dropped(f"{place}:{line.number}", f"is no token: cannot be read as a row ({error})")
    if len(fields) != expected:
        return Dropped(f"{place}:{line.number}", f"is no token: found {len(fields)} columns, expected {expected}")
    return fields
