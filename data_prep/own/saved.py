"""Folders that ``save_to_disk`` of Hugging Face's ``datasets`` writes: a data set, or one in each split's folder.

The Arrow files are read without that library. Sound stays in them: a manifest names it as ``data.arrow:OFFSET:LENGTH``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from data_prep.engine.splits import SPLIT_NAMES, split_in_name
from data_prep.engine.units import Dropped, Item, Noted, Unit
from data_prep.formats.arrow_streams import Batch, batch_of, schema_of, sizes_of
from data_prep.own.corpus import Own, Table, content_of, drawn_split, time_of
from data_prep.own.finding import Named, refuse_without_train
from data_prep.own.kinds import Settings
from data_prep.own.tables import MAX_FIELD
from slam_plugin.data.constants import TRAIN
from slam_plugin.data.errors import DataError
from slam_plugin.data.json_files import read_json
from slam_plugin.data.locations import parse_location

SPLITS, STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"
_INDICES = ("_indices_files", "_indices_data_files")  # of versions before 2.0: rows in an order of their own
_MAX_NAME = 255  # bytes of a file's name


class Row(NamedTuple):
    """A row: its fields by role, and what its split is drawn by. Sound in an Arrow file has no lasting name."""

    fields: Mapping[str, str]
    key: str


@dataclass(frozen=True)
class OwnSaved(Own):
    """Rows of data sets on disk. A unit is a record batch.

    Attributes:
        files: the Arrow files below ``root`` as tables, in the order of the rows.
        others: folders of splits of other names, which are left out.
        labels: names of the classes by column, for columns of numbers that stand for them.
    """

    root: Path
    settings: Settings
    files: tuple[Table, ...]
    others: tuple[str, ...]
    labels: tuple[tuple[str, tuple[str, ...]], ...]

    def _add_state(self, add: Callable[[bytes], None]) -> None:
        add(repr((self.files, self.others, self.labels)).encode())
        for own_file in self.files:
            path = self.root / own_file.path
            add(time_of(path) + content_of(path.parent / STATE))
            column = dict(own_file.columns).get("audio")
            if column and not _is_sound(schema_of(path).field(column).type):
                for row in rows_of(self.root, own_file, ("audio",), {}):
                    add(time_of(parse_location(row.fields["audio"], self.sound_root(path.parent)).path))

    def units(self) -> Iterator[Unit]:
        for folder in self.others:
            yield Unit(folder, 1, (-1, 0, 0))
        folder, first = None, 0
        for number, own_file in enumerate(self.files):
            path = self.root / own_file.path
            first = first if path.parent == folder else 0
            folder = path.parent
            for batch, (rows, size) in enumerate(sizes_of(path)):
                yield Unit(f"{own_file.path}:{batch}", size, (number, batch, first))
                first += rows

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        number, batch, first = unit.data
        if number < 0:
            yield Dropped(unit.key, f"is not named for a split, and others are: expected {', '.join(SPLIT_NAMES)}")
            return
        own_file = self.files[number]
        path, columns = self.root / own_file.path, dict(own_file.columns)
        roles = (*self.settings.roles, *(["split"] if "split" in columns else []))
        found = batch_of(path, batch, [columns[role] for role in roles])
        for place, row in enumerate(_rows(path, own_file, found, roles, dict(self.labels)), first):
            yield from self._row(own_file, path, f"{path.parent.name}[{place}]", row)

    def _row(self, own_file: Table, path: Path, place: str, row: Row) -> Iterator[Item | Dropped | Noted]:
        longest = max(map(len, row.fields.values()), default=0)
        if longest > MAX_FIELD:
            yield Dropped(place, f"holds a field of {longest} characters, expected at most {MAX_FIELD}")
            return
        try:
            split = own_file.split_of(row.fields) or drawn_split(row.key, self.settings.shares)
        except DataError as error:
            yield Dropped(place, str(error))
            return
        yield from self.items(place, split, row.fields, self.sound_root(path.parent))


def rows_of(root: Path, own_file: Table, roles: Sequence[str], labels: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Yield all rows of a file with the fields of ``roles``, as far as the file has them."""
    path, columns = root / own_file.path, dict(own_file.columns)
    known = [role for role in roles if role in columns]
    for number, _ in enumerate(sizes_of(path)):
        batch = batch_of(path, number, [columns[role] for role in known])
        yield from _rows(path, own_file, batch, known, labels)


def _rows(
    path: Path, own_file: Table, batch: Batch, roles: Sequence[str], labels: Mapping[str, Sequence[str]]
) -> Iterator[Row]:
    columns, values = dict(own_file.columns), {}
    keys: list[str] | None = None
    for role in roles:
        column = batch.rows.column(columns[role])
        if _is_sound(column.type):
            values[role], names = _sounds(path, batch, column)
            keys = names if role == roles[0] else keys
        else:
            values[role] = _texts(column, labels.get(columns[role]))
    keys = values[roles[0]] if keys is None else keys
    for place, key in enumerate(keys):
        yield Row({role: found[place] for role, found in values.items()}, key)


def _sounds(path: Path, batch: Batch, column: pa.StructArray) -> tuple[list[str], list[str]]:
    """Return where each sound is (empty if it is absent), and its name, or the place if it has none."""
    places = batch.places(column.field("bytes")).tolist()
    inside = [there and here for there, here in zip(_valid(column), _valid(column.field("bytes")), strict=True)]
    names = [name or "" for name in column.field("path").to_pylist()]
    found = []
    for (offset, length), is_inside, is_there, name in zip(places, inside, _valid(column), names, strict=True):
        found.append(f"{path}:{offset}:{length}" if is_inside else name if is_there else "")
    return found, [name or place for name, place in zip(names, found, strict=True)]


def _valid(column: pa.Array) -> list[bool]:
    return column.is_valid().to_pylist()


def _texts(column: pa.Array, labels: Sequence[str] | None) -> list[str]:
    found = column.to_pylist()
    if labels is not None:
        found = [labels[value] if value is not None and 0 <= value < len(labels) else None for value in found]
    return ["" if value is None else str(value) for value in found]


def _is_sound(kind: pa.DataType) -> bool:
    """Return whether a column is of the type Audio of ``datasets``, as it is stored."""
    if not pa.types.is_struct(kind) or {field.name for field in kind} != {"bytes", "path"}:
        return False
    data, path = kind.field("bytes").type, kind.field("path").type
    return (pa.types.is_binary(data) or pa.types.is_large_binary(data)) and _is_text(path)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_saved(root: Path) -> bool:
    """Return whether a folder was written by ``save_to_disk``."""
    return root.is_dir() and ((root / SPLITS).is_file() or ((root / STATE).is_file() and (root / INFO).is_file()))


def find_saved(root: Path) -> tuple[Named, list[str]]:
    """Return the Arrow files of a folder, each with the split that it is in, and the folders of other splits.

    Raises :class:`DataError` if the folder is not as ``save_to_disk`` leaves it, or no split is train and some are
    named for others.
    """
    if not (root / SPLITS).is_file():
        return [(path, None) for path in _files_of(root)], []
    folders = _names(root / SPLITS, read_json(root / SPLITS).get("splits"))
    named = [(root / folder, split_in_name(folder)) for folder in folders]
    if TRAIN not in {split for _, split in named}:
        refuse_without_train(root / SPLITS, folders)
        return [(path, None) for folder, _ in named for path in _files_of(folder)], []
    found = [(path, split) for folder, split in named if split for path in _files_of(folder)]
    return found, [folder.name for folder, split in named if not split]


def _files_of(folder: Path) -> list[Path]:
    state = read_json(folder / STATE)
    if any(state.get(name) for name in _INDICES):
        raise DataError(f"{folder / STATE}: names indices, expected rows in their order: save the data set again")
    files = state.get("_data_files")
    names = [each.get("filename") if isinstance(each, dict) else None for each in files] if files else files
    names = _names(folder / STATE, names)
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise DataError(f"{folder / STATE}: names {ascii(absent[0])}, and there is no such file beside it")
    return [folder / name for name in names]


def _names(path: Path, names: object) -> list[str]:
    """Return names of files or folders that a file lists. Raises :class:`DataError` for any that leads elsewhere."""
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: found the list {ascii(names)[:100]}, expected names as save_to_disk writes them")
    for name in names:
        is_plain = isinstance(name, str) and name not in ("", ".", "..") and {"/", "\\", "\0"}.isdisjoint(name)
        if not is_plain or len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME:
            raise DataError(
                f"{path}: found the name {ascii(name)[:100]}, expected one without a folder, at most {_MAX_NAME} bytes"
            )
    return names


def labels_of(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the names of classes by column, of the data set that an Arrow file belongs to."""
    features = read_json(path.parent / INFO).get("features") or {}
    if not isinstance(features, dict):
        raise DataError(f"{path.parent / INFO}: found features of type {type(features).__name__}, expected an object")
    classes = {name: kind for name, kind in features.items() if isinstance(kind, dict) and "names" in kind}
    found = {name: kind["names"] for name, kind in classes.items() if kind.get("_type") == "ClassLabel"}
    for name, names in found.items():
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
            raise DataError(f"{path.parent / INFO}: found names of classes of {ascii(name)} that are no texts")
    return {name: tuple(names) for name, names in found.items()}


def columns_of_saved(path: Path) -> list[str]:
    """Return the names of the columns of an Arrow file that rows can be made of."""
    return [field.name for field in schema_of(path) if _is_sound(field.type) or _is_plain(field.type)]


def sound_column(path: Path) -> str | None:
    """Return the one column of sound, None if there is none or there are several."""
    found = [field.name for field in schema_of(path) if _is_sound(field.type)]
    return found[0] if len(found) == 1 else None


def _is_plain(kind: pa.DataType) -> bool:
    return _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
