"""Libri-Light in its publisher's layout: long recordings, each with a ``.json`` of its voice activity."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from tests.data_prep.layouts.sounds import speech

# Of each recording: its seconds, and where there is a voice.
RECORDINGS = {
    "small/100/sea_fairies_0812_librivox_64kb_mp3/01_baum_sea_fairies_64kb": (
        9.0,
        [(0.4, 3.0), (3.5, 5.0), (7.5, 8.9)],
    ),
    "small/100/sea_fairies_0812_librivox_64kb_mp3/02_baum_sea_fairies_64kb": (42.0, [(0.48, 41.28)]),
    "small/1401/history_holland_1005_librivox_64kb_mp3/holland_00_edmundson_64kb": (6.0, [(0.08, 5.92)]),
    "small/32/evening_star_0901_librivox_64kb_mp3/eveningstar_poe_blb_64kb": (5.0, [(0.24, 1.92), (2.4, 4.8)]),
    "medium/968/voyages_dolittle_0905_librivox_64kb_mp3/voyagesdolittle_55_lofting_64kb": (4.0, [(0.4, 3.6)]),
    "medium/968/voyages_dolittle_0905_librivox_64kb_mp3/alger_jr._64kb": (4.0, [(0.32, 3.76)]),
}


def write_librilight(root: Path) -> Path:
    """Write ``small`` and ``medium`` below ``root`` without faults, and return ``root``."""
    for seed, (key, (seconds, voice)) in enumerate(RECORDINGS.items()):
        write_recording(root / f"{key}.flac", seconds, voice, seed=seed)
    return root


def write_recording(
    path: Path, seconds: float, voice: Sequence[tuple[float, float]], rate: int = 16000, seed: int = 0
) -> Path:
    """Write a recording that is silent outside ``voice``, and its ``.json``. Return ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.zeros(round(seconds * rate), np.float32)
    for number, (begin, end) in enumerate(voice):
        first, last = round(begin * rate), round(end * rate)
        samples[first:last] = speech((last - first) / rate, rate, 100 * seed + number)[: last - first]
    soundfile.write(path, samples, rate)
    write_voice(path, voice)
    return path


def write_voice(path: Path, voice: Sequence[Sequence[float]]) -> None:
    """Write the ``.json`` of the recording ``path``."""
    book, speaker = path.parent.name, path.parent.parent.name
    content = {
        "speaker": speaker,
        "book_meta": {
            "id": "319",
            "title": book.replace("_", " ").title(),
            "language": "English",
            "url_librivox": f"http://librivox.org/{book}/",
            "totaltime": "1:02:03",
            "authors": [{"id": "155", "first_name": "L. Frank", "last_name": "Baum", "dob": "1856", "dod": "1919"}],
            "genre": ["*Non-fiction", "History"],
            "Dramatic Readings": False,
            "meta_genre": "Literature",
        },
        "snr": 5.391,
        "voice_activity": [list(segment) for segment in voice],
    }
    # Endings are added, never replaced: names have dots in them.
    path.with_name(path.name.removesuffix(".flac") + ".json").write_text(json.dumps(content, indent=4))
