"""Subtitles (SRT, WebVTT) beside a recording as utterances: cues are cleaned, put together, and cut to sane lengths."""

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.units import Dropped, Noted
from slam_plugin.data.constants import MIN_SECONDS
from slam_plugin.data.errors import DataError
from slam_plugin.data.extras import require_packages
from slam_plugin.recordings.sentences import read_text

SUFFIXES = (".srt", ".vtt")
# Cues that follow within it belong together, unless a sentence ends and they have MIN_LENGTH already. Seconds.
MAX_PAUSE, MIN_LENGTH = 0.5, 3.0
# Cues that overlap by less are one after the other: they meet in the middle.
MAX_OVERLAP = 0.5
# Subtitles may end up to this much after the recording, and are cut then. Seconds.
SLACK = 1.0

_NOTES = re.compile("[♩♪♫♬🎵🎶]")
_VTT_TIME = re.compile(r"<[\d:.]+>")
_TAGS = re.compile(r"</?[a-zA-Z][^<>]*>|\{\\?[^{}]*\}")
_SOUNDS = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|（[^（）]*）|【[^【】]*】")
_DASH = re.compile(r"^\s*(?:[-–—‐]+\s*|>>+\s*)")
_SPEAKER = re.compile(r"^\s*[A-ZÀ-ÞА-Я][A-ZÀ-ÞА-Я0-9 .'’#-]{0,30}:(?=\s|$)\s*")
_SENTENCE_END = re.compile(r"[.?!…。？！]+[\"'”’»)\]]*$")
_LANGUAGE = re.compile(r"\.(?P<name>[a-zA-Z]{2,3}(?:[-_][a-zA-Z0-9]{2,8})*)$")


class Cue(NamedTuple):
    """A cue, or several that were put together: times in seconds, text, and the number of its first in the file."""

    start: float
    end: float
    text: str
    number: int

    @property
    def seconds(self) -> float:
        """Return the length."""
        return self.end - self.start


def language_of(path: Path, stem: str) -> str | None:
    """Return the language in the name of subtitles of the recording ``stem``: "" without one, None if of another.

    ``talk.srt`` has none, ``talk.en.srt`` has ``en``.
    """
    if path.suffix.lower() not in SUFFIXES:
        return None
    if path.stem == stem:
        return ""
    found = _LANGUAGE.search(path.stem)
    return found["name"] if found and path.stem[: found.start()] == stem else None


def utterances(path: Path, place: str, max_seconds: float) -> Iterator[Cue | Dropped | Noted]:
    """Yield the utterances of a subtitle file in order, and what was left out or changed.

    Raises :class:`DataError` if the package pysubs2 is absent.
    """
    require_packages("reading subtitles", "recordings", "pysubs2")
    try:
        cues = read_cues(path)
    except DataError as error:
        yield Dropped(place, str(error).removeprefix(f"{path}: ").removeprefix(f"{path}:"))
        return
    if not cues:
        yield Dropped(place, "holds no subtitles, expected SRT or WebVTT with times")
        return
    notes: Counter[str] = Counter()
    clean = list(_cleaned(cues, place, notes))
    yield from (found for found in clean if isinstance(found, Dropped))
    ordered = _without_overlaps([found for found in clean if isinstance(found, Cue)], notes)
    for utterance in _joined(ordered, max_seconds):
        if utterance.seconds > max_seconds:
            yield Dropped(
                f"{place}#{utterance.number}", f"lasts {utterance.seconds:.2f} s without a pause between subtitles"
            )
        elif utterance.seconds < MIN_SECONDS:
            yield Dropped(f"{place}#{utterance.number}", f"is shorter than {MIN_SECONDS} s")
        else:
            yield utterance
    for what, count in sorted(notes.items()):
        yield from [Noted(what)] * count


def read_cues(path: Path) -> list[Cue]:
    """Return the cues of an SRT or WebVTT file as they stand. Raises :class:`DataError` that names the file."""
    import pysubs2

    text = read_text(path)
    is_vtt = text.lstrip().startswith("WEBVTT")
    if is_vtt:
        text = _plain_vtt(text)
    try:
        file = pysubs2.SSAFile.from_string(text, "vtt" if is_vtt else "srt", keep_html_tags=True)
    except (pysubs2.Pysubs2Error, ValueError, OverflowError) as error:
        raise DataError(f"{path}: cannot be read as subtitles ({error})") from error
    return [
        Cue(event.start / 1000, event.end / 1000, event.text.replace(r"\N", "\n"), number)
        for number, event in enumerate(file, 1)
    ]


def _plain_vtt(text: str) -> str:
    """Return WebVTT without what pysubs2 takes for text or times: notes, styles, names of cues, times of words."""
    blocks = []
    for block in re.split(r"\n\n+", text):  # a line of blanks ends no cue
        lines = block.split("\n")
        timed = next((place for place, line in enumerate(lines) if "-->" in line), None)
        if timed is not None and not lines[0].startswith(("NOTE", "STYLE", "REGION")):
            blocks.append("\n".join([lines[timed], *(_VTT_TIME.sub("", line) for line in lines[timed + 1 :])]))
    return "WEBVTT\n\n" + "\n\n".join(blocks) + "\n"


# ---------------------------------------------------------------------------------------------------------------------
# cues


def _cleaned(cues: Sequence[Cue], place: str, notes: Counter[str]) -> Iterator[Cue | Dropped]:
    """Yield the cues with words, sorted by time, without what is not spoken."""
    shown: list[str] = []  # lines of the cue before, which rolling captions repeat
    before = None
    for cue in sorted(cues, key=lambda cue: (cue.start, cue.number)):
        if cue.end <= cue.start:
            yield Dropped(f"{place}#{cue.number}", f"ends before it begins ({cue.start:g} to {cue.end:g} s)")
            continue
        lines = [" ".join(html.unescape(_TAGS.sub("", line)).split()) for line in cue.text.split("\n")]
        lines = [line for line in lines if line]
        if before is not None and before.end < cue.start - MAX_OVERLAP:
            shown = []
        fresh = _not_shown(lines, shown)
        if len(fresh) < len(lines):
            notes["subtitles that repeat lines of the one before"] += 1
        shown, before = lines or shown, cue
        text = " ".join(filter(None, (_spoken(line, notes) for line in fresh)))
        if text:
            yield cue._replace(text=text)
        elif len(fresh) == len(lines):
            notes["subtitles without words left out"] += 1


def _not_shown(lines: list[str], shown: list[str]) -> list[str]:
    """Return the lines without the first ones if these are the last ones of ``shown``."""
    for count in range(min(len(lines), len(shown)), 0, -1):
        if lines[:count] == shown[-count:]:
            return lines[count:]
    return lines


def _spoken(line: str, notes: Counter[str]) -> str:
    """Return what is spoken in a line: nothing of a song, no sounds in brackets, no dash and name of a speaker."""
    if _NOTES.search(line):
        notes["lines of songs left out"] += 1
        return ""
    without = _SOUNDS.sub(" ", line)
    if without != line:
        notes["sounds in brackets left out"] += 1
    named = _DASH.sub("", without)
    spoken = _SPEAKER.sub("", named)
    if spoken != without:
        notes["dashes and names of speakers left out"] += 1
    spoken = " ".join(spoken.split())
    return spoken if any(map(str.isalnum, spoken)) else ""


def _without_overlaps(cues: Sequence[Cue], notes: Counter[str]) -> list[Cue]:
    """Return cues in order of time that do not overlap. Those that do for long are one, with the texts of both."""
    found: list[Cue] = []
    for cue in cues:
        if not found or cue.start >= found[-1].end:
            found.append(cue)
            continue
        last = found[-1]
        overlap = min(last.end, cue.end) - cue.start
        if cue.text == last.text:
            notes["equal subtitles at the same time left out"] += 1
            found[-1] = last._replace(end=max(last.end, cue.end))
        elif overlap <= MAX_OVERLAP and cue.end > last.end and cue.start > last.start:
            middle = (cue.start + last.end) / 2
            found[-1] = last._replace(end=middle)
            found.append(cue._replace(start=middle))
        else:
            notes["overlapping subtitles put together"] += 1
            found[-1] = last._replace(end=max(last.end, cue.end), text=f"{last.text} {cue.text}")
    return found


def _joined(cues: Sequence[Cue], max_seconds: float) -> Iterator[Cue]:
    """Yield neighboring cues put together until a pause, the limit, or the end of a sentence after ``MIN_LENGTH``."""
    utterance: Cue | None = None
    for cue in cues:
        if utterance is None:
            utterance = cue
            continue
        is_whole = bool(_SENTENCE_END.search(utterance.text)) and utterance.seconds >= MIN_LENGTH
        if cue.start - utterance.end > MAX_PAUSE or cue.end - utterance.start > max_seconds or is_whole:
            yield utterance
            utterance = cue
        else:
            utterance = utterance._replace(end=cue.end, text=f"{utterance.text} {cue.text}")
    if utterance is not None:
        yield utterance
