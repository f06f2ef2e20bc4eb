"""STM, NIST's format of reference transcripts with times."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.units import Dropped
from data_prep.formats.lines import lines_of

# Replaces the text of a stretch that is not scored; in capitals in some files.
NOT_SCORED = "ignore_time_segment_in_scoring"


class StmLine(NamedTuple):
    """``RECORDING CHANNEL SPEAKER BEGIN END [<LABEL,...>] TEXT``, times in seconds."""

    number: int
    recording: str
    channel: str
    speaker: str
    begin: float
    end: float
    label: str
    text: str

    @property
    def is_scored(self) -> bool:
        """Whether the line is scored, and so transcribed."""
        return NOT_SCORED not in self.text.lower()


def stm_lines(path: Path, place: str) -> Iterator[StmLine | Dropped]:
    """Yield all lines except comments (``;;``) and empty ones. A malformed line is dropped as ``place:NUMBER``."""
    for line in lines_of(path, place):
        if isinstance(line, Dropped):
            yield line
        elif line.text.strip() and not line.text.startswith(";;"):
            yield _parse(line.number, line.text, place)


def _parse(number: int, text: str, place: str) -> StmLine | Dropped:
    fields = text.split(maxsplit=5)
    try:
        begin, end = float(fields[3]), float(fields[4])
    except (IndexError, ValueError):
        return Dropped(f"{place}:{number}", "is no STM line (RECORDING CHANNEL SPEAKER BEGIN END <LABEL> TEXT)")
    rest = fields[5] if len(fields) > 5 else ""
    label = ""
    if rest.startswith("<") and "," in rest.split()[0] or rest.startswith(("<F0_", "<NA>")):
        label, _, rest = rest.partition(" ")
    return StmLine(number, fields[0], fields[1], fields[2], begin, end, label, rest.strip())
