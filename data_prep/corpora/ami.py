"""AMI: transcribed meetings on individual headsets (IHM) and on the first distant microphone (SDM1).

``DIR`` holds ``amicorpus/MEETING/audio/`` (or ``wav_db/...``) with ``MEETING.Headset-N.wav`` and
``MEETING.Array1-01.wav``, and the manual annotations, unpacked there or in ``ami_public_manual_*``:
``corpusResources/meetings.xml`` (the headset of each speaker), ``segments/MEETING.LETTER.segments.xml`` (the times)
and ``words/MEETING.LETTER.words.xml`` (the words). Meetings are divided by the publisher's partition for recognition
("full-corpus-ASR"). A segment is an utterance. Both microphones are trained on. Overlapping speech on SDM1 is scored
too.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from data_prep.engine.contents import contents_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, table
from data_prep.formats.recordings import COLUMNS, Utterance, rows_of_recording
from data_prep.text import transcripts
from slam_plugin.data.constants import DEV, MAX_SECONDS, TEST, TRAIN
from slam_plugin.data.errors import DataError

_DEV = ("ES2011", "IS1008", "TS3004", "IB4001", "IB4002", "IB4003", "IB4004", "IB4010", "IB4011")
_TEST = ("ES2004", "IS1009", "TS3003", "EN2002")
_TRAIN = (
    *("ES2002", "ES2003", "ES2005", "ES2006", "ES2007", "ES2008", "ES2009", "ES2010", "ES2012", "ES2013", "ES2014"),
    *("ES2015", "ES2016", "IS1000", "IS1001", "IS1002", "IS1003", "IS1004", "IS1005", "IS1006", "IS1007"),
    *("TS3005", "TS3006", "TS3007", "TS3008", "TS3009", "TS3010", "TS3011", "TS3012"),
    *("EN2001", "EN2003", "EN2004", "EN2005", "EN2006", "EN2009"),
    *("IN1001", "IN1002", "IN1005", "IN1007", "IN1008", "IN1009", "IN1012", "IN1013", "IN1014", "IN1016"),
)
SPLITS = dict.fromkeys(_TRAIN, TRAIN) | dict.fromkeys(_DEV, DEV) | dict.fromkeys(_TEST, TEST)
MICROPHONES = {"ihm": "Headset-*", "sdm1": "Array1-01"}
_NITE_ID = "{http://nite.sourceforge.net/}id"
_NITE_CHILD = "{http://nite.sourceforge.net/}child"
# LookupError and ValueError: encodings that Python does not know.
_NO_XML = (ElementTree.ParseError, LookupError, ValueError)
_WORDS = re.compile(r".*#id\(([^()]+)\)(?:\.\.id\(([^()]+)\))?")


@dataclass(frozen=True)
class Ami(Corpus):
    """Meetings below ``sounds`` in ``MEETING/audio/FILE``. A unit is a sound file.

    Attributes:
        splits: the splits that have meetings there.
        microphones: the microphones that have files there.
        max_seconds: of an utterance.
    """

    sounds: Path
    annotations: Path
    splits: tuple[str, ...]
    microphones: tuple[str, ...]
    max_seconds: float = MAX_SECONDS

    @property
    def recipe(self) -> Mapping[str, Any]:
        recipe = {"corpus": "ami", "layout": 1, "sounds": str(self.sounds), "annotations": str(self.annotations)}
        return recipe | {"splits": self.splits, "microphones": self.microphones, "max_seconds": self.max_seconds}

    def contents(self) -> str:
        return contents_of(self.annotations, self.sounds, endings=(".xml", ".wav"))

    @property
    def outputs(self) -> Mapping[str, Output]:
        names = [_output(split, name) for split in self.splits for name in self.microphones]
        return {name: table(f"{name}.tsv", COLUMNS) for name in dict.fromkeys(names)}

    def units(self) -> Iterator[Unit]:
        speakers = _speakers(self.annotations)
        for meeting in sorted(speakers):
            split = SPLITS.get(meeting[:6])
            if split not in self.splits:
                continue
            files = [(f"Headset-{channel}", (letter, name)) for letter, name, channel in speakers[meeting]]
            for stem, speaker in sorted(files) if "ihm" in self.microphones else ():
                yield self._unit(split, "ihm", meeting, stem, (speaker,))
            if "sdm1" in self.microphones:
                everyone = tuple(sorted(speaker for _, speaker in files))
                yield self._unit(split, "sdm1", meeting, "Array1-01", everyone)

    def _unit(self, split: str, microphone: str, meeting: str, stem: str, speakers: tuple) -> Unit:
        key = f"{meeting}/audio/{meeting}.{stem}.wav"
        path = self.sounds / key
        return Unit(key, path.stat().st_size if path.is_file() else 0, (split, microphone, speakers))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        split, microphone, speakers = unit.data
        meeting = unit.key.split("/")[0]
        utterances = (
            utterance
            for letter, name in speakers
            for utterance in _utterances(self.annotations, microphone, meeting, letter, name)
        )
        path = self.sounds / unit.key
        yield from rows_of_recording(_output(split, microphone), path, unit.key, utterances, self.max_seconds)


def open_corpus(root: Path, max_seconds: float = MAX_SECONDS) -> Ami:
    """Return AMI below ``root``. Raises :class:`DataError` if the annotations or the sound are missing."""
    sounds = next((root / name for name in ("amicorpus", "wav_db") if (root / name).is_dir()), root)
    places = [root, *sorted(root.glob("ami_public_manual*"))]
    annotations = next((place for place in places if _meetings_xml(place).is_file()), None)
    if annotations is None:
        expected = "corpusResources/meetings.xml there or in ami_public_manual_1.6.2"
        raise DataError(f"{root}: holds no annotations of AMI, expected {expected}")
    found = {name: sorted(sounds.glob(f"*/audio/*.{files}.wav")) for name, files in MICROPHONES.items()}
    microphones = tuple(name for name in MICROPHONES if found[name])
    if not microphones:
        raise DataError(f"{sounds}: holds no MEETING/audio/MEETING.Headset-N.wav and no MEETING.Array1-01.wav")
    there = {SPLITS.get(path.name[:6]) for paths in found.values() for path in paths}
    splits = tuple(split for split in (TRAIN, DEV, TEST) if split in there)
    return Ami(sounds, annotations, splits, microphones, max_seconds)


def _output(split: str, microphone: str) -> str:
    return split if split == TRAIN else f"{split}-{microphone}"


def _meetings_xml(annotations: Path) -> Path:
    return annotations / "corpusResources/meetings.xml"


def _speakers(annotations: Path) -> dict[str, list[tuple[str, str, int]]]:
    """Return the letter, the global name and the headset of each speaker, by meeting."""
    path = _meetings_xml(annotations)
    try:
        meetings = ElementTree.parse(path).getroot().findall("meeting")
    except _NO_XML as error:
        raise DataError(f"{path}: is not XML ({error})") from error
    try:
        return {
            meeting.attrib["observation"]: [
                (speaker.attrib["nxt_agent"], speaker.attrib["global_name"], int(speaker.attrib["channel"]))
                for speaker in meeting.findall("speaker")
            ]
            for meeting in meetings
        }
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: a meeting or a speaker lacks {error}") from error


def _utterances(
    annotations: Path, microphone: str, meeting: str, letter: str, name: str
) -> Iterator[Utterance | Dropped]:
    """Yield the utterances of one speaker, in the order of the publisher's segments."""
    place = f"segments/{meeting}.{letter}.segments.xml"
    try:
        segments = ElementTree.parse(annotations / place).getroot().findall("segment")
        words = list(ElementTree.parse(annotations / f"words/{meeting}.{letter}.words.xml").getroot())
    except FileNotFoundError as error:
        yield Dropped(place, f"is missing, or its words are ({Path(error.filename).name})")
        return
    except _NO_XML as error:
        yield Dropped(place, f"is not XML, or its words are not ({error})")
        return
    places = {word.get(_NITE_ID): index for index, word in enumerate(words)}
    for number, segment in enumerate(segments):
        where = f"{place}#{segment.get(_NITE_ID)}"
        try:
            begin, end = float(segment.attrib["transcriber_start"]), float(segment.attrib["transcriber_end"])
            spoken = [
                word for child in segment.iter(_NITE_CHILD) for word in _range(words, places, child.attrib["href"])
            ]
        except (KeyError, ValueError) as error:
            yield Dropped(where, f"has no times, or refers to missing words ({error})")
            continue
        key = f"{microphone}-{meeting}-{letter}-{number:04d}"
        yield Utterance(key, where, begin, end, transcripts.ami(spoken), name)


def _range(words: list[ElementTree.Element], places: Mapping[str | None, int], href: str) -> list[str]:
    """Return the words of ``FILE#id(FIRST)..id(LAST)`` or ``FILE#id(ONLY)`` without punctuation and truncated words.

    Laughter, gaps and other events between them are not ``w`` elements.
    """
    found = _WORDS.fullmatch(href)
    if not found:
        raise ValueError(href)
    first, last = places[found[1]], places[found[2] or found[1]]
    kept = (word for word in words[first : last + 1] if word.tag == "w")
    return [word.text or "" for word in kept if word.get("punc") != "true" and word.get("trunc") != "true"]
