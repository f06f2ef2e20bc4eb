"""Unpack the members of zips to files, and rewrite the manifests: the inverse of :mod:`data_prep.manifests.pack`.

A member ``NAME`` of ``features.zip`` becomes ``FOLDER/features/NAME``. Zips from elsewhere, with members in folders,
work too; a member whose name leads out of the folder is refused.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from data_prep.manifests.places import place_of
from slam_plugin.data.errors import DataError, Fault, raise_faults
from slam_plugin.data.files import atomic_write
from slam_plugin.data.manifests.manifest import Manifest, line_of

_LOCAL_HEADER = struct.Struct("<26xHH")  # lengths of the name and of the extra field, at its end


def unpack_manifests(
    manifests: Sequence[str | Path],
    folder: str | Path,
    audio_root: str | Path | None = None,
    progress: bool = False,
) -> int:
    """Write the members that ``manifests`` name below ``folder``, rewrite the manifests, and return their number.

    Rows that do not name a zip are left alone. Existing files with the right content are kept, so a killed run resumes.
    Raises :class:`DataError` for zips that cannot be read, members that would be outside ``folder``, and rows that name
    no member; then no manifest has changed.
    """
    folder = Path(folder).absolute()
    opened = [Manifest.open(path) for path in manifests]
    roots = [Path(audio_root or manifest.path.parent).resolve() for manifest in opened]
    archives: dict[Path, _Archive] = {}
    with ExitStack() as stack:
        for manifest, root in zip(opened, roots, strict=True):
            file = stack.enter_context(atomic_write(manifest.path))
            file.write("\t".join(manifest.columns) + "\n")
            file.writelines(_lines(manifest, root, folder, archives, progress))
    return sum(len(archive.written) for archive in archives.values())


def _lines(
    manifest: Manifest, root: Path, folder: Path, archives: "dict[Path, _Archive]", progress: bool
) -> Iterator[str]:
    """Yield the manifest's lines, each after its member was written."""
    faults = []
    for row in tqdm(range(len(manifest)), desc=manifest.path.name, unit="utt", disable=not progress):
        fields = manifest.row(row)
        place = place_of(fields["audio"], root)
        if place.is_packed and place.path.suffix.lower() == ".zip":
            if place.path not in archives:
                try:
                    archives[place.path] = _Archive(place.path, _folder_of(place.path, folder, archives))
                except DataError as error:  # at once: all rows may name this zip
                    raise DataError(str(Fault(str(manifest.path), line_of(row), str(error)))) from error
            try:
                target = archives[place.path].write(place.offset, place.length)
            except DataError as error:
                faults.append(Fault(str(manifest.path), line_of(row), str(error)))
                continue
            fields["audio"] = os.path.relpath(target, root)
        yield "\t".join(map(str, fields.values())) + "\n"
    raise_faults(faults)


def _folder_of(path: Path, folder: Path, others: "dict[Path, _Archive]") -> Path:
    target = folder / path.stem
    for other, archive in others.items():
        if archive.folder == target:
            raise DataError(f"{path}: has the same name as {other}, so their members would mix; unpack one at a time")
    return target


class _Archive:
    """A zip with its members by the offset of their bytes. ``written`` holds the offsets of those that are files."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        self.written: set[int] = set()
        try:
            with zipfile.ZipFile(path) as archive, path.open("rb") as file:
                members = [info for info in archive.infolist() if not info.is_dir()]
                for info in members:
                    _refuse_outside(path, info)
                self._members = {_begin(file, info): info for info in members}
        # What damaged directories of a zip raise.
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, LookupError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path}: cannot be read as a zip ({error})") from error

    def write(self, offset: int, length: int) -> Path:
        """Write the member at ``offset`` to its file, unless it is there, and return the file's path."""
        info = self._members.get(offset)
        if info is None or info.compress_size != length:
            raise DataError(f"{self.path}:{offset}:{length}: found no member at these bytes")
        if info.compress_type != zipfile.ZIP_STORED:
            raise DataError(f"{self.path}: {info.filename} is compressed, expected a zip of stored members")
        target = self.folder / info.filename
        if offset in self.written:
            return target
        self.written.add(offset)
        try:
            self._place(target, offset, length, info)
        except (OSError, ValueError) as error:  # also names that are too long, or that are no names
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self.path}: {info.filename} cannot be unpacked ({error})") from error
        return target

    def _place(self, target: Path, offset: int, length: int, info: zipfile.ZipInfo) -> None:
        if target.is_file() and target.stat().st_size == length and zlib.crc32(target.read_bytes()) == info.CRC:
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) < length or zlib.crc32(data) != info.CRC:
            raise DataError(f"{self.path}: {info.filename} is damaged: its checksum differs")
        # Not synced one by one: a file that is spoiled when the machine crashes is found by its checksum.
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.tmp")
        partial.write_bytes(data)
        os.replace(partial, target)


def _refuse_outside(path: Path, info: zipfile.ZipInfo) -> None:
    name = PurePosixPath(info.filename)
    if name.is_absolute() or ".." in name.parts or not {"\\", "\t", "\r", "\n"}.isdisjoint(info.filename):
        raise DataError(f"{path}: the member {info.filename!r} would lie outside the folder or cannot be named")


def _begin(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return the offset of a member's bytes: its local header may be longer than the directory's entry."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        raise zipfile.BadZipFile(f"{info.filename}: its header is cut off")
    return info.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(header))
