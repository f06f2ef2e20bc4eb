"""The section that plays test utterances beside what each twin wrote."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from slam_plugin.reporting.pretraining import missing
from slam_plugin.reporting.templating import render


def clips_section(clips: Sequence[Mapping[str, str]], folder: Path) -> str:
    """Return a table with a player for each clip. The page contains the sound.

    Args:
        clips: ``file``, a FLAC file below ``folder``, ``reference``, ``pretrained`` and ``scratch``.
    """
    if not clips:
        return missing("clips.json was not found: no recordings to play.")
    rows = [{**clip, "sound": _data_uri(folder / clip["file"])} for clip in clips]
    return render("clips.html.j2", clips=rows)


def _data_uri(path: Path) -> str:
    return f"data:audio/flac;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
