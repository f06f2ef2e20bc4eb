"""Sentences against fairseq's reader of the same files. Faults of the files are named."""

import pickle

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary, indexed_dataset

from slam_plugin.data.errors import DataError
from slam_plugin.data.text import indexed
from slam_plugin.data.text.indexed import Sentences, open_indexed

IDS = [[5, 6, 2], [2], [70, 5, 7, 8, 2], [9, 2]]


@pytest.fixture(params=[1000, 100_000], ids=["16 bits", "32 bits"])
def text(tmp_path, request):
    builder = indexed_dataset.make_builder(str(tmp_path / "text.bin"), "mmap", request.param)
    for sentence in IDS:
        builder.add_item(torch.tensor(sentence).int())
    builder.finalize(str(tmp_path / "text.idx"))
    return tmp_path / "text"


def test_sentences_are_those_of_fairseqs_reader(text):
    theirs, found = indexed_dataset.MMapIndexedDataset(str(text)), Sentences(text)
    for ours in (found, pickle.loads(pickle.dumps(found))):
        assert len(ours) == len(theirs) and ours.sizes.tolist() == theirs.sizes.tolist()
        for number, expected in enumerate(theirs):
            assert torch.equal(ours[number], expected) and ours[number].dtype == expected.dtype
    assert found.span(1, 6).tolist() == [2, 70, 5, 7, 8, 2] and found.span(0, 2).dtype == np.int64


def test_a_text_is_not_read_into_memory(text):
    found = Sentences(text)
    for array in (found.sizes, found.ids):
        while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
            array = array.base
        assert isinstance(array, np.memmap)
    assert len(pickle.dumps(found)) < 1000


@pytest.mark.parametrize(
    ("suffix", "damage", "expected"),
    [
        (".idx", lambda data: data[:-1], r"text\.idx: found 73 bytes, expected 74 of 4 sentences"),
        (".idx", lambda data: data[:20], r"text\.idx: is no index"),
        (".idx", lambda data: b"TNTIDX\x00\x00\x00" + data[9:], r"text\.idx: is no index"),
        (".idx", lambda data: data[:18] + bytes(8), r"text\.idx: holds no sentence"),
        (".bin", lambda data: data[:-1], r"text\.bin: found \d+ bytes, expected the \d+ of"),
    ],
)
def test_damaged_files_are_named(text, suffix, damage, expected):
    path = text.with_suffix(suffix)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=expected):
        Sentences(text)


# fairseq's codes of the ids' types: 7 is float64, 200 is none
@pytest.mark.parametrize("code", [6, 7, 200])
def test_a_type_of_ids_other_than_whole_numbers_is_named(text, code):
    index = text.with_suffix(".idx")
    data = bytearray(index.read_bytes())
    data[17] = code
    index.write_bytes(data)
    with pytest.raises(DataError, match=rf"text\.idx: found {code} as the type of its ids"):
        Sentences(text)


def column(values, dtype):
    return np.array(values, dtype).tobytes()


@pytest.mark.parametrize(
    ("sizes", "begins", "expected"),
    [
        ([3, 1, 5, 2], [0, 3, 4, 90], "sentence 3 begins at byte .*, expected to follow the one before"),
        ([3, 1, 5, 2], [0, 3, -4, 9], "sentence 2 begins at byte -"),
        ([3, 6, 0, 2], [0, 3, 9, 9], "sentence 2 has 0 symbols, expected at least 1"),
        ([3, 10, -4, 2], [0, 3, 13, 9], "sentence 2 has -4 symbols, expected at least 1"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_an_index_that_points_elsewhere_is_named(text, sizes, begins, expected, chunk, monkeypatch):
    monkeypatch.setattr(indexed, "CHUNK", chunk)
    width = Sentences(text).ids.itemsize
    index = text.with_suffix(".idx")
    header = index.read_bytes()[:26]
    index.write_bytes(header + column(sizes, np.int32) + column(np.array(begins) * width, np.int64))
    with pytest.raises(DataError, match=rf"text\.idx: {expected}"):
        open_indexed(text, known(100))


def known(symbols):
    dictionary = Dictionary()
    for number in range(symbols - len(dictionary)):
        dictionary.add_symbol(f"piece{number}")
    return dictionary


def test_a_negative_symbol_is_named(tmp_path):
    np.array([5, -6, 2], np.int32).tofile(tmp_path / "text.bin")
    with (tmp_path / "text.idx").open("wb") as file:
        indexed.write_index(file, np.array([3], np.int32), np.dtype(np.int32))
    with pytest.raises(DataError, match=r"text\.bin: sentence 0 holds symbol -6"):
        open_indexed(tmp_path / "text", known(10))


def test_absent_files_are_named(text):
    text.with_suffix(".bin").unlink()
    with pytest.raises(DataError, match=r"text\.bin: not found, but .*text\.idx is there"):
        Sentences(text)
    text.with_suffix(".idx").unlink()
    with pytest.raises(DataError, match=r"text\.idx: not found"):
        Sentences(text)


def test_a_symbol_that_the_dictionary_lacks_is_named(text, monkeypatch):
    monkeypatch.setattr(indexed, "CHUNK", 3)
    dictionary = known(70)
    with pytest.raises(DataError, match=r"text\.bin: sentence 2 holds symbol 70, but dict.txt has 70"):
        open_indexed(text, dictionary)
    dictionary.add_symbol("last")
    assert len(open_indexed(text, dictionary)) == len(IDS)
