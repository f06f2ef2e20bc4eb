"""The section with examples: test utterances to play, with the output of both twins."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import Location, outside
from slam_plugin.reporting.pretraining import missing
from slam_plugin.reporting.templating import render
from slam_plugin.scoring.edits import Part, aligned_parts


def clips_section(clips: Sequence[Mapping[str, str]], folder: Path) -> str:
    """Return a table of recognized clips and one of translated clips, each with a player. The page embeds the sound.

    The words of recognized clips are aligned with their transcript, and errors are marked.

    Args:
        clips: with ``file``, a FLAC file below ``folder``, ``reference``, ``pretrained`` and ``scratch``; translated
            ones also with ``source``, the transcript.

    Raises :class:`DataError` if a file is not below ``folder``.
    """
    if not clips:
        return missing("No recordings: there is no clips.json.")
    rows = [{"source": None, **clip, "sound": _data_uri(folder, clip["file"])} for clip in clips]
    translated = [row for row in rows if row["source"]]
    recognized = [{**row, **_aligned(row)} for row in rows if not row["source"]]
    return render("clips.html.j2", recognized=recognized, translated=translated)


def _aligned(clip: Mapping[str, str]) -> dict[str, list[Part] | str]:
    """Return each output as the parts of its alignment; one without words stays a text."""
    return {
        twin: list(aligned_parts("wer", clip[twin], clip["reference"])) if clip[twin].split() else ""
        for twin in ("pretrained", "scratch")
    }


def _data_uri(folder: Path, file: str) -> str:
    path = folder / file
    stray = outside(Location(path, None, None), folder)
    if stray:
        raise DataError(f"{folder / 'clips.json'}: {stray}")
    return f"data:audio/flac;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
