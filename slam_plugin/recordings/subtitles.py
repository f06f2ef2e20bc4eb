"""Subtitles (SRT, WebVTT) of a transcript: short lines at the bounds of words, written by pysubs2."""

import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from slam_plugin.data.extras import require_packages
from slam_plugin.recordings.transcript import Segment, Transcript, Word

MAX_CHARACTERS, MAX_LINES = 42, 2
MAX_SECONDS = 7.0
# A shorter subtitle stays on screen until then, unless the next one begins.
MIN_SECONDS = 1.0
# A longer pause between words ends a subtitle.
_PAUSE = 1.0
# pysubs2 writes text as it is; these characters are markup in WebVTT.
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Cue(NamedTuple):
    """A subtitle: its times in seconds and its lines."""

    start: float
    end: float
    lines: tuple[str, ...]


def cues(transcript: Transcript) -> list[Cue]:
    """Return the subtitles of a transcript, at most two lines of 42 characters, for at most 7 s.

    If a segment has no word times, each word takes a share of the segment's time by its number of characters.
    """
    found: list[Cue] = []
    for segment in transcript.segments:
        for group in _groups(segment):
            lines = _lines(" ".join(word.text for word in group))
            end = min(group[-1].end, group[0].start + MAX_SECONDS)
            found.append(Cue(group[0].start, end, tuple(lines)))
    if not found:
        return []
    begins = [*(cue.start for cue in found[1:]), transcript.duration]
    return [
        cue._replace(end=min(max(cue.end, cue.start + MIN_SECONDS), max(cue.start, begin)))
        for cue, begin in zip(found, begins, strict=True)
    ]


def subtitles(transcript: Transcript, format_name: str) -> str:
    """Return the subtitles as a file of the format "srt" or "vtt".

    Raises :class:`DataError` if the package pysubs2 is absent.
    """
    require_packages(f"--format {format_name}", "recordings", "pysubs2")
    import pysubs2

    file = pysubs2.SSAFile()
    for cue in cues(transcript):
        text = "\n".join(cue.lines)
        if format_name == "vtt":
            text = text.translate(str.maketrans(_ESCAPED))
        file.append(pysubs2.SSAEvent(start=round(1000 * cue.start), end=round(1000 * cue.end), text=text))
    # Braces are part of the text, not tags of pysubs2's own format.
    return file.to_string(format_name, keep_ssa_tags=True)


def _groups(segment: Segment) -> Iterator[list[Word]]:
    """Yield the words of each subtitle."""
    group: list[Word] = []
    for word in _short_words(segment):
        if group and not _fits(group, word):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _fits(group: list[Word], word: Word) -> bool:
    text = " ".join(each.text for each in (*group, word))
    in_time = word.end - group[0].start <= MAX_SECONDS and word.start - group[-1].end <= _PAUSE
    return in_time and len(_lines(text)) <= MAX_LINES


def _lines(text: str) -> list[str]:
    return textwrap.wrap(text, MAX_CHARACTERS, break_on_hyphens=False)


def _short_words(segment: Segment) -> Iterator[Word]:
    """Yield the words, those longer than a line in parts: some scripts have no blanks."""
    words = segment.words or _spread(Word(segment.text, segment.start, segment.end, 0.0), segment.text.split())
    for word in words:
        cuts = range(0, len(word.text), MAX_CHARACTERS)
        yield from _spread(word, [word.text[begin : begin + MAX_CHARACTERS] for begin in cuts])


def _spread(whole: Word, texts: list[str]) -> list[Word]:
    """Return words with ``texts`` that share the time of ``whole`` by their number of characters."""
    total, done, found = sum(map(len, texts)), 0, []
    for text in texts:
        start, done = done, done + len(text)
        times = (whole.start + (whole.end - whole.start) * place / total for place in (start, done))
        found.append(Word(text, *times, whole.confidence))
    return found
