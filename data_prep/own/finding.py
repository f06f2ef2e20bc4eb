"""Where your own rows are: tables, and folders and files named for splits, as their names say."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from data_prep.engine.splits import SPLIT_NAMES, named_split, split_in_name
from data_prep.own.tables import METADATA, SUFFIXES
from slam_plugin.data.constants import TRAIN
from slam_plugin.data.errors import DataError

Named = list[tuple[Path, str | None]]  # paths, each with the split that it is named for


def find_tables(root: Path) -> Named:
    """Return the tables of ``root``: itself, those in it, or a ``metadata`` in each of its folders named for splits.

    Raises :class:`DataError` if ``root`` is another file, or some tables are named for splits and others are not.
    """
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise DataError(f"{root}: found the ending {root.suffix!r}, expected a table: {', '.join(SUFFIXES)}")
        return [(root, None)]
    found = _tables_in(root)
    if found:
        # The name of a single table does not count.
        return [(found[0], None)] if len(found) == 1 else named_for_splits(root, found, "tables")
    inner = [(path, split) for folder, split in split_folders(root) for path in _tables_in(folder) if split]
    return [(path, split) for path, split in inner if path.stem.lower() == METADATA]


def _tables_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def named_for_splits(
    root: Path, paths: Sequence[Path], what: str, name_of: Callable[[Path], str] = lambda path: path.stem
) -> Named:
    """Return the split of each path by its name, None for all if no name is one of a split.

    Args:
        what: the files are, for errors.
        name_of: returns the part of a path that names a split.

    Raises :class:`DataError` if some are named for splits and others are not.
    """
    splits = [split_in_name(name_of(path)) for path in paths]
    others = [path.name for path, split in zip(paths, splits, strict=True) if not split]
    if others and len(others) < len(paths):
        first = next(path.name for path, split in zip(paths, splits, strict=True) if split)
        raise DataError(
            f"{root}: found {listed(others)} beside {first}, expected all {what} to be named for splits "
            f"({', '.join(SPLIT_NAMES)}) or none; move the others away, or give one table as --root"
        )
    return list(zip(paths, splits, strict=True))


def split_folders(root: Path) -> Named:
    """Return the folders right below ``root`` with the splits they are named for, none if no split is train.

    Raises :class:`DataError` if a folder has the name of a split and none is for training: to draw the splits of its
    files anew would mix what someone has divided.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    named = [(path, split_in_name(path.name)) for path in folders]
    if TRAIN in {split for _, split in named}:
        return named
    refuse_without_train(root, (path.name for path in folders))
    return []


def split_files(root: Path, files: Sequence[Path]) -> Named:
    """Return text files right below ``root`` with the splits they are named for, none if no split is train.

    Raises :class:`DataError` as :func:`split_folders` and :func:`named_for_splits` do.
    """
    if TRAIN in {split_in_name(path.stem) for path in files}:
        return named_for_splits(root, files, "text files")
    refuse_without_train(root, (path.name for path in files))
    return []


def refuse_without_train(root: Path, names: Iterable[str]) -> None:
    """Raise :class:`DataError` if one of ``names`` is the name of a split."""
    found = [name for name in names if named_split(name.partition(".")[0])]
    if found:
        raise DataError(
            f"{root}: found {listed(found)}, named for splits, but nothing named for training; expected "
            f"names of all splits ({', '.join(SPLIT_NAMES)}) or of none: rename them"
        )


def listed(names: Sequence[str]) -> str:
    """Return the first names in one line, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
