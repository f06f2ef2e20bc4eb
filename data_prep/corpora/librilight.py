"""Libri-Light: read English without transcripts, cut at silences, for pre-training on speech.

    slam prepare librilight --root libri-light --out data/librilight --subsets small medium --jobs 8

``--root`` holds ``SUBSET/SPEAKER/BOOK/NAME.flac``, recordings of up to an hour, each with ``NAME.json`` beside it that
lists ``voice_activity`` as ``[begin, end]`` in seconds; or it is one such subset. By default ``small``, ``medium`` and
``large`` are used if they are there; ``duplicate``, whose books may be in the others too, only if ``--subsets`` names
it.

Recordings are cut into stretches of at most ``--max-seconds`` (:mod:`data_prep.formats.silences`). Stretches shorter
than its minimum, margins included, are left out. Audio is not copied: a row names a part of a recording,
``NAME.flac:BEGIN:SAMPLES``, at the recording's rate. Voice activity may end up to 1 s after the recording and is then
cut; if it ends later, it belongs to another recording, and this one is left out.

``valid.tsv`` holds all recordings of one speaker in ``--valid-parts`` (at least one speaker), by a hash of the
speaker's name. The others go to ``train-00.tsv`` ... (``train.tsv`` for one shard), by a hash of the recording's name
without its subset.
"""

import argparse
import json
import math
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.engine.command import add_division, preparation
from data_prep.engine.contents import contents_of
from data_prep.engine.splits import bucket, shard_names
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, row, table
from data_prep.formats.recordings import decode_recording
from data_prep.formats.silences import MARGIN, MAX_SILENCE, MIN_LIMIT, MIN_SECONDS, Energies, Span, stretches
from data_prep.formats.sound import Sound, UnusableSound
from slam_plugin.data.constants import MAX_SECONDS
from slam_plugin.data.errors import DataError
from slam_plugin.data.lengths import frames_of

SUBSETS = ("small", "medium", "large", "duplicate")
COLUMNS = ("id", "audio", "n_frames", "speaker")
SLACK = 1.0  # s
TRAIN_SHARDS = 10
VALID_PARTS = 2000

_MD5_VALUES = 1 << 128
_MAX_TIME = 1e9  # s
_MAX_JSON_BYTES = 64 << 20


@dataclass(frozen=True)
class LibriLight(Corpus):
    """The subsets below ``root``. A unit is a recording, named without its ending."""

    root: Path
    subsets: tuple[str, ...]
    max_seconds: float = MAX_SECONDS
    train_shards: int = TRAIN_SHARDS
    valid_parts: int = VALID_PARTS

    # About 15 hours of sound: a part takes about a minute, and the whole corpus has a few thousand parts.
    part_bytes = 1 << 30

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {
            "command": "librilight",
            "layout": 1,
            "root": str(self.root),
            "subsets": self.subsets,
            "seconds of a stretch": [MIN_SECONDS, self.max_seconds],
            "longest silence within": MAX_SILENCE,
            "margin": MARGIN,
            "train shards": self.train_shards,
            "validation": f"one speaker in {self.valid_parts}",
        }

    def contents(self) -> str:
        return contents_of(*(self.root / subset for subset in self.subsets))

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {name: table(f"{name}.tsv", COLUMNS) for name in (*shard_names(self.train_shards), "valid")}

    def units(self) -> Iterator[Unit]:
        speakers = {subset: _folders(self.root / subset) for subset in self.subsets}
        held_out = self._held_out({name for names in speakers.values() for name in names})
        for subset, names in speakers.items():
            found = False
            for speaker in names:
                for book in _folders(self.root / subset / speaker):
                    for name, size in _recordings(self.root / subset / speaker / book):
                        found = True
                        recording = f"{speaker}/{book}/{name}"
                        yield Unit(f"{subset}/{recording}", size, (self._output_of(recording, speaker in held_out),))
            if not found:
                raise DataError(f"{self.root / subset}: holds no SPEAKER/BOOK/*.flac")

    def _held_out(self, speakers: set[str]) -> set[str]:
        chosen = {name for name in speakers if bucket(name, self.valid_parts) == 0}
        return chosen or {min(speakers, key=lambda name: bucket(name, _MD5_VALUES))} if speakers else set()

    def _output_of(self, recording: str, is_held_out: bool) -> str:
        return "valid" if is_held_out else shard_names(self.train_shards)[bucket(recording, self.train_shards)]

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        # Names may hold dots: an ending is added, never replaced.
        listing, place = f"{unit.key}.json", f"{unit.key}.flac"
        path = self.root / place
        try:
            segments = _voice_activity(self.root / listing)
        except DataError as error:
            yield Dropped(listing, str(error))
            return
        for number, segment in enumerate(segments, 1):
            if not _is_segment(segment):
                shown = reprlib.repr(segment)
                yield Dropped(listing, f"voice activity {number} is {shown}, expected [begin, end] in seconds")
        energies = Energies()
        try:
            whole = decode_recording(path, energies.add)
        except UnusableSound as error:
            yield Dropped(place, error.reason)
            return
        voice = [(begin, end) for begin, end in filter(_is_segment, segments)]
        seconds, last = whole.samples / whole.rate, max((end for _, end in voice), default=0.0)
        if last > seconds + SLACK:
            yield Dropped(place, f"has voice activity beyond its end ({last} of {seconds:.3f} s)")
            return
        limit = int(self.max_seconds * whole.rate)
        spans = _spans(voice, whole)
        if not spans:
            yield Dropped(place, "has no voice activity")
        for begin, end in stretches(spans, whole.samples, whole.rate, limit, energies):
            yield from self._stretch(unit, path, whole, begin, end)

    def _stretch(self, unit: Unit, path: Path, whole: Sound, begin: int, end: int) -> Iterator[Item | Dropped | Noted]:
        samples = end - begin
        if samples < MIN_SECONDS * whole.rate:
            yield Dropped(f"{unit.key}.flac:{begin}:{samples}", f"is shorter than {MIN_SECONDS} s")
            return
        yield from whole.notes()
        _, speaker, _, _ = unit.key.split("/")
        yield row(
            unit.data[0],
            COLUMNS,
            {
                "id": f"{unit.key}-{begin:09d}",
                "audio": f"{path}:{begin}:{samples}",
                "n_frames": frames_of(samples, whole.rate),
                "speaker": speaker,
            },
        )


def _folders(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def _recordings(book: Path) -> list[tuple[str, int]]:
    """Return the names in a book's folder without ``.flac`` or ``.json``, and the bytes of the sound (0 if none)."""
    sizes: dict[str, int] = {}
    with os.scandir(book) as entries:
        for entry in entries:
            name, ending = os.path.splitext(entry.name)
            if ending in (".flac", ".json"):
                is_sound = ending == ".flac" and entry.is_file()
                sizes[name] = sizes.get(name, 0) + (entry.stat().st_size if is_sound else 0)
    return sorted(sizes.items())


def _voice_activity(path: Path) -> list[Any]:
    """Return the voice activity of a recording. Raises :class:`DataError`, without the file's name, if unreadable."""
    try:
        size = path.stat().st_size
        if size > _MAX_JSON_BYTES:
            raise DataError(f"has {size} bytes, expected at most {_MAX_JSON_BYTES}")
        found = json.loads(path.read_bytes().decode())
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 ({error.reason})") from error
    except json.JSONDecodeError as error:
        raise DataError(f"is not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in lists
        raise DataError(f"is JSON that cannot be read ({error})") from error
    segments = found.get("voice_activity") if isinstance(found, dict) else None
    if not isinstance(segments, list):
        raise DataError("holds no list voice_activity")
    return segments


def _is_segment(found: object) -> bool:
    return (
        isinstance(found, list)
        and len(found) == 2
        and all(isinstance(value, int | float) for value in found)
        and 0 <= found[0] < found[1] < _MAX_TIME
    )


def _spans(voice: Sequence[tuple[float, float]], whole: Sound) -> list[Span]:
    """Return the segments in samples, cut to the recording."""
    spans = ((round(begin * whole.rate), min(round(end * whole.rate), whole.samples)) for begin, end in voice)
    return [(begin, end) for begin, end in spans if begin < end]


def open_corpus(
    root: Path,
    subsets: Sequence[str] | None = None,
    max_seconds: float = MAX_SECONDS,
    train_shards: int = TRAIN_SHARDS,
    valid_parts: int = VALID_PARTS,
) -> LibriLight:
    """Return Libri-Light below ``root``, which may be a subset itself: ``subsets``, by default all but ``duplicate``.

    Raises :class:`DataError` if one of ``subsets`` or all subsets are missing.
    """
    found = tuple(name for name in SUBSETS if (root / name).is_dir())
    if not found and any(root.glob("*/*/*.flac")):
        root, found = root.parent, (root.name,)
    wanted = tuple(subsets or (name for name in found if name != "duplicate" or len(found) == 1))
    absent = [name for name in wanted if name not in found]
    if absent or not wanted:
        raise DataError(
            f"{root}: found {', '.join(found) or 'no subset'}, expected {', '.join(absent or SUBSETS)} "
            "with SPEAKER/BOOK/*.flac"
        )
    ordered = tuple(name for name in found if name in wanted)
    return LibriLight(root, ordered, max_seconds, train_shards, valid_parts)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--subsets", nargs="+", metavar="NAME", help=f"some of {', '.join(SUBSETS)} (default: all but duplicate)"
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=MAX_SECONDS,
        metavar="S",
        help=f"longest stretch (default: {MAX_SECONDS:g})",
    )
    valid = "one speaker in P is for validation"
    add_division(parser, TRAIN_SHARDS, VALID_PARTS, "number of training manifests", valid)


def _corpus_of(arguments: argparse.Namespace) -> LibriLight:
    if not MIN_LIMIT <= arguments.max_seconds < math.inf:
        raise DataError(f"--max-seconds: found {arguments.max_seconds}, expected at least {MIN_LIMIT}")
    return open_corpus(
        arguments.root,
        arguments.subsets,
        arguments.max_seconds,
        arguments.train_shards,
        arguments.valid_parts,
    )


main = preparation("librilight", __doc__, _corpus_of, _add_arguments)
