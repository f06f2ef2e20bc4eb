"""Cut sets of lhotse: a row for each cut, or for each supervision if rows have texts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from data_prep.engine.units import Dropped, Item, Noted, Unit
from data_prep.formats.cuts import (
    CUTS,
    SUFFIXES,
    Segment,
    UnusableCut,
    kind_of_lines,
    opened,
    parse_cut,
    stretches_of_lines,
    supervised_of,
    whole_of,
)
from data_prep.formats.lines import Stretch, read_line, text_of
from data_prep.own.corpus import Own, content_of, time_of
from data_prep.own.finding import Named, listed, named_for_splits
from data_prep.own.kinds import CHANNEL, PART, Settings
from data_prep.own.tables import SUFFIXES as TABLES
from slam_plugin.data.errors import DataError

_UNIT_BYTES = 256 << 10  # some hundred cuts
_FIRST_CUTS = 1000  # that are read to find out whether they name speakers and languages
_NAMES = ("speaker", "language")


@dataclass(frozen=True)
class OwnCuts(Own):
    """Cuts of lhotse's sets. A unit is some cuts of one set.

    Attributes:
        sets: files below ``root``, each with the split it is named for.
    """

    root: Path
    settings: Settings
    sets: tuple[tuple[str, str | None], ...]

    part_bytes = 4 * _UNIT_BYTES

    def _add_state(self, add: Callable[[bytes], None]) -> None:
        add(repr(self.sets).encode())
        for name, _ in self.sets:
            add(content_of(self.root / name))
            last = None
            for segment in segments_in(self.root / name, with_text=False):
                if segment.path != last:
                    add(time_of(self.sound_root((self.root / name).parent) / segment.path))
                last = segment.path

    def units(self) -> Iterator[Unit]:
        for number, (name, _) in enumerate(self.sets):
            for stretch in stretches_of_lines(self.root / name, _UNIT_BYTES):
                yield Unit(f"{name}:{stretch.line}", stretch.end - stretch.begin, (number, *stretch))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        number, *stretch = unit.data
        name, split = self.sets[number]
        path, with_text = self.root / name, "text" in self.settings.roles
        for place, found in _parts_of(path, name, Stretch(*stretch), with_text):
            if isinstance(found, Segment):
                yield from self.items(place, split, _fields(found), self.sound_root(path.parent))
            else:
                yield Dropped(place, str(found))


def _fields(segment: Segment) -> dict[str, str]:
    """Return the fields of a row by role."""
    channel = "" if segment.channel is None else str(segment.channel)
    part = dict(zip((*PART, CHANNEL), (repr(segment.begin), repr(segment.seconds), channel), strict=True))
    return {
        "audio": segment.path,
        "text": segment.text,
        "speaker": segment.speaker,
        "language": segment.language,
    } | part


def segments_in(path: Path, with_text: bool) -> Iterator[Segment]:
    """Yield the parts of a cut set that can be used, as far as their lines say."""
    for stretch in stretches_of_lines(path, _UNIT_BYTES):
        for _, found in _parts_of(path, path.name, stretch, with_text):
            if isinstance(found, Segment):
                yield found


def _parts_of(path: Path, name: str, stretch: Stretch, with_text: bool) -> Iterator[tuple[str, Segment | UnusableCut]]:
    """Yield the places and parts of a stretch's cuts, or why they are left out."""
    with opened(path) as file:
        file.seek(stretch.begin)
        here, number = stretch.begin, stretch.line
        while here < stretch.end and (raw := read_line(file)).size:
            line, place = text_of(raw, name, number), f"{name}:{number}"
            here, number = here + raw.size, number + 1
            if isinstance(line, Dropped):
                yield line.place, UnusableCut(line.reason)
                continue
            if not line.text.strip():
                continue
            try:
                cut = parse_cut(line.text)
                found = list(supervised_of(cut)) if with_text else [whole_of(cut)]
            except UnusableCut as error:
                yield place, error
                continue
            several = len(found) > 1
            yield from ((f"{place}:{count}" if several else place, each) for count, each in enumerate(found, 1))


def named_in(paths: Sequence[Path], with_text: bool) -> list[str]:
    """Return which of speaker and language the first cuts of the sets name."""
    first = [segment for path in paths for segment in islice(segments_in(path, with_text), _FIRST_CUTS)]
    return [role for role in _NAMES if any(getattr(segment, role) for segment in first)]


def find_cut_sets(root: Path) -> Named:
    """Return the cut sets of ``root``, itself or those in it, each with the split it is named for. Empty without any.

    The name counts from ``cuts`` on: ``librispeech_cuts_train-clean-100.jsonl.gz`` is for training.

    Raises :class:`DataError` if ``root`` holds another gzipped file of JSON lines, if a folder has other files beside
    cut sets that lhotse did not write, or if some are named for splits and others are not.
    """
    files = [root] if root.is_file() else sorted(path for path in root.iterdir() if path.is_file())
    files = [path for path in files if path.name.lower().endswith((*SUFFIXES, *TABLES))]
    kinds = {path: kind_of_lines(path) for path in files if path.name.lower().endswith(SUFFIXES)}
    sets = [path for path in files if kinds.get(path) == CUTS]
    if not sets:
        _refuse_packed(kinds)
        return []
    others = [path.name for path in files if kinds.get(path) is None]
    if others:
        raise DataError(f"{root}: found {listed(others)} beside the cut set {sets[0].name}; move the others away")
    return [(sets[0], None)] if len(sets) == 1 else named_for_splits(root, sets, "cut sets", _name_of)


def _refuse_packed(kinds: Mapping[Path, str | None]) -> None:
    for path, kind in kinds.items():
        if path.suffix.lower() == ".gz":
            what = f"{kind} of lhotse" if kind else "lines that are no cuts of lhotse"
            raise DataError(
                f"{path}: found {what}, expected a cut set: lhotse cut simple -r RECORDINGS -s SUPERVISIONS CUTS"
            )


def _name_of(path: Path) -> str:
    """Return the part of a name that may hold the name of a split."""
    stem = path.name.lower().partition(".jsonl")[0]
    return stem.rpartition("cuts")[2].strip("-_.") or stem
