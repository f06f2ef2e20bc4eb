"""Unpack Debian packages and Python packages' sources: no root, nothing installed, nothing outside the folder."""

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
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
            archive.errorlevel = 2  # whatever cannot be unpacked is an error
            for member in tqdm(archive, desc=f"unpacking {package.name}", unit="file", disable=None, leave=False):
                archive.extract(member, root, set_attrs=False, filter=_inside)
    except tarfile.SpecialFileError as error:
        raise DataError(f"{package}: {error.tarinfo.name} is neither a file nor a folder nor a link") from error
    except tarfile.FilterError as error:
        raise DataError(f"{package}: {error.tarinfo.name} would lead out of the folder") from error
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


def _inside(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """Return a member as ``tarfile.data_filter`` lets it pass, and clear its place.

    The filter would take an absolute name as relative and refuse each absolute link. A hard link must name an earlier
    file itself: a copy of a symbolic link, at another depth, could lead out.
    """
    place = Path(folder, member.name)
    if os.path.isabs(member.name):
        raise tarfile.AbsolutePathError(member)
    if member.issym() and os.path.isabs(member.linkname):
        link = os.path.relpath(f"{folder}{member.linkname}", place.parent)
        member = member.replace(linkname=link, deep=False)
    allowed = tarfile.data_filter(member, folder)
    if member.islnk():
        source = Path(folder, member.linkname)
        if source.is_symlink() or not source.is_file():
            raise tarfile.ReadError(f"{member.name} is a link to {member.linkname}, which is no file before it")
    if not member.isdir():
        place.unlink(missing_ok=True)  # a file replaces a link instead of following it
    return allowed
