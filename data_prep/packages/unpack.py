"""Unpack Debian packages and Python packages' sources: no root, nothing installed, nothing outside the folder."""

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from data_prep.formats.compressed import damage_named
from slam_plugin.data.errors import DataError

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_BYTES = 60


def unpack(package: str | Path, folder: str | Path) -> None:
    """Unpack the files of a ``.deb`` or of a tar archive below ``folder``.

    dpkg is needed only for a ``.deb`` that is compressed by zstd. Files, folders and links within ``folder`` are
    created. Anything else, and any path that leads out of it, is an error. An absolute link is taken as relative to
    ``folder``, as with dpkg --root.
    """
    package, folder = Path(package), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    try:
        with damage_named(package, "is damaged"), _tar_of(package) as file, tarfile.open(fileobj=file) as archive:
            for member in tqdm(archive, desc=f"unpacking {package.name}", unit="file", disable=None, leave=False):
                _unpack_member(archive, member, root, package)
    except tarfile.TarError as error:
        raise DataError(f"{package}: is damaged ({error})") from error


def _tar_of(package: Path) -> IO[bytes]:
    return _data_archive(package) if package.suffix == ".deb" else package.open("rb")


def _data_archive(deb: Path) -> io.BytesIO:
    """Return the tar archive in a ``.deb``, which is an ``ar`` archive with a member ``data.tar.COMPRESSOR``."""
    with deb.open("rb") as file:
        if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
            raise DataError(f"{deb}: is no Debian package")
        while header := file.read(_AR_HEADER_BYTES):
            name, size = header[:16].decode("ascii", "replace").rstrip(" /"), header[48:58].strip()
            if len(header) < _AR_HEADER_BYTES or not size.isdigit():
                raise DataError(f"{deb}: is damaged")
            if name == "data.tar.zst":
                return _by_dpkg(deb)
            if name.startswith("data.tar"):
                data = file.read(int(size))
                if len(data) < int(size):
                    raise DataError(f"{deb}: is cut short")
                return io.BytesIO(data)
            # Members begin at even offsets.
            file.seek(int(size) + int(size) % 2, os.SEEK_CUR)
    raise DataError(f"{deb}: holds no data.tar")


def _by_dpkg(deb: Path) -> io.BytesIO:
    if shutil.which("dpkg-deb") is None:
        raise DataError(f"{deb}: is compressed by zstd, which needs dpkg-deb to unpack; .deb files from Debian are not")
    done = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], capture_output=True)
    if done.returncode:
        raise DataError(f"{deb}: {done.stderr.decode(errors='replace').strip()}")
    return io.BytesIO(done.stdout)


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, package: Path) -> None:
    """Create one file, folder or link. Follow no link that leads out of ``root``."""
    path = PurePosixPath(member.name)
    target = root / path
    inside = not path.is_absolute() and ".." not in path.parts and target.parent.resolve().is_relative_to(root)
    if target == root and member.isdir():
        return
    link = member.linkname
    if member.issym():
        if link.startswith("/"):
            link = os.path.relpath(root / link.lstrip("/"), target.parent)
        inside = inside and (target.parent / link).resolve().is_relative_to(root)
    if not inside:
        raise DataError(f"{package}: {member.name} would lead out of the folder")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    if not (member.isfile() or member.islnk() or member.issym()):
        raise DataError(f"{package}: {member.name} is neither a file nor a folder nor a link")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if member.issym():
        target.symlink_to(link)
    else:
        with target.open("xb") as file:
            shutil.copyfileobj(archive.extractfile(member), file)
