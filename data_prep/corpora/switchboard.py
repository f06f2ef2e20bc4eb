"""Two-sided telephone conversations: Switchboard-1 and Fisher for training, Hub5'00 for testing.

- Switchboard-1 release 2: ``sw02001.sph`` anywhere below ``DIR``, and ISIP's transcripts,
  ``swb_ms98_transcriptions/20/2001/sw2001A-ms98-a-trans.text``, one line ``ID BEGIN END TEXT`` per utterance.
- Fisher English: ``fe_03_00001.sph`` and ``fe_03_p1_tran/data/trans/000/fe_03_00001.txt``, lines ``BEGIN END A: TEXT``,
  anywhere below ``DIR``. An utterance with uncertain words, ``(( ))``, is left out.
- Hub5'00: ``english/en_4156.sph``, ``sw_4390.sph``, and the references ``hub5e00.english.*.stm``. Conversations ``sw_``
  are the Switchboard test, ``en_`` the CallHome test, as NIST labels them.

Side A is channel 0, B is channel 1. Sound has 8 kHz and is resampled when it is read. Fisher is published compressed
by shorten: decompress a file with ``sph2pipe -f wav FROM TO``, with ``TO`` of the same name anywhere below ``DIR``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data_prep.engine.contents import contents_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, table
from data_prep.formats.lines import lines_of
from data_prep.formats.nist_stm import NOT_SCORED, StmLine, stm_lines
from data_prep.formats.recordings import COLUMNS, ENDINGS, Utterance, below, rows_of_recording, sounds_below
from data_prep.text import transcripts
from slam_plugin.data.constants import MAX_SECONDS
from slam_plugin.data.errors import DataError
from slam_plugin.data.folders import files_below

CHANNELS = {"A": 0, "B": 1}
# Test sets by the prefix of a conversation's name.
TESTS = {"sw_": "test-switchboard", "en_": "test-callhome"}
_ISIP_NAME = re.compile(r"sw(\d{4})[AB]-ms98-a-trans\.text")
_ISIP_LINE = re.compile(r"(sw\d{4}([AB])-ms98-a-\d+)\s+(\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)\s*(.*)")
_FISHER_LINE = re.compile(r"(\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)\s+([AB]):\s*(.*)")


@dataclass(frozen=True)
class _Conversations(Corpus):
    """Conversations below ``root``. A unit is one conversation, with the paths of its sound and transcripts."""

    name: ClassVar[str]
    root: Path
    max_seconds: float = MAX_SECONDS

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {"corpus": self.name, "layout": 1, "root": str(self.root), "max_seconds": self.max_seconds}

    def contents(self) -> str:
        return contents_of(self.root, endings=(".text", ".txt", ".stm", *ENDINGS))

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {"train": table("train.tsv", COLUMNS)}

    def _units(self, sounds: Mapping[str, Path], texts: Mapping[str, list[Path]]) -> Iterator[Unit]:
        for name in sorted(sounds.keys() | texts.keys()):
            sound = sounds.get(name)
            size = sound.stat().st_size if sound else 0
            yield Unit(
                name, size, (below(sound, self.root), tuple(below(text, self.root) for text in texts.get(name, ())))
            )

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        sound, texts = unit.data
        if not sound:
            yield from (Dropped(text, "has no sound file") for text in texts)
        elif not texts:
            yield Dropped(sound, "has no transcript")
        else:
            utterances = (utterance for text in texts for utterance in self._utterances(unit.key, text))
            yield from rows_of_recording("train", self.root / sound, sound, utterances, self.max_seconds)

    def _utterances(self, name: str, text: str) -> Iterable[Utterance | Dropped]:
        raise NotImplementedError


@dataclass(frozen=True)
class Switchboard(_Conversations):
    """Switchboard-1 release 2 with the transcripts of 1998."""

    name = "switchboard"

    def units(self) -> Iterator[Unit]:
        texts: dict[str, list[Path]] = {}
        for path in sorted(files_below(self.root)):
            found = _ISIP_NAME.fullmatch(path.name)
            if found:
                texts.setdefault(f"sw0{found[1]}", []).append(path)
        if not texts:
            expected = "swb_ms98_transcriptions/20/2001/sw2001A-ms98-a-trans.text"
            raise DataError(f"{self.root}: holds no transcripts of Switchboard, expected {expected}")
        sounds = sounds_below(self.root)
        yield from self._units({name: sounds[name] for name in sounds if re.fullmatch(r"sw0\d{4}", name)}, texts)

    def _utterances(self, name: str, text: str) -> Iterator[Utterance | Dropped]:
        for line in lines_of(self.root / text, text):
            found = None if isinstance(line, Dropped) else _ISIP_LINE.fullmatch(line.text.strip())
            if found:
                key, side, begin, end, words = found.groups()
                place, speaker = f"{text}:{line.number}", f"{name}-{side}"
                spoken = transcripts.switchboard(words)
                yield Utterance(key, place, float(begin), float(end), spoken, speaker, CHANNELS[side])
            elif isinstance(line, Dropped):
                yield line
            elif line.text.strip():
                yield Dropped(f"{text}:{line.number}", "is no line ID BEGIN END TEXT")


@dataclass(frozen=True)
class Fisher(_Conversations):
    """Fisher English, part 1, part 2 or both."""

    name = "fisher"

    def units(self) -> Iterator[Unit]:
        texts = {path.stem: [path] for path in sorted(files_below(self.root)) if path.match("fe_03_*.txt")}
        if not texts:
            expected = "fe_03_p1_tran/data/trans/000/fe_03_00001.txt"
            raise DataError(f"{self.root}: holds no transcripts of Fisher, expected {expected}")
        sounds = sounds_below(self.root)
        yield from self._units({name: sounds[name] for name in sounds if re.fullmatch(r"fe_03_\d{5}", name)}, texts)

    def _utterances(self, name: str, text: str) -> Iterator[Utterance | Dropped]:
        for line in lines_of(self.root / text, text):
            if isinstance(line, Dropped):
                yield line
                continue
            place, found = f"{text}:{line.number}", _FISHER_LINE.fullmatch(line.text.strip())
            if not line.text.strip() or line.text.startswith("#"):
                continue
            if not found:
                yield Dropped(place, "is no line BEGIN END SIDE: TEXT")
            elif "((" in found[4]:
                yield Dropped(place, "has words that the transcriber was not sure of")
            else:
                begin, end, side, words = found.groups()
                key, speaker = f"{name}-{side}-{line.number:04d}", f"{name}-{side}"
                spoken = transcripts.fisher(words)
                yield Utterance(key, place, float(begin), float(end), spoken, speaker, CHANNELS[side])


@dataclass(frozen=True)
class Hub5(_Conversations):
    """The English evaluation of 2000: a test of Switchboard and one of CallHome conversations."""

    name = "hub5"

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {name: table(f"{name}.tsv", COLUMNS) for name in TESTS.values()}

    def units(self) -> Iterator[Unit]:
        path = next((path for path in sorted(files_below(self.root)) if path.match("hub5e00.english.*.stm")), None)
        if path is None:
            raise DataError(f"{self.root}: holds no references of Hub5'00, expected hub5e00.english.000405.stm")
        names = {line.recording.lower() for line in stm_lines(path, path.name) if isinstance(line, StmLine)}
        sounds = sounds_below(self.root)
        ours = {name: sounds[name] for name in sounds if name in names or name[:3] in TESTS}
        yield from self._units(ours, dict.fromkeys(sorted(names), [path]))
        # Malformed lines belong to no conversation and are reported once.
        yield Unit("", 0, (None, (below(path, self.root),)))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        sound, texts = unit.data
        test = TESTS.get(unit.key[:3])
        if not unit.key:
            lines = stm_lines(self.root / texts[0], texts[0])
            yield from (line for line in lines if isinstance(line, Dropped))
        elif test is None:
            yield Dropped(f"{texts[0]}#{unit.key}", "is neither Switchboard (sw_) nor CallHome (en_)")
        elif not sound:
            yield Dropped(f"{texts[0]}#{unit.key}", "has no sound file")
        elif not texts:
            yield Dropped(sound, "has no transcript")
        else:
            utterances = self._utterances(unit.key, texts[0])
            yield from rows_of_recording(test, self.root / sound, sound, utterances, self.max_seconds)

    def _utterances(self, name: str, text: str) -> Iterator[Utterance | Dropped]:
        for line in stm_lines(self.root / text, text):
            if isinstance(line, Dropped) or line.recording.lower() != name:
                continue
            place, side = f"{text}:{line.number}", line.channel.upper()
            if side not in CHANNELS:
                yield Dropped(place, f"is on channel {line.channel}, expected A or B")
            elif not line.is_scored:
                yield Dropped(place, f"is not transcribed ({NOT_SCORED})")
            else:
                key, words = f"{name}-{side}-{line.number:04d}", transcripts.hub5(line.text)
                yield Utterance(key, place, line.begin, line.end, words, f"{name}-{side}", CHANNELS[side])
