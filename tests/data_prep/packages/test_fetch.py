import hashlib
import io
import json
import os
import shutil
import tarfile

import pytest

from data_prep.packages import fetch as module
from data_prep.packages.fetch import ALTERNATIVES, PYTHON_SOURCES, SETS, fetch, read_record
from slam_plugin.data.errors import DataError


def entry(name, data=b"", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info, data


def deb_of(path, *entries, ending=".xz"):
    """Write a Debian package: an ar archive of three members, each padded to an even length."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{ending[1:]}") as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", f"data.tar{ending}": data.getvalue()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in members.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
    return path


GAME = (
    entry("./", kind=tarfile.DIRTYPE),
    entry("./usr/", kind=tarfile.DIRTYPE),
    entry("./usr/share/cs/prose", "věta\n".encode()),
    entry("./usr/share/cz/prose", kind=tarfile.SYMTYPE, link="../cs/prose"),
    entry("./usr/share/cs/again", kind=tarfile.LNKTYPE, link="./usr/share/cs/prose"),
)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if not path.is_dir()
    }


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_fetch_from_a_folder(tmp_path):
    debs = tmp_path / "debs"
    deb_of(debs / "game_1_all.deb", entry("./usr/game", b"1"))
    deb_of(debs / "game-cs_2_all.deb", entry("./usr/sound", b"2"))
    tree = fetch(["game", "game-cs"], tmp_path / "tree", debs)
    assert contents(tree).keys() == {"usr/game", "usr/sound", "packages.json"}
    assert read_record(tree) == {
        "game": {"file": "game_1_all.deb", "version": "1", "sha256": sha256_of(debs / "game_1_all.deb")},
        "game-cs": {"file": "game-cs_2_all.deb", "version": "2", "sha256": sha256_of(debs / "game-cs_2_all.deb")},
    }
    shutil.rmtree(debs)
    assert fetch(["game"], tmp_path / "tree") == tree


def test_more_packages_join_a_tree(tmp_path):
    debs = tmp_path / "debs"
    deb_of(debs / "one_1_all.deb", entry("./one", b"1"))
    deb_of(debs / "two_1_all.deb", entry("./two", b"2"))
    fetch(["one"], tmp_path / "tree", debs)
    assert contents(fetch(["two"], tmp_path / "tree", debs)).keys() == {"one", "two", "packages.json"}


def test_failed_fetch_leaves_nothing_and_can_be_repeated(tmp_path):
    debs = tmp_path / "debs"
    deb_of(debs / "one_1_all.deb", entry("./one", b"1"))
    deb = deb_of(debs / "two_1_all.deb", entry("./two", b"2"))
    whole = deb.read_bytes()
    deb.write_bytes(whole[:150])
    with pytest.raises(DataError, match="two_1_all"):
        fetch(["one", "two"], tmp_path / "tree", debs)
    assert not (tmp_path / "tree").exists()
    deb.write_bytes(whole)
    assert contents(fetch(["one", "two"], tmp_path / "tree", debs)).keys() == {"one", "two", "packages.json"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["debs", "tree"]


def test_missing_and_ambiguous_packages_are_named(tmp_path, capsys):
    debs = tmp_path / "debs"
    deb_of(debs / "game-cs_2_all.deb", *GAME)
    arguments = ["--packages", "game", "game-cs", "--out", str(tmp_path / "tree"), "--debs", str(debs)]
    assert module.main(arguments) == 1
    message = capsys.readouterr().err
    assert "expected game_*.deb, found none" in message and "make demo DEBS=folder" in message
    deb_of(debs / "game_1_all.deb", *GAME)
    deb_of(debs / "game_2_all.deb", *GAME)
    with pytest.raises(DataError, match=r"expected one game_\*\.deb, found game_1_all\.deb, game_2_all\.deb"):
        fetch(["game"], tmp_path / "tree", debs)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(DataError, match=r"holds files but no packages\.json"):
        fetch(["game"], tmp_path, tmp_path)
    assert (tmp_path / "precious").read_text() == "x"


# The packages are in the lists of the system, in private lists that were updated before, or in none.
FAKE_APT = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *" update") test {knows} = never && {{ echo "E: no network" >&2; exit 100; }}; touch {log}.updated; exit 0;;
  *Dir::State::Lists=*" download game"*) test -e {log}.updated || exit 100;;
  "download game"*) test {knows} = system || {{ echo "E: Unable to locate package game" >&2; exit 100; }};;
esac
for name in "$@"; do :; done
cp {archive}/"$name"_1_all.deb .
"""


@pytest.fixture
def fake_apt(tmp_path, monkeypatch):
    """Put only an ``apt-get`` on the path (with what it calls). Return a function that lists its calls."""
    deb_of(tmp_path / "archive/game_1_all.deb", *GAME)
    deb_of(tmp_path / "archive/game-cs_1_all.deb", entry("./sound", b"1"))
    log = tmp_path / "log"

    def install(knows):
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "apt-get").write_text(FAKE_APT.format(log=log, archive=tmp_path / "archive", knows=knows))
        (programs / "apt-get").chmod(0o755)
        for name in ("cp", "touch"):
            (programs / name).symlink_to(shutil.which(name))
        monkeypatch.setenv("PATH", str(programs))
        return lambda: log.read_text().splitlines()

    return install


def test_apt_with_the_lists_of_the_system(tmp_path, fake_apt):
    calls = fake_apt("system")
    tree = fetch(["game"], tmp_path / "tree")
    assert (tree / "usr/share/cs/prose").is_file() and calls() == ["download game"]
    # The download is kept: another tree does not ask apt again.
    shutil.rmtree(tree)
    fetch(["game"], tmp_path / "tree")
    assert len(calls()) == 1


def test_apt_with_lists_of_our_own(tmp_path, fake_apt):
    calls = fake_apt("private")
    fetch(["game", "game-cs"], tmp_path / "tree")
    first, update, download, second, another = calls()
    assert first == "download game" and update.endswith(" update") and download.endswith(" download game")
    # The lists are fetched once.
    assert second == "download game-cs" and another.endswith(" download game-cs")
    for call in (update, download, another):
        lists = call.split("Dir::State::Lists=")[1].split()[0]
        assert lists.startswith(str(tmp_path)) and f"Dir::Cache={tmp_path}" in call
    assert sorted(path.name for path in (tmp_path / "tree.debs").iterdir()) == ["game-cs_1_all.deb", "game_1_all.deb"]


def test_a_package_with_a_version_in_its_name(tmp_path, fake_apt, monkeypatch):
    """The first of the alternatives that is found is used, from a folder and from apt."""
    monkeypatch.setitem(ALTERNATIVES, "game-data", ("game-1.2-data", "game-1.4-data", "game-1.0-data"))
    debs = tmp_path / "debs"
    for number in ("0", "4"):
        deb_of(debs / f"game-1.{number}-data_1%3a1.{number}_all.deb", entry("./usr/version", number.encode()))
    tree = fetch(["game-data"], tmp_path / "given", debs)
    assert (tree / "usr/version").read_bytes() == b"4" and read_record(tree)["game-data"]["version"] == "1:1.4"
    assert fetch(["game-data"], tmp_path / "given") == tree
    with pytest.raises(DataError, match=r"expected game-1\.2-data_\*\.deb or game-1\.4-data_\*\.deb or .*found none"):
        fetch(["game-data"], tmp_path / "none", tmp_path / "archive")
    monkeypatch.setitem(ALTERNATIVES, "game-data", ("gone-1.2-data", "game-cs"))
    calls = fake_apt("system")
    assert (fetch(["game-data"], tmp_path / "tree") / "sound").is_file()
    assert calls() == ["download gone-1.2-data", "download game-cs"]


def test_apt_that_knows_nothing(tmp_path, fake_apt):
    fake_apt("never")
    with pytest.raises(DataError, match=r"(?s)apt-get update failed: E: no network.*game.*make demo DEBS=folder"):
        fetch(["game"], tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_machine_without_apt(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module.main(["--out", str(tmp_path / "tree")]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    for expected in (
        "apt-get is not on this machine",
        "beneath-a-steel-sky,",
        "sword-text-sparv",
        "wesnoth-1.16-data",
        "make demo DEBS=folder",
    ):
        assert expected in message


def sdist_of(path, *entries):
    """Write a source archive and return its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """The source archive of a Python package, ``words`` 1.0, in a folder of its own."""
    path = tmp_path / "published/words-1.0.tar.gz"
    digest = sdist_of(path, entry("words-1.0/list.txt", b"yes\nno\n"), entry("words-1.0/setup.py", b"raise SystemExit"))
    monkeypatch.setitem(PYTHON_SOURCES, "words", module.Sources("1.0", path.name, digest))
    return path


def test_python_sources_from_a_folder(tmp_path, sources):
    deb_of(sources.parent / "game_1_all.deb", entry("./usr/game", b"1"))
    tree = fetch(["game", "words"], tmp_path / "tree", sources.parent)
    assert contents(tree).keys() == {"usr/game", "words-1.0/list.txt", "words-1.0/setup.py", "packages.json"}
    record = read_record(tree)["words"]
    assert record == {"file": "words-1.0.tar.gz", "version": "1.0", "sha256": PYTHON_SOURCES["words"].sha256}


def test_other_sources_than_those_published_are_refused(tmp_path, sources, capsys):
    published = PYTHON_SOURCES["words"].sha256
    sdist_of(sources, entry("words-1.0/list.txt", b"evil\n"))
    arguments = ["--packages", "words", "--out", str(tmp_path / "tree"), "--debs", str(sources.parent)]
    assert module.main(arguments) == 1
    assert f"expected {published}" in capsys.readouterr().err and not (tmp_path / "tree").exists()
    sources.unlink()
    assert module.main(arguments) == 1
    message = capsys.readouterr().err
    assert "expected words-1.0.tar.gz, found none. Obtain words-1.0.tar.gz from PyPI, put" in message


def test_pip_brings_one_version_by_its_hash(tmp_path, sources, monkeypatch):
    """Real pip, with a folder as its index: it takes only the file with the known hash."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(sources.parent))
    setup = b"from setuptools import setup\nsetup(name='words', version='1.0', py_modules=[])\n"
    digest = sdist_of(sources, entry("words-1.0/setup.py", setup), entry("words-1.0/PKG-INFO", b""))
    with pytest.raises(DataError, match=r"(?s)pip download words failed: .*HASH.*Obtain words-1\.0\.tar\.gz from PyPI"):
        fetch(["words"], tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    monkeypatch.setitem(PYTHON_SOURCES, "words", module.Sources("1.0", sources.name, digest))
    tree = fetch(["words"], tmp_path / "tree")
    assert (tree / "words-1.0/setup.py").read_bytes() == setup
    assert [path.name for path in (tmp_path / "tree.debs").iterdir()] == ["words-1.0.tar.gz"]


def test_sets(tmp_path, sources, monkeypatch, capsys):
    monkeypatch.setitem(SETS, "downstream", ("game", "words"))
    deb_of(sources.parent / "game_1_all.deb", entry("./usr/game", b"1"))
    arguments = ["--out", str(tmp_path / "tree"), "--debs", str(sources.parent)]
    assert module.main([*arguments, "--set", "downstream"]) == 0
    assert "game, words unpacked in" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        module.main([*arguments, "--set", "downstream", "--packages", "game"])


@pytest.mark.parametrize(
    "text", ["{", "[" * 5000, "[1]", '{"game": 1}', '{"game": {"file": 1}}', "\xff", '{"game": null}']
)
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/packages.json").write_text(text, encoding="latin-1")
    for read in (read_record, lambda tree: fetch(["game"], tree, tmp_path)):
        with pytest.raises(DataError, match=r"packages\.json: (is not JSON|expected file, version, sha256 of each)"):
            read(tmp_path / "tree")


@pytest.mark.parametrize("name", ["ga/me", "../game", "game*", "[" * 50_000, "g" * 101, ""])
def test_a_record_of_a_strange_name_is_named(tmp_path, name):
    """A name becomes a pattern of files."""
    (tmp_path / "tree").mkdir()
    record = {name: {"file": "game_1_all.deb", "version": "1", "sha256": "0"}}
    (tmp_path / "tree/packages.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"packages\.json: found '.*', expected the name of a package") as error:
        fetch(["game"], tmp_path / "tree", tmp_path)
    assert len(str(error.value)) < 300 + len(str(tmp_path))


def test_a_package_that_only_the_record_names_is_explained(tmp_path):
    (tmp_path / "tree").mkdir()
    record = {"gone": {"file": "gone_1_all.deb", "version": "1", "sha256": "0"}}
    (tmp_path / "tree/packages.json").write_text(json.dumps(record))
    deb_of(tmp_path / "game_1_all.deb", entry("./usr/game", b"1"))
    with pytest.raises(DataError, match=r"expected gone_.*found none.*packages\.json has gone too, which"):
        fetch(["game"], tmp_path / "tree", tmp_path)
