import numpy as np
import pytest

from data_prep.packages.rnc import decompress
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.rnc import pack


def contents():
    rng = np.random.default_rng(0)
    yield b""
    yield b"a"
    yield b"abc" * 100
    yield b"x" * 1000
    yield rng.integers(0, 256, 3000, dtype=np.uint8).tobytes()
    yield (128 + 3 * rng.standard_normal(5000)).astype(np.uint8).tobytes()


@pytest.mark.parametrize("content", contents(), ids=len)
def test_what_was_packed_comes_back(content):
    assert decompress(pack(content), "x") == content


def test_another_file(tmp_path):
    with pytest.raises(DataError, match=r"a: found b'RIFF', expected data packed by method 1"):
        decompress(b"RIFF" + bytes(100), "a")


def test_cut_short():
    packed = pack(b"some text, some more text")
    with pytest.raises(DataError, match=r"a: is cut short, found \d+ of \d+ packed bytes"):
        decompress(packed[:-1], "a")


def test_corrupt_data_never_pass_for_whole():
    """A changed bit changes the result or is an error, which is always a DataError."""
    content = (128 + 3 * np.random.default_rng(1).standard_normal(300)).astype(np.uint8).tobytes()
    packed = bytearray(pack(content))
    found = 0
    for place in range(18, len(packed)):
        broken = packed.copy()
        broken[place] ^= 1 << place % 8
        try:
            assert len(decompress(bytes(broken), "a")) == len(content)
        except DataError as error:
            assert "a: is corrupt" in str(error)
            found += 1
    assert found > 20
