"""N-gram models in the ARPA format: a full check of a file, its words, and writing one.

KenLM reads the format too, but names only a byte, and some damaged headers end its process.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write

# KenLM is built for these orders.
MIN_ORDER, MAX_ORDER = 2, 6
REQUIRED = ("<s>", "</s>")
BINARY_MAGIC = b"mmap lm http://kheafield.com/code"  # of KenLM's own format

_SHOWN = 80  # characters of a line in an error
_MAX_DIGITS = 18  # of a count
_HEADER, _END = "\\data\\", "\\end\\"
_PLACE_OF_END = "the end of the file"


class Arpa(NamedTuple):
    """A checked model: its words as the file lists them, and the number of n-grams of each order."""

    words: list[str]
    counts: list[int]


def is_binary(path: str | Path) -> bool:
    """Return whether a file begins as KenLM's binary format does."""
    with open(path, "rb") as file:
        return file.read(len(BINARY_MAGIC)) == BINARY_MAGIC


def read_arpa(path: str | Path) -> Arpa:
    """Read every line of an ARPA file and return its words. It takes about 1 s for a million n-grams.

    Raises :class:`DataError` with file and line for whatever KenLM would not read: counts that are not those of the
    sections, n-grams of another order, unknown words, numbers that are none, probabilities above 1.
    """
    with open(path, "rb") as file:
        return _Reader(path, file).read()


def write_arpa(path: str | Path, counts: Iterable[int], sections: Iterable[Iterable[str]]) -> None:
    """Write a model.

    Args:
        counts: number of n-grams of each order.
        sections: the lines of each order: log10 probability, n-gram, and log10 backoff, with tabs between them.
    """
    with atomic_write(path) as file:
        file.write(f"{_HEADER}\n")
        file.writelines(f"ngram {order}={count}\n" for order, count in enumerate(counts, start=1))
        for order, lines in enumerate(sections, start=1):
            file.write(f"\n\\{order}-grams:\n")
            file.writelines(f"{line}\n" for line in lines)
        file.write(f"\n{_END}\n")


class _Reader:
    """Reads the lines of one file as bytes, empty ones left out, and knows the number of the last.

    Only ASCII blanks and tabs separate fields, as in KenLM: other white space is part of a word.
    """

    def __init__(self, path: str | Path, file: IO[bytes]) -> None:
        self.path, self.file, self.number, self.line = path, file, 0, b""

    def read(self) -> Arpa:
        if self._next() != _HEADER:
            self._fail(f"expected {_HEADER}, the first line of an ARPA file")
        counts = self._counts()
        words: set[bytes] = set()
        listed: list[str] = []
        for order, count in enumerate(counts, start=1):
            if self._text() != f"\\{order}-grams:":
                self._fail(f"expected \\{order}-grams:")
            if order == 1:
                listed = self._words(count)
                words = {word.encode() for word in listed}
            else:
                self._section(order, count, words, is_last=order == len(counts))
        if self._text() != _END:
            self._fail(f"expected {_END}")
        return Arpa(listed, counts)

    def _next(self) -> str:
        """Read on to a line that is not empty and return it."""
        for line in self.file:
            self.number += 1
            if line.strip():
                self.line = line
                return self._text()
        self._end()
        return self._text()

    def _end(self) -> None:
        self.number += 1
        self.line = _PLACE_OF_END.encode()

    def _text(self) -> str:
        return self.line.decode(errors="replace").strip()

    def _counts(self) -> list[int]:
        """Read ``ngram ORDER=COUNT`` of each order."""
        counts: list[int] = []
        while self._next().startswith("ngram "):
            order, _, count = (part.strip() for part in self._text().removeprefix("ngram ").partition("="))
            if order != str(len(counts) + 1) or not (count.isascii() and count.isdecimal()) or len(count) > _MAX_DIGITS:
                self._fail(f"expected ngram {len(counts) + 1}=COUNT")
            counts.append(int(count))
        if not MIN_ORDER <= len(counts) <= MAX_ORDER:
            self._fail(f"expected counts of {MIN_ORDER} to {MAX_ORDER} orders before this line, found {len(counts)}")
        return counts

    def _words(self, count: int) -> list[str]:
        """Read the single words."""
        words: dict[str, None] = {}
        while not self._next().startswith("\\") and self.line != _PLACE_OF_END.encode():
            fields = self.line.split()
            self._check(fields, 1, is_last=False)
            try:
                word = fields[1].decode()
            except UnicodeDecodeError as error:
                self._fail(f"expected UTF-8 ({error.reason})")
            if word in words:
                self._fail("found the word a second time")
            words[word] = None
        self._check_count(len(words), count, 1)
        missing = [word for word in REQUIRED if word not in words]
        if missing:
            self._fail(f"found no {' and no '.join(missing)} among the 1-grams before this line")
        return list(words)

    def _section(self, order: int, count: int, words: set[bytes], is_last: bool) -> None:
        """Read the n-grams of an order above 1, and the line after them."""
        found, longest = 0, order + 1
        number = self.number
        for line in self.file:
            number += 1
            fields = line.split()
            try:
                # What nearly every line is, in as few steps as possible.
                if len(fields) == longest and -math.inf < float(fields[0]) <= 0 and words.issuperset(fields[1:]):
                    found += 1
                    continue
            except ValueError:
                pass
            if not fields:
                continue
            self.number, self.line = number, line
            if fields[0].startswith(b"\\"):
                break
            found += 1
            self._check(fields, order, is_last)
            if not words.issuperset(fields[1 : order + 1]):
                self._fail("found a word that is not among the 1-grams")
        else:
            self.number = number
            self._end()
        self._check_count(found, count, order)

    def _check(self, fields: list[bytes], order: int, is_last: bool) -> None:
        """Check the fields of an n-gram, but not its words."""
        if not order + 1 <= len(fields) <= order + 2:
            self._fail(f"expected a log-probability, {order} words, and a backoff or none, with tabs between them")
        if not -math.inf < _number(fields[0]) <= 0:
            self._fail("expected a log10 probability, a number up to 0")
        if len(fields) == order + 2:
            if not math.isfinite(_number(fields[-1])):
                self._fail("expected a number as the backoff")
            if is_last and _number(fields[-1]):
                self._fail("found a backoff in the highest order, expected none")

    def _check_count(self, found: int, count: int, order: int) -> None:
        if found != count:
            self._fail(f"found {found} {order}-grams before this line, expected {count} as at the beginning")

    def _fail(self, message: str) -> NoReturn:
        raise DataError(f"{self.path}:{self.number}: found {self._text()[:_SHOWN]!r}; {message}")


def _number(text: bytes) -> float:
    """Return a number, NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
