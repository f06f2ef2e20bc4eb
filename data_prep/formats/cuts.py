"""Cut sets of lhotse: JSON lines, plain or gzipped, each a cut with its recording and supervisions.

The lines are read here and not by lhotse, whose reader would run the shell commands that a recording may name. Times
are seconds. A supervision's times are relative to its cut, and a cut's to its recording. Custom fields, features and
alignments are ignored.
"""

import gzip
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from data_prep.engine.units import is_unicode
from data_prep.formats.compressed import damage_named
from data_prep.formats.lines import Stretch, read_line

SUFFIXES = (".jsonl", ".jsonl.gz")
CUTS, RECORDINGS, SUPERVISIONS, FEATURES = "cuts", "recordings", "supervisions", "features"
_MONO, _MULTI, _MIXED, _PADDING = "MonoCut", "MultiCut", "MixedCut", "PaddingCut"
_OLD_MONO = "Cut"  # name of MonoCut before lhotse 0.8
_TYPES = (_MONO, _MULTI, _MIXED, _PADDING, _OLD_MONO)
_RESAMPLE = "Resample"  # the one transform that changes no time and that training does by itself
_MAX_SECONDS = 1e9
_MAX_CHANNEL = 1000
_ROUNDING = 0.05  # s: what a supervision may exceed its cut by
_MAX_TEXT = 131_072  # characters of a text
_SHOWN = 40  # characters of a value in an error message
_SOURCES = {
    "command": "is a shell command, which is never run",
    "url": "is at a URL",
    "memory": "is held in memory",
    "shar": "is in a Shar archive",
}


class Segment(NamedTuple):
    """Speech that a row is made of: ``seconds`` of the sound file ``path`` from ``begin`` on.

    Attributes:
        channel: of the file, from 0; None for the mean of all.
        text, speaker, language: empty if the supervisions name none.
    """

    path: str
    begin: float
    seconds: float
    channel: int | None
    text: str = ""
    speaker: str = ""
    language: str = ""


class UnusableCut(Exception):
    """A cut, or a supervision of one, that is left out: the message says why."""


def kind_of_lines(path: Path) -> str | None:
    """Return what lhotse wrote into a file of JSON lines: one of ``CUTS`` to ``FEATURES``, None for anything else."""
    with opened(path) as file:
        while (raw := read_line(file)).size and raw.data is not None and not raw.data.strip():
            pass
    try:
        found = json.loads(raw.data or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if found.get("type") in _TYPES and ("duration" in found or "tracks" in found):
        return CUTS
    marks = {RECORDINGS: "sources", FEATURES: "num_features", SUPERVISIONS: "recording_id"}
    return next((kind for kind, mark in marks.items() if {"id", "duration", mark} <= found.keys()), None) or (
        FEATURES if {"num_features", "storage_path"} <= found.keys() else None
    )


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file of JSON lines, decompressed if its name ends in ``.gz``. It seeks forward only.

    Raises :class:`DataError` if what is read of it is cut short or not gzip.
    """
    if path.suffix.lower() != ".gz":
        with path.open("rb") as file:
            yield file
        return
    with (
        damage_named(path, "is cut short or not gzip"),
        path.open("rb") as packed,
        io.BufferedReader(gzip.GzipFile(fileobj=packed), 1 << 20) as file,
    ):
        yield file


def stretches_of_lines(path: Path, size: int) -> Iterator[Stretch]:
    """Yield stretches of whole lines of about ``size`` decompressed bytes. Raises :class:`DataError`."""
    begin = here = 0
    first = line = 1
    with opened(path) as file:
        while (raw := read_line(file)).size:
            here, line = here + raw.size, line + 1
            if here - begin >= size:
                yield Stretch(begin, here, first)
                begin, first = here, line
    if begin < here:
        yield Stretch(begin, here, first)


def parse_cut(text: str) -> dict[str, Any]:
    """Return the cut of a line. Raises :class:`UnusableCut` if it is none.

    A cut that padding was added to is returned without it. Other mixtures are left out.
    """
    try:
        cut = json.loads(text)
    except json.JSONDecodeError as error:
        raise UnusableCut(f"is not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in lists
        raise UnusableCut(f"is JSON that cannot be read ({error})") from error
    if not isinstance(cut, dict):
        raise UnusableCut("is no JSON object")
    cut = _without_padding(cut) if cut.get("type") == _MIXED else cut
    if cut.get("type") == _PADDING:
        raise UnusableCut("is padding without a recording")
    if cut.get("type") not in (_MONO, _MULTI, _OLD_MONO):
        raise UnusableCut(f"has the type {_shown(cut.get('type'))}, expected {_MONO} or {_MULTI}")
    return cut


def _without_padding(mixed: Mapping[str, Any]) -> dict[str, Any]:
    tracks = _objects(mixed, "tracks")
    cuts = [_object(track, "cut") | {"type": track.get("type") or track["cut"].get("type")} for track in tracks]
    sounding = [(track, cut) for track, cut in zip(tracks, cuts, strict=True) if cut["type"] != _PADDING]
    if len(sounding) != 1:
        raise UnusableCut(f"is a mixture of {len(sounding)} cuts, expected one recording")
    if mixed.get("transforms") or sounding[0][0].get("snr") is not None:
        raise UnusableCut("is a mixture that is changed after its recordings are read")
    return sounding[0][1]


def whole_of(cut: Mapping[str, Any]) -> Segment:
    """Return the whole cut, without text. Speaker and language are those that all of its supervisions name.

    Raises :class:`UnusableCut`.
    """
    path, channel = _source(cut, cut.get("channel"))
    begin, seconds = _seconds(cut, "start"), _seconds(cut, "duration")
    supervisions = _objects(cut, "supervisions")
    names = ({_text(one, name) for one in supervisions} for name in ("speaker", "language"))
    speaker, language = (found.pop() if len(found) == 1 else "" for found in names)
    return Segment(path, begin, seconds, channel, speaker=speaker, language=language)


def supervised_of(cut: Mapping[str, Any]) -> Iterator[Segment | UnusableCut]:
    """Yield the part of each supervision with its text, as ``trim_to_supervisions`` of lhotse cuts it.

    Raises :class:`UnusableCut` if none of the cut can be used.
    """
    begin, seconds = _seconds(cut, "start"), _seconds(cut, "duration")
    supervisions = _objects(cut, "supervisions")
    if not supervisions:
        raise UnusableCut("has no supervision, so no text")
    _source(cut, cut.get("channel"))
    for supervision in supervisions:
        try:
            # A MultiCut's supervision may be of one of its channels. A MonoCut has one channel, as has all in it.
            one = supervision if cut["type"] == _MULTI and "channel" in supervision else cut
            path, channel = _source(cut, one.get("channel"))
            first = _number(supervision, "start")
            last = first + _seconds(supervision, "duration")
            if first < -_ROUNDING or last > seconds + _ROUNDING:
                raise UnusableCut(f"has a supervision from {first:g} to {last:g} s, which its {seconds:g} s cut off")
            first, last = max(first, 0.0), min(last, seconds)
            texts = (_text(supervision, name) for name in ("text", "speaker", "language"))
            yield Segment(path, begin + first, last - first, channel, *texts)
        except UnusableCut as error:
            yield error


def _source(cut: Mapping[str, Any], channels: object) -> tuple[str, int | None]:
    """Return the sound file that holds channels of a recording, and the one channel of it, None for all.

    Raises :class:`UnusableCut` if no single file holds them, or if the recording is no file as it is.
    """
    if "recording" not in cut:
        raise UnusableCut("has no recording (features alone are not read)")
    recording = _object(cut, "recording")
    changes = [str(change.get("name")) for change in _objects(recording, "transforms")]
    changed = next((name for name in changes if name != _RESAMPLE), None)
    if changed:
        raise UnusableCut(f"has a recording that is changed by {_shown(changed)}, expected it as it is")
    wanted = _channels(channels, "cut")
    for source in _objects(recording, "sources"):
        there = _channels(source.get("channels"), "source")
        if not set(wanted) <= set(there):
            continue
        kind, path = source.get("type"), source.get("source")
        if kind != "file":
            raise UnusableCut(f"has a recording that {_SOURCES.get(str(kind), 'is none')}, expected a file")
        if not isinstance(path, str) or not path:
            raise UnusableCut(f"has a recording in the file {_shown(path)}, expected a path")
        if set(wanted) == set(there):
            return path, None
        if len(set(wanted)) == 1:
            return path, there.index(wanted[0])
        raise UnusableCut(f"takes {len(wanted)} of the {len(there)} channels of a file, expected one or all")
    raise UnusableCut("takes channels that no single file of its recording has")


def _channels(value: object, what: str) -> list[int]:
    found = value if isinstance(value, list) else [value]
    if not found or not all(type(number) is int and 0 <= number <= _MAX_CHANNEL for number in found):
        raise UnusableCut(f"has a {what} of channel {_shown(value)}, expected numbers from 0 to {_MAX_CHANNEL}")
    return found


def _object(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(fields.get(name), dict):
        raise UnusableCut(f"has the {name} {_shown(fields.get(name))}, expected an object")
    return fields[name]


def _objects(fields: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects, empty if there is none."""
    found = fields.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise UnusableCut(f"has the {name} {_shown(found)}, expected a list of objects")
    return found


def _seconds(fields: Mapping[str, Any], name: str) -> float:
    found = _number(fields, name)
    if found < 0:
        raise UnusableCut(f"has the {name} {found:g}, expected seconds from 0 on")
    return found


def _number(fields: Mapping[str, Any], name: str) -> float:
    found = fields.get(name)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if not is_number or not abs(found) <= _MAX_SECONDS:  # also for NaN
        raise UnusableCut(f"has the {name} {_shown(found)}, expected seconds")
    return float(found)


def _text(fields: Mapping[str, Any], name: str) -> str:
    found = fields.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise UnusableCut(f"has the {name} {_shown(found)}, expected text")
    if not is_unicode(found):
        raise UnusableCut(f"holds half a character (a lone surrogate) in its {name}")
    if len(found) > _MAX_TEXT:
        raise UnusableCut(f"holds a {name} of {len(found)} characters, expected at most {_MAX_TEXT}")
    return found


def _shown(value: object) -> str:
    found = ascii(value)
    return found if len(found) <= _SHOWN else f"{found[:_SHOWN]}..."
