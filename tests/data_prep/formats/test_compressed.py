"""Damage of compressed files is one error that names the file, wherever the damage is."""

import bz2
import gzip
import lzma
import os

import pytest

from data_prep.formats.compressed import damage_named
from slam_plugin.data.errors import DataError

CONTENT = os.urandom(1_500_000)  # of several blocks of bzip2


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_each_place_of_damage_is_named(tmp_path, module):
    path = tmp_path / "file"
    whole = module.compress(CONTENT, mtime=0) if module is gzip else module.compress(CONTENT)
    damaged = [whole[: len(whole) * share // 10] for share in (2, 5, 9)]
    damaged += [whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :] for place in (0, 1_000_000, -8, -3)]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"file: is damaged \("), damage_named(path, "is damaged"):
            with module.open(path) as file:
                file.read()
    path.write_bytes(whole)
    with damage_named(path, "is damaged"), module.open(path) as file:
        assert file.read() == CONTENT


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), damage_named(tmp_path, "is damaged"):
        open(tmp_path / "absent")
    with pytest.raises(DataError, match="^another"), damage_named(tmp_path, "is damaged"):
        raise DataError("another")
