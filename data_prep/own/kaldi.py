"""Data folders of Kaldi: ``wav.scp``, ``text`` and, for parts of recordings, ``segments``; ``utt2spk`` if it is there.

A line of ``wav.scp`` that is a command (``sph2pipe ... |``) is refused and never run.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.units import Dropped, Item, Noted, Unit
from data_prep.formats.lines import lines_of
from data_prep.own.corpus import Own, content_of, time_of
from data_prep.own.kinds import Settings

SOUND_LIST, TEXT_LIST, SEGMENTS, SPEAKERS = "wav.scp", "text", "segments", "utt2spk"
_FILES = (SOUND_LIST, TEXT_LIST, SEGMENTS, SPEAKERS)
_UNIT_ROWS = 200
_LINE = re.compile(r"[ \t]*+([^ \t]*+)[ \t]*+(.*)", re.DOTALL)


class _Listed(NamedTuple):
    """A line of a list: its number, from 1, and what follows the key."""

    line: int
    value: str


class _Lists(NamedTuple):
    """The lists of a folder by key, and the lines that are left out."""

    sounds: dict[str, _Listed]
    texts: dict[str, _Listed]
    segments: dict[str, _Listed] | None
    speakers: dict[str, _Listed]
    dropped: list[Dropped]


@dataclass(frozen=True)
class OwnKaldi(Own):
    """Utterances of data folders. A unit is some of one folder's.

    Attributes:
        folders: below ``root`` (``.`` for itself), each with the split it is named for.
    """

    root: Path
    settings: Settings
    folders: tuple[tuple[str, str | None], ...]

    def _add_state(self, add: Callable[[bytes], None]) -> None:
        add(repr(self.folders).encode())
        for folder, _ in self.folders:
            for name in _FILES:
                path = self.root / folder / name
                add(content_of(path) if path.is_file() else b"absent")
            for listed in self._lists(folder).sounds.values():
                add(time_of(self.sound_root(self.root / folder) / listed.value))

    def units(self) -> Iterator[Unit]:
        _read_lists.cache_clear()
        for folder, _ in self.folders:
            lists = self._lists(folder)
            count = len(lists.sounds if lists.segments is None else lists.segments)
            for begin in range(0, max(count, 1), _UNIT_ROWS):
                yield Unit(f"{folder}:{begin}", _UNIT_ROWS << 17, (folder, begin))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        folder, begin = unit.data
        split = dict(self.folders)[folder]
        lists = self._lists(folder)
        rows = lists.sounds if lists.segments is None else lists.segments
        if begin == 0:
            yield from lists.dropped
            for key, text in lists.texts.items() if "text" in self.settings.roles else ():
                if key not in rows:
                    yield Dropped(self._place(folder, TEXT_LIST, text.line), "has no sound")
        for key in list(rows)[begin : begin + _UNIT_ROWS]:
            yield from self._utterance(folder, split, lists, key)

    def _utterance(self, folder: str, split: str | None, lists: _Lists, key: str) -> Iterator[Item | Dropped | Noted]:
        fields = {"speaker": lists.speakers[key].value if key in lists.speakers else ""}
        recording, row = key, lists.sounds.get(key)
        place = self._place(folder, SOUND_LIST, row.line) if row else ""
        if lists.segments is not None:
            row = lists.segments[key]
            place, words = self._place(folder, SEGMENTS, row.line), row.value.split()
            if len(words) != 3:
                yield Dropped(place, "is no segment, expected UTTERANCE RECORDING BEGIN END")
                return
            recording, first, last = words
            try:
                fields |= {"offset": first, "duration": str(float(last) - float(first))}
            except ValueError:
                yield Dropped(place, f"has times that are no numbers ({first} to {last})")
                return
        if recording not in lists.sounds:
            yield Dropped(place, f"has no sound: its recording is not in {SOUND_LIST}")
            return
        if "text" in self.settings.roles and key not in lists.texts:
            yield Dropped(place, f"has no text: it is not in {TEXT_LIST}")
            return
        fields |= {"audio": lists.sounds[recording].value, "text": lists.texts[key].value if key in lists.texts else ""}
        yield from self.items(place, split, fields, self.sound_root(self.root / folder))

    def _lists(self, folder: str) -> _Lists:
        return _read_lists(self.root / folder, folder)

    def _place(self, folder: str, name: str, line: int) -> str:
        return f"{_prefix(folder)}{name}:{line}"


def _prefix(folder: str) -> str:
    return "" if folder == "." else f"{folder}/"


@lru_cache(maxsize=8)
def _read_lists(path: Path, folder: str) -> _Lists:
    dropped: list[Dropped] = []
    sounds, texts, segments, speakers = (_read_list(path, folder, name, dropped) for name in _FILES)
    for key, listed in list(sounds.items()):
        if listed.value.rstrip().endswith("|"):
            place = f"{_prefix(folder)}{SOUND_LIST}:{listed.line}"
            dropped.append(Dropped(place, "is a command, which is never run: write its output to a file"))
            del sounds[key]
    return _Lists(sounds, texts, segments if (path / SEGMENTS).is_file() else None, speakers, dropped)


def _read_list(path: Path, folder: str, name: str, dropped: list[Dropped]) -> dict[str, _Listed]:
    found: dict[str, _Listed] = {}
    place = f"{_prefix(folder)}{name}"
    for line in lines_of(path / name, place) if (path / name).is_file() else ():
        if isinstance(line, Dropped):
            dropped.append(line)
            continue
        key, value = _LINE.fullmatch(line.text).groups()
        if key in found:
            dropped.append(Dropped(f"{place}:{line.number}", f"has the key of line {found[key].line}"))
        elif key and value.strip():
            found[key] = _Listed(line.number, value)
        elif key:
            dropped.append(Dropped(f"{place}:{line.number}", "holds nothing after its key"))
    return found
