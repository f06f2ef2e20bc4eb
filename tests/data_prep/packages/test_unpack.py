import contextlib
import os
import shutil
import subprocess
import tarfile

import pytest

from data_prep.packages.unpack import unpack
from slam_plugin.data.errors import DataError
from tests.data_prep.packages.test_fetch import GAME, contents, deb_of, entry, sdist_of


@pytest.mark.parametrize("ending", [".xz", ".gz", ".bz2", "."])
def test_unpack(tmp_path, ending):
    unpack(deb_of(tmp_path / "a_1_all.deb", *GAME, ending=ending.removesuffix(".") or "."), tmp_path / "tree")
    prose = "věta\n".encode()
    assert contents(tmp_path / "tree") == {
        "usr/share/cs/prose": prose, "usr/share/cs/again": prose, "usr/share/cz/prose": "../cs/prose"
    }  # fmt: skip
    assert (tmp_path / "tree/usr/share/cz/prose").read_bytes() == prose


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is the reference")
@pytest.mark.parametrize("compression", ["xz", "gzip", "zstd"])
def test_unpack_is_what_dpkg_does(tmp_path, compression):
    source = tmp_path / "source"
    (source / "DEBIAN").mkdir(parents=True)
    (source / "DEBIAN/control").write_text(
        "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y.z>\nDescription: x\n"
    )
    (source / "usr/one").mkdir(parents=True)
    (source / "usr/one/odd").write_bytes(b"\x00" * 4097)
    (source / "usr/two").symlink_to("one")
    deb = tmp_path / "a_1_all.deb"
    built = subprocess.run(["dpkg-deb", f"-Z{compression}", "-b", source, deb], capture_output=True)
    if built.returncode:
        pytest.skip(f"this dpkg-deb does not write {compression}")
    subprocess.run(["dpkg-deb", "-x", deb, tmp_path / "theirs"], check=True)
    unpack(deb, tmp_path / "ours")
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs") != {}


@pytest.mark.parametrize(
    "entries",
    [
        [entry("/etc/passwd", b"x")],
        [entry("./../outside", b"x")],
        [entry("./a/../../outside", b"x")],
        [entry("./link", kind=tarfile.SYMTYPE, link="/../outside")],
        [entry("./link", kind=tarfile.SYMTYPE, link="../outside")],
        # The second link leads out only once the first is there.
        [
            entry("./b", kind=tarfile.SYMTYPE, link="."),
            entry("./a", kind=tarfile.SYMTYPE, link="b/.."),
            entry("./a/outside", b"x"),
        ],
        [entry("./pipe", kind=tarfile.FIFOTYPE)],
    ],
)
def test_nothing_is_written_outside(tmp_path, entries):
    deb = deb_of(tmp_path / "in/a_1_all.deb", *entries)
    with pytest.raises(DataError, match=r"a_1_all\.deb: .* (lead out of the folder|neither a file)"):
        unpack(deb, tmp_path / "in/tree")
    assert not (tmp_path / "in/outside").exists() and not (tmp_path / "outside").exists()


def test_a_link_that_leads_out_once_another_is_there(tmp_path):
    """Newer Pythons normalize the first link, which then stays inside. With older ones the file is an error."""
    entries = [
        entry("./a", kind=tarfile.SYMTYPE, link="b/.."),
        entry("./b", kind=tarfile.SYMTYPE, link="."),
        entry("./a/outside", b"x"),
    ]
    with contextlib.suppress(DataError):
        unpack(deb_of(tmp_path / "in/a_1_all.deb", *entries), tmp_path / "in/tree")
    assert not (tmp_path / "in/outside").exists()


@pytest.mark.parametrize(
    "entries",
    [
        [entry("./again", kind=tarfile.LNKTYPE, link="./later"), entry("./later", b"1")],
        # As a link of its own, "../../real" would lead out of the folder.
        [
            entry("./real", b"1"),
            entry("./a/b/link", kind=tarfile.SYMTYPE, link="../../real"),
            entry("./again", kind=tarfile.LNKTYPE, link="./a/b/link"),
        ],
        # The same link, but it leads nowhere.
        [
            entry("./a/b/link", kind=tarfile.SYMTYPE, link="../../none"),
            entry("./again", kind=tarfile.LNKTYPE, link="./a/b/link"),
        ],
    ],
)
def test_a_hard_link_names_a_file_before_it(tmp_path, entries):
    deb = deb_of(tmp_path / "a_1_all.deb", *entries)
    with pytest.raises(DataError, match=r"a_1_all\.deb: .*\./again is a link to .*, which is no file before it"):
        unpack(deb, tmp_path / "tree")
    assert not os.path.lexists(tmp_path / "tree/again")


def test_a_file_that_replaces_a_hard_link_leaves_the_other_name_alone(tmp_path):
    entries = [entry("./real", b"1"), entry("./a", kind=tarfile.LNKTYPE, link="./real"), entry("./a", b"2")]
    unpack(deb_of(tmp_path / "a_1_all.deb", *entries), tmp_path / "tree")
    assert contents(tmp_path / "tree") == {"real": b"1", "a": b"2"}


def test_an_absolute_link_leads_to_a_place_in_the_tree(tmp_path):
    entries = [entry("./usr/share/a", b"1"), entry("./usr/b", kind=tarfile.SYMTYPE, link="/usr/share/a")]
    unpack(deb_of(tmp_path / "a_1_all.deb", *entries), tmp_path / "tree")
    assert contents(tmp_path / "tree") == {"usr/share/a": b"1", "usr/b": "share/a"}
    assert (tmp_path / "tree/usr/b").read_bytes() == b"1"


def test_a_file_replaces_a_link_instead_of_following_it(tmp_path):
    entries = [entry("./real", b"1"), entry("./a", kind=tarfile.SYMTYPE, link="real"), entry("./a", b"2")]
    unpack(deb_of(tmp_path / "a_1_all.deb", *entries), tmp_path / "tree")
    assert contents(tmp_path / "tree") == {"real": b"1", "a": b"2"}


@pytest.mark.parametrize("keep", [0, 4, 30, 100, 250])
def test_damaged_packages_are_named(tmp_path, keep):
    deb = deb_of(tmp_path / "a_1_all.deb", *GAME)
    deb.write_bytes(deb.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a_1_all\.deb"):
        unpack(deb, tmp_path / "tree")


def test_flipped_bytes_are_named(tmp_path):
    deb = deb_of(tmp_path / "a_1_all.deb", entry("./x", os.urandom(5000)))
    data = bytearray(deb.read_bytes())
    data[-2000:-1900] = bytes(100)
    deb.write_bytes(data)
    with pytest.raises(DataError, match=r"a_1_all\.deb"):
        unpack(deb, tmp_path / "tree")


def test_source_archives(tmp_path):
    sdist_of(tmp_path / "a-1.tar.gz", *GAME)
    unpack(tmp_path / "a-1.tar.gz", tmp_path / "tree")
    assert contents(tmp_path / "tree").keys() == {"usr/share/cs/prose", "usr/share/cs/again", "usr/share/cz/prose"}
    sdist_of(tmp_path / "b-1.tar.gz", entry("../outside", b"x"))
    with pytest.raises(DataError, match=r"b-1\.tar\.gz: \.\./outside would lead out of the folder"):
        unpack(tmp_path / "b-1.tar.gz", tmp_path / "tree")
    whole = (tmp_path / "a-1.tar.gz").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:40] + bytes(60) + whole[100:], b"none"):
        (tmp_path / "a-1.tar.gz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"a-1\.tar\.gz: is damaged"):
            unpack(tmp_path / "a-1.tar.gz", tmp_path / "tree")
