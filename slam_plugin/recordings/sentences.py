"""Sentences of a plain transcript, as people lay one out: a line per sentence, or wrapped lines and empty ones."""

import re
from pathlib import Path

from slam_plugin.data.errors import DataError

MAX_BYTES = 64 << 20
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
# The signs that end a sentence, with quotes and brackets after them.
_ENDS = r"[.?!…。？！।]+[\"'”’»)\]]*"
_END_OF_LINE = re.compile(rf"{_ENDS}\s*$")
# A blank after them, and a capital, a digit or an opening sign: so not after "e.g." or "3.5". Chinese has no blanks.
_BETWEEN = re.compile(
    r"(?<=[.?!…।])([\"'”’»)\]]*)\s+(?=[^\W\d_a-zà-ÿ]|\d|[\"'“‘«„(\[¿¡—–-])|(?<=[。？！])(?=[^”’」』])"
)
_TITLES = frozenset("Mr. Mrs. Ms. Dr. St. Prof. Sr. Jr. Capt. Gen. Lt. Col. Sgt. No. vs. etc. Nr.".split())
# If fewer of the lines of a text with sentence ends end a sentence, its lines are wrapped.
_MIN_SHARE = 0.5


def read_text(path: str | Path) -> str:
    """Return a text file with ``\\n`` line ends and without a byte order mark. It is UTF-8, or UTF-16 with its mark.

    Raises :class:`DataError` that names the first byte that is not, if the file is larger than 64 MiB, or if it cannot
    be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: has more than {MAX_BYTES >> 20} MiB, expected a text")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        shown = {"utf-8-sig": "utf-8"}.get(encoding, encoding).upper()
        raise DataError(
            f"{path}:{line}: expected text in {shown} ({error.reason} at byte {error.start} of the file)"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a transcript, with single blanks and otherwise as they are written.

    ``.``, ``?``, ``!`` and ``…`` before a blank and a capital end a sentence, and so does an empty line. The end of a
    line does, too, unless the lines are wrapped: at least one line, but fewer than half of them, end with such a sign.

    Example:
        >>> sentences_of("It was late. Mr. Hill\\nhad left.\\n\\nAnd then?\\nNothing\\nhappened that\\nday.")
        ['It was late.', 'Mr. Hill had left.', 'And then?', 'Nothing happened that day.']
    """
    lines = text.replace("\f", "\n\n").splitlines()
    full = [line for line in lines if line.strip()]
    ends = sum(bool(_END_OF_LINE.search(line)) for line in full)
    are_wrapped = 0 < ends < _MIN_SHARE * len(full) or (len(full) > 0 and ends == 0 and _has_inner_ends(full))
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if not line.strip() or not are_wrapped:
            paragraphs.append([])
        paragraphs[-1].append(line)
    return [sentence for lines in paragraphs for sentence in _divided(" ".join(" ".join(lines).split()))]


def _has_inner_ends(lines: list[str]) -> bool:
    return any(_BETWEEN.search(line) for line in lines)


def _divided(paragraph: str) -> list[str]:
    """Return the sentences of a paragraph."""
    found, begin = [], 0
    for between in _BETWEEN.finditer(paragraph):
        before = paragraph[begin : between.end(1) if between[1] is not None else between.end()]
        last = before.split()[-1] if before.split() else ""
        is_initial = len(last) == 2 and last[0].isupper() and last[1] == "."
        if last in _TITLES or is_initial:
            continue
        found.append(before.strip())
        begin = between.end()
    return [sentence for sentence in [*found, paragraph[begin:].strip()] if sentence]
