"""Lines of text files of users, whose faults are named by file and line."""

from collections.abc import Iterator
from pathlib import Path

from slam_plugin.data.errors import DataError

BYTE_ORDER_MARK = "\ufeff"
# UTF-16 without its mark is valid UTF-8. Normalization would make single letters of it.
HOLDS_NUL = "holds a NUL byte, as text in UTF-16 does; expected UTF-8"


def lines_in(path: str | Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, as ``wc -l`` counts them, without their ends (LF or CRLF) and a byte order mark.

    Raises :class:`DataError` that names a line that is not UTF-8 or holds a NUL byte.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                place = f"{error.reason} at byte {error.start} of line {number}"
                raise DataError(f"{path}: expected UTF-8 ({place})") from error
            if "\0" in text:
                raise DataError(f"{path}:{number}: {HOLDS_NUL}")
            text = text.removesuffix("\n").removesuffix("\r")
            yield text.removeprefix(BYTE_ORDER_MARK) if number == 1 else text
