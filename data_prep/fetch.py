"""Download Debian packages and unpack them into a folder: no root, nothing installed, the system untouched.

    python -m data_prep.fetch --out TREE [--packages NAME...] [--debs FOLDER]

Without ``--debs`` apt downloads the packages; its own package lists are used where they know them, else lists that are
fetched into a private folder. ``--debs`` names a folder with the packages' ``.deb`` files, for machines without apt or
network.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write

DEMO_PACKAGES = ("fillets-ng-data", "fillets-ng-data-cs", "fortunes-cs")
RECORD = "packages.json"

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_BYTES = 60


def fetch(packages: Sequence[str], out: str | Path, debs: str | Path | None = None) -> Path:
    """Unpack ``packages`` below ``out`` and return it; at once where ``out`` holds them all already.

    The tree appears whole or not at all; ``out/packages.json`` says which files it came from. Downloads are kept in
    ``OUT.debs`` beside it, so that a stopped run does not load them again. Raises :class:`DataError` where a package
    cannot be had, saying how to bring it, or is damaged, or would write outside ``out``.
    """
    out = Path(out).absolute()
    record = _record(out)
    if set(packages) <= record.keys():
        return out
    if out.is_dir() and any(out.iterdir()) and not record:
        raise DataError(f"{out}: holds files but no {RECORD}: no tree of unpacked packages; choose another folder")
    wanted = sorted({*packages, *record})
    found = _given(wanted, Path(debs)) if debs is not None else _download(wanted, out.with_name(f"{out.name}.debs"))
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for deb in found.values():
        unpack(deb, partial)
    with atomic_write(partial / RECORD) as file:
        json.dump({name: deb.name for name, deb in found.items()}, file, indent=1)
    shutil.rmtree(out, ignore_errors=True)
    os.rename(partial, out)
    return out


def unpack(deb: str | Path, folder: str | Path) -> None:
    """Unpack the files of a ``.deb`` below ``folder``, without dpkg unless they are compressed by zstd.

    Files, folders and links within ``folder`` are made; anything else, and any path that leads out of it, is an error.
    """
    deb, folder = Path(deb), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    try:
        with tarfile.open(fileobj=_data_archive(deb)) as archive:
            for member in tqdm(archive, desc=f"unpacking {deb.name}", unit="file", disable=None, leave=False):
                _unpack_member(archive, member, root, deb)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{deb}: is damaged ({error})") from error


def _record(out: Path) -> dict[str, str]:
    """Package names and file names that a tree was made of; empty where there is no finished tree."""
    try:
        return json.loads((out / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _given(packages: Sequence[str], folder: Path) -> dict[str, Path]:
    """The one ``NAME_*.deb`` of each package in ``folder``."""
    found = {name: sorted(folder.glob(f"{name}_*.deb")) for name in packages}
    absent = [name for name, files in found.items() if not files]
    if absent:
        raise DataError(
            f"{folder}: expected {', '.join(f'{name}_*.deb' for name in absent)}, found none. {_advice(absent)}"
        )
    for name, files in found.items():
        if len(files) > 1:
            raise DataError(f"{folder}: expected one {name}_*.deb, found {', '.join(file.name for file in files)}")
    return {name: files[0] for name, files in found.items()}


def _download(packages: Sequence[str], folder: Path) -> dict[str, Path]:
    """Let apt bring the packages into ``folder``, those that are not there yet."""
    loading, lists = folder / "partial", folder / "apt"
    shutil.rmtree(lists, ignore_errors=True)
    absent = [name for name in packages if not list(folder.glob(f"{name}_*.deb"))]
    if absent and shutil.which("apt-get") is None:
        raise DataError(f"apt-get is not on this machine. {_advice(absent)}")
    for name in absent:
        shutil.rmtree(loading, ignore_errors=True)
        loading.mkdir(parents=True)
        _apt_download(name, loading, lists)
        # apt has checked the file against its signed lists, so what lies in ``folder`` itself is whole.
        for deb in loading.glob("*.deb"):
            deb.replace(folder / deb.name)
    for scratch in (loading, lists):
        shutil.rmtree(scratch, ignore_errors=True)
    return _given(packages, folder)


def _apt_download(package: str, folder: Path, private: Path) -> None:
    """Run ``apt-get download`` in ``folder``: by the system's lists or, if that fails, by those in ``private``.

    Lists are fetched into ``private`` where it does not exist.
    """
    # apt shows its progress on standard output; its complaints count only when the second try fails as well.
    if subprocess.run(["apt-get", "download", package], cwd=folder, stderr=subprocess.DEVNULL).returncode == 0:
        return
    steps = [["download", package]]
    if not private.exists():
        print(f"apt's package lists do not lead to {package}: fetching lists of our own", flush=True)
        (private / "lists/partial").mkdir(parents=True)
        (private / "cache/archives/partial").mkdir(parents=True)
        steps.insert(0, ["update"])
    options = ["-o", f"Dir::State::Lists={private / 'lists'}", "-o", f"Dir::Cache={private / 'cache'}"]
    if os.geteuid() == 0:
        # As root apt would change to a user of its own, who may not write here.
        options += ["-o", "APT::Sandbox::User=root"]
    for step in steps:
        done = subprocess.run(["apt-get", *options, *step], cwd=folder, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise DataError(f"apt-get {' '.join(step)} failed: {done.stderr.strip()}\n{_advice([package])}")


def _advice(packages: Sequence[str]) -> str:
    return (
        f"Obtain these packages of Debian or Ubuntu as .deb files, {', '.join(packages)}, put them into one folder and "
        "pass it: DEBS=folder make demo (or --debs folder)"
    )


def _data_archive(deb: Path) -> io.BufferedIOBase:
    """The tar archive within a ``.deb``: an ``ar`` archive with a member ``data.tar`` and a compressor's ending."""
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
            # Members begin at even places.
            file.seek(int(size) + int(size) % 2, os.SEEK_CUR)
    raise DataError(f"{deb}: holds no data.tar")


def _by_dpkg(deb: Path) -> io.BytesIO:
    if shutil.which("dpkg-deb") is None:
        raise DataError(f"{deb}: is compressed by zstd, which takes dpkg-deb to unpack; a .deb from Debian is not")
    done = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], capture_output=True)
    if done.returncode:
        raise DataError(f"{deb}: {done.stderr.decode(errors='replace').strip()}")
    return io.BytesIO(done.stdout)


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, deb: Path) -> None:
    """Make one file, folder or link, following no link that leads out of ``root``."""
    path = PurePosixPath(member.name)
    target = root / path
    inside = not path.is_absolute() and ".." not in path.parts and target.parent.resolve().is_relative_to(root)
    if target == root and member.isdir():
        return
    if member.issym():
        inside = inside and (target.parent / member.linkname).resolve().is_relative_to(root)
    if not inside:
        raise DataError(f"{deb}: {member.name} would lead out of the folder")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    if not (member.isfile() or member.islnk() or member.issym()):
        raise DataError(f"{deb}: {member.name} is neither a file nor a folder nor a link")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if member.issym():
        target.symlink_to(member.linkname)
    else:
        with target.open("xb") as file:
            shutil.copyfileobj(archive.extractfile(member), file)


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch the packages of the command line; return 1, with one message, where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.fetch", description=__doc__.splitlines()[0])
    names = " ".join(DEMO_PACKAGES)
    parser.add_argument("--packages", nargs="+", default=DEMO_PACKAGES, metavar="NAME", help=f"(default: {names})")
    parser.add_argument("--out", type=Path, required=True, metavar="TREE", help="the folder to unpack into")
    parser.add_argument("--debs", type=Path, metavar="FOLDER", help="take the .deb files from here instead of from apt")
    arguments = parser.parse_args(argv)
    try:
        tree = fetch(arguments.packages, arguments.out, arguments.debs)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{', '.join(arguments.packages)} unpacked in {tree}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
