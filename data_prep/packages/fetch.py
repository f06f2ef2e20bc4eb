"""Download packages and unpack them into a folder: no root, nothing installed, the system untouched.

    slam fetch --out TREE [--set english|english-tasks|downstream | --packages NAME...] [--debs FOLDER]

Most are Debian's. Without ``--debs`` apt downloads them. If the system's package lists do not know a package, lists are
fetched into a private folder. The sources of a Python package come from PyPI by pip, one version with its hash.
``--debs`` is a folder with the packages' files, ``.deb`` and ``.tar.gz``, for machines without apt or network.

``TREE/packages.json`` has the file, the version and the sha256 of each package. A package with a program's version in
its name, such as ``wesnoth-1.16-data``, has a name without it here (``wesnoth-data``): the first of
:data:`ALTERNATIVES` that is found is used.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from data_prep.packages.unpack import unpack
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.program import Program


class Sources(NamedTuple):
    """The source archive of one version of a Python package."""

    version: str
    file: str
    sha256: str


CZECH_PACKAGES = ("fillets-ng-data", "fillets-ng-data-cs", "fortunes-cs")
PYTHON_SOURCES = {
    "vaderSentiment": Sources(
        "3.3.2",
        "vaderSentiment-3.3.2.tar.gz",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    )
}
ALTERNATIVES = {"wesnoth-data": ("wesnoth-1.16-data", "wesnoth-1.18-data", "wesnoth-1.14-data")}
ENGLISH_PACKAGES = (
    "beneath-a-steel-sky", "drascula", "flight-of-the-amazon-queen", "wesnoth-data", "wordnet-base", "sword-text-web",
    "sword-text-sparv",
)  # fmt: skip
TASK_PACKAGES = ("sword-text-web", "sword-text-kjv", "wordnet-base", *PYTHON_SOURCES)
SETS = {
    "english": ENGLISH_PACKAGES,
    "english-tasks": TASK_PACKAGES,
    "downstream": (*CZECH_PACKAGES, *TASK_PACKAGES),
}
RECORD = "packages.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,99}")  # of a package of Debian or Python


def fetch(packages: Sequence[str], out: str | Path, debs: str | Path | None = None) -> Path:
    """Unpack ``packages`` below ``out`` and return it. Do nothing if ``out`` holds them all already.

    The tree appears whole or not at all. :func:`read_record` returns the files that it came from. Downloads are kept in
    ``OUT.debs`` beside it, so that a stopped run does not load them again. Raises :class:`DataError` if a package
    cannot be obtained (the message says how to bring it), is damaged, or would write outside ``out``.
    """
    out = Path(out).absolute()
    record = _record(out)
    if set(packages) <= record.keys():
        return out
    if out.is_dir() and any(out.iterdir()) and not record:
        raise DataError(f"{out}: holds files but no {RECORD}: no tree of unpacked packages; choose another folder")
    wanted = sorted({*packages, *record})
    try:
        found = _given(wanted, Path(debs)) if debs is not None else _download(wanted, out.with_name(f"{out.name}.debs"))
    except DataError as error:
        kept = sorted(record.keys() - set(packages))
        if not kept:
            raise
        raise DataError(f"{error} ({out / RECORD} has {', '.join(kept)} too, which the tree keeps)") from error
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for package in found.values():
        unpack(package, partial)
    with atomic_write(partial / RECORD) as file:
        json.dump({name: _described(package) for name, package in found.items()}, file, indent=1)
    shutil.rmtree(out, ignore_errors=True)
    os.rename(partial, out)
    return out


def read_record(tree: Path) -> dict[str, dict[str, str]]:
    """Return file, version and sha256 of each package in ``tree``. Raises :class:`DataError` if it has none."""
    record = _record(tree)
    if not record:
        raise DataError(f"{tree}: holds no {RECORD}, expected a tree that slam fetch unpacked")
    return record


def _described(package: Path) -> dict[str, str]:
    """Return the record of a package's file. Debian's are named NAME_VERSION_ARCHITECTURE, Python's NAME-VERSION."""
    parts = package.stem.split("_")
    version = parts[1] if package.suffix == ".deb" else package.name.removesuffix(".tar.gz").rpartition("-")[2]
    return {"file": package.name, "version": unquote(version), "sha256": _sha256(package)}


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _record(out: Path) -> dict[str, dict[str, str]]:
    """Return the record of a tree, empty if there is no finished tree."""
    try:
        found = json.loads((out / RECORD).read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise DataError(f"{out / RECORD}: is not JSON in UTF-8 ({error}); remove its folder to unpack again") from error
    names = ("file", "version", "sha256")
    rows = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(row, dict) and all(isinstance(row.get(name), str) for name in names) for row in rows):
        raise DataError(f"{out / RECORD}: expected {', '.join(names)} of each package; remove its folder")
    wrong = next((name for name in found if not _NAME.fullmatch(name)), None)
    if wrong is not None:
        raise DataError(f"{out / RECORD}: found {wrong[:80]!r}, expected the name of a package; remove its folder")
    return found


def _given(packages: Sequence[str], folder: Path) -> dict[str, Path]:
    """Return the file of each package in ``folder``: ``NAME_*.deb``, or the sources of a Python package."""
    found = {name: _files(folder, name) for name in packages}
    absent = [name for name, files in found.items() if not files]
    if absent:
        raise DataError(f"{folder}: expected {', '.join(map(_pattern, absent))}, found none. {_advice(absent)}")
    for name, files in found.items():
        if len(files) > 1:
            raise DataError(f"{folder}: expected one {_pattern(name)}, found {', '.join(file.name for file in files)}")
        if name in PYTHON_SOURCES:
            _check_hash(files[0], PYTHON_SOURCES[name].sha256)
    return {name: files[0] for name, files in found.items()}


def _files(folder: Path, package: str) -> list[Path]:
    """Return the files of a package in ``folder``. Of alternatives, those of the first that is found."""
    for name in ALTERNATIVES.get(package, (package,)):
        files = sorted(folder.glob(_pattern(name)))
        if files:
            return files
    return []


def _pattern(package: str) -> str:
    if package in PYTHON_SOURCES:
        return PYTHON_SOURCES[package].file
    return " or ".join(f"{name}_*.deb" for name in ALTERNATIVES.get(package, (package,)))


def _check_hash(file: Path, expected: str) -> None:
    found = _sha256(file)
    if found != expected:
        raise DataError(f"{file}: is not the published file: its sha256 is {found}, expected {expected}")


def _download(packages: Sequence[str], folder: Path) -> dict[str, Path]:
    """Download the packages that are not in ``folder`` yet into it, with apt and pip. Return the file of each."""
    loading, lists = folder / "partial", folder / "apt"
    shutil.rmtree(lists, ignore_errors=True)
    absent = [name for name in packages if not _files(folder, name)]
    if not set(absent) <= PYTHON_SOURCES.keys() and shutil.which("apt-get") is None:
        raise DataError(f"apt-get is not on this machine. {_advice(absent)}")
    for name in absent:
        shutil.rmtree(loading, ignore_errors=True)
        loading.mkdir(parents=True)
        if name in PYTHON_SOURCES:
            _pip_download(name, loading)
        else:
            _apt_download(ALTERNATIVES.get(name, (name,)), loading, lists)
        # apt has checked the file against its signed lists, pip by its hash: files in ``folder`` itself are whole.
        for file in _files(loading, name):
            file.replace(folder / file.name)
    for scratch in (loading, lists):
        shutil.rmtree(scratch, ignore_errors=True)
    return _given(packages, folder)


def _apt_download(names: Sequence[str], folder: Path, private: Path) -> None:
    """Run ``apt-get download`` in ``folder`` for the first of ``names`` that apt knows.

    It uses the system's lists or, if that fails, those in ``private``, which are fetched if it does not exist.
    """
    # apt shows its progress on standard output. Its errors matter only if the second try fails as well.
    for name in names:
        done = subprocess.run(["apt-get", "download", name], cwd=folder, stderr=subprocess.DEVNULL)
        if done.returncode == 0:
            return
    options = ["-o", f"Dir::State::Lists={private / 'lists'}", "-o", f"Dir::Cache={private / 'cache'}"]
    if os.geteuid() == 0:
        # As root, apt would change to its own user, which may not write here.
        options += ["-o", "APT::Sandbox::User=root"]
    if not private.exists():
        print(f"apt's package lists do not have {' or '.join(names)}: fetching private lists", flush=True)
        (private / "lists/partial").mkdir(parents=True)
        (private / "cache/archives/partial").mkdir(parents=True)
        failure = _apt_failure(options, ["update"], folder)
        if failure:
            raise DataError(f"{failure}\n{_advice(names)}")
    failures = []
    for name in names:
        failure = _apt_failure(options, ["download", name], folder)
        if not failure:
            return
        failures.append(failure)
    raise DataError("\n".join([*failures, _advice(names)]))


def _apt_failure(options: Sequence[str], step: Sequence[str], folder: Path) -> str | None:
    """Run a step of apt-get in ``folder``. Return its error message if it fails, else None."""
    done = subprocess.run(["apt-get", *options, *step], cwd=folder, stderr=subprocess.PIPE, text=True)
    return f"apt-get {' '.join(step)} failed: {done.stderr.strip()}" if done.returncode else None


def _pip_download(package: str, folder: Path) -> None:
    """Run ``pip download`` in ``folder`` for one version with its hash."""
    sources = PYTHON_SOURCES[package]
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{package}=={sources.version} --hash=sha256:{sources.sha256}\n", encoding="utf-8")
    # The package needs others to be built and to run, but only its sources are wanted.
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--require-hashes", "--requirement", wanted.name]
    done = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise DataError(f"pip download {package} failed: {done.stderr.strip()}\n{_advice([package])}")


def _advice(packages: Sequence[str]) -> str:
    debian = [name for name in packages if name not in PYTHON_SOURCES]
    python = [PYTHON_SOURCES[name].file for name in packages if name in PYTHON_SOURCES]
    debian = [" or ".join(ALTERNATIVES.get(name, (name,))) for name in debian]
    wanted = [f"these packages of Debian or Ubuntu as .deb files, {', '.join(debian)}"] if debian else []
    wanted += [f"{', '.join(python)} from PyPI"] if python else []
    how = "put them into one folder and pass it: --debs folder (make demo DEBS=folder)"
    return f"Obtain {', and '.join(wanted)}, {how}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    chosen = parser.add_mutually_exclusive_group()
    sets = "; ".join(f"{name}: {' '.join(packages)}" for name, packages in SETS.items())
    chosen.add_argument("--set", choices=SETS, default="english", help=f"(default: english) {sets}")
    chosen.add_argument("--packages", nargs="+", metavar="NAME", help="these packages instead of a set")
    parser.add_argument("--out", type=Path, required=True, metavar="TREE", help="the folder to unpack into")
    parser.add_argument("--debs", type=Path, metavar="FOLDER", help="take the files from here instead of the network")


def run(options: argparse.Namespace) -> None:
    """Fetch the packages and print the folder they are in."""
    packages = options.packages or SETS[options.set]
    tree = fetch(packages, options.out, options.debs)
    print(f"{', '.join(packages)} unpacked in {tree}")


main = Program("slam fetch", __doc__, add_arguments, run)
