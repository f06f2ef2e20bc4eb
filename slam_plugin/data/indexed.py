"""fairseq's memory-mapped text, opened with a look at what it holds."""

import hashlib
from pathlib import Path

import numpy as np
from fairseq.data import Dictionary, FairseqDataset, data_utils

from slam_plugin.data.errors import DataError

CHUNK = 1 << 22  # ids looked at at a time


def open_indexed(path: str | Path, dictionary: Dictionary) -> FairseqDataset:
    """The sentences of ``path.bin`` and ``path.idx``, memory-mapped, each ending in ``</s>``.

    Raises :class:`DataError` where a file is missing or cut short, or holds a symbol that ``dictionary`` does not: one
    binarised with a larger dictionary would index past the embedding, were it in the last sentence.
    """
    sentences = data_utils.load_indexed_dataset(str(path), dictionary, "mmap")
    if sentences is None:
        raise DataError(f"{path}.idx: not found, expected a text corpus made by fairseq-preprocess")
    dtype = np.dtype(sentences._index.dtype)
    found, expected = Path(f"{path}.bin").stat().st_size, int(sentences.sizes.sum(dtype=np.int64)) * dtype.itemsize
    if found != expected:
        raise DataError(f"{path}.bin: found {found} bytes, expected the {expected} of {path}.idx: binarise again")
    ids = np.memmap(f"{path}.bin", dtype=dtype, mode="r")
    symbols = len(dictionary)
    for begin in range(0, len(ids), CHUNK):
        chunk = ids[begin : begin + CHUNK]
        if int(chunk.max()) >= symbols:
            place = begin + int(np.argmax(chunk >= symbols))
            sentence = int(np.searchsorted(np.cumsum(sentences.sizes, dtype=np.int64), place, side="right"))
            raise DataError(
                f"{path}.bin: sentence {sentence} holds symbol {ids[place]}, but dict.txt has {symbols}: binarise again"
            )
    return sentences


def index_hash(path: str | Path) -> str:
    """A hash of the lengths of all sentences of ``path``: hashing the text would read all of it at each start."""
    with open(f"{path}.idx", "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]
