"""Cut sets as lhotse 1.33 writes them: one JSON object per line, without fields that are None."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def recording(path: str, samples: int, rate: int = 16000, channels: int = 1) -> dict[str, Any]:
    """Return a recording that is one file."""
    numbers = list(range(channels))
    return {
        "id": Path(path).stem,
        "sources": [{"type": "file", "channels": numbers, "source": path}],
        **{"sampling_rate": rate, "num_samples": samples, "duration": samples / rate, "channel_ids": numbers},
    }


def supervision(start: float, duration: float, text: str | None, channel: int | list[int] = 0, **more: Any) -> dict:
    """Return a supervision. Its recording's id does not matter."""
    named = {} if text is None else {"text": text}
    return {"id": "s", "recording_id": "r", "start": start, "duration": duration, "channel": channel, **named, **more}


def cut(of: Mapping[str, Any], start: float, duration: float, *supervisions: dict, channel: Any = 0) -> dict[str, Any]:
    """Return a MonoCut, or a MultiCut if ``channel`` is a list."""
    return {
        **{"id": f"{of['id']}-0", "start": start, "duration": duration, "channel": channel},
        **{"supervisions": list(supervisions), "recording": dict(of), "custom": {"score": [0.5, None]}},
        "type": "MultiCut" if isinstance(channel, list) else "MonoCut",
    }


def padded(of: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return what ``pad`` makes of a cut: a mixture with silence."""
    silence = {"id": "p", "duration": seconds, "sampling_rate": 16000, "feat_value": -23.025850929940457}
    silence |= {"num_samples": round(16000 * seconds), "type": "PaddingCut"}
    tracks = [
        {"cut": dict(of), "type": of["type"], "offset": 0.0, "is_snr_reference": True},
        {"cut": silence, "type": "PaddingCut", "offset": of["duration"]},
    ]
    return {"id": "mixed", "tracks": tracks, "type": "MixedCut"}


def write_lines(path: Path, objects: Sequence[Mapping[str, Any] | str]) -> Path:
    """Write objects, or lines as they are, gzipped if the name ends so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in objects).encode()
    path.write_bytes(gzip.compress(lines, mtime=0) if path.suffix == ".gz" else lines)
    return path
