"""fairseq's memory-mapped text, checked when it is opened."""

import hashlib
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import _code_to_dtype, _dtype_header_code

from slam_plugin.data.errors import DataError

CHUNK = 1 << 22  # ids or sentences per step
_MAGIC, _VERSION = b"MMIDIDX\x00\x00", 1
_HEADER = struct.Struct("<9sQBQ")  # magic, version, code of the ids' type, sentences


class Sentences:
    """The sentences of ``path.bin`` and ``path.idx`` as fairseq's ``MMapIndexedDataset`` reads them.

    fairseq's class reads both files through a buffer of 100 MB at each opening, and its cache of recent items keeps
    unused texts open. This one only maps the files and pickles to its path.

    Attributes:
        sizes: tokens of each sentence (sentences,), int32, memory-mapped.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        index = Path(f"{path}.idx")
        if not index.is_file():
            raise DataError(f"{index}: not found, expected a text corpus made by fairseq-preprocess")
        with index.open("rb") as file:
            header = file.read(_HEADER.size)
        if len(header) < _HEADER.size or _HEADER.unpack(header)[:2] != (_MAGIC, _VERSION):
            raise DataError(f"{index}: is no index of fairseq-preprocess --dataset-impl mmap")
        *_, code, count = _HEADER.unpack(header)
        found, expected = index.stat().st_size, _HEADER.size + count * (4 + 8)
        if not count:
            raise DataError(f"{index}: holds no sentence")
        if found != expected:
            raise DataError(f"{index}: found {found} bytes, expected {expected} of {count} sentences: binarize again")
        self.sizes = _mapped(index, np.int32, count, _HEADER.size)
        self._begins = _mapped(index, np.int64, count, _HEADER.size + self.sizes.nbytes)  # in bytes
        dtype = np.dtype(_code_to_dtype.get(code, np.float64))
        if not np.issubdtype(dtype, np.integer):
            raise DataError(f"{index}: found {code} as the type of its ids, expected that of whole numbers")
        ids = Path(f"{path}.bin")
        if not ids.is_file():
            raise DataError(f"{ids}: not found, but {index} is there")
        found, expected = ids.stat().st_size, int(self.sizes.sum(dtype=np.int64)) * dtype.itemsize
        if found != expected:
            raise DataError(f"{ids}: found {found} bytes, expected the {expected} of {index}: binarize again")
        self.ids = _mapped(ids, dtype, found // dtype.itemsize)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, sentence: int) -> torch.Tensor:
        """Return the ids of one sentence, (tokens,) int64."""
        return torch.from_numpy(self.span(sentence, int(self.sizes[sentence])))

    def __reduce__(self) -> tuple:
        return Sentences, (self.path,)

    def span(self, sentence: int, tokens: int) -> np.ndarray:
        """Return ``tokens`` ids from the first one of a sentence on, (tokens,) int64."""
        begin = int(self._begins[sentence]) // self.ids.itemsize
        return self.ids[begin : begin + tokens].astype(np.int64)

    def check(self, symbols: int) -> None:
        """Raise :class:`DataError` for the first sentence with a wrong place or length, or an id not in [0, symbols).

        Reads both files to their ends.
        """
        end = 0
        for first in range(0, len(self), CHUNK):
            sizes = self.sizes[first : first + CHUNK].astype(np.int64)
            if int(sizes.min()) < 1:
                sentence = int(np.argmax(sizes < 1))
                raise DataError(
                    f"{self.path}.idx: sentence {first + sentence} has {sizes[sentence]} symbols, expected at least 1: "
                    "binarize again"
                )
            ends = end + np.cumsum(sizes)
            begins = self._begins[first : first + CHUNK]
            wrong = begins != (ends - sizes) * self.ids.itemsize
            if wrong.any():
                raise DataError(
                    f"{self.path}.idx: sentence {first + int(np.argmax(wrong))} begins at byte "
                    f"{begins[np.argmax(wrong)]}, expected to follow the one before: binarize again"
                )
            end = int(ends[-1])
        for begin in range(0, len(self.ids), CHUNK):
            chunk = self.ids[begin : begin + CHUNK]
            if int(chunk.max()) >= symbols or int(chunk.min()) < 0:
                place = begin + int(np.argmax((chunk >= symbols) | (chunk < 0)))
                sentence = int(np.searchsorted(np.cumsum(self.sizes, dtype=np.int64), place, side="right"))
                raise DataError(
                    f"{self.path}.bin: sentence {sentence} holds symbol {self.ids[place]}, but dict.txt has {symbols}: "
                    "binarize again"
                )


def _mapped(path: Path, dtype: Any, count: int, offset: int = 0) -> np.ndarray:
    return np.asarray(np.memmap(path, dtype, "r", offset, (count,)))


def write_index(file: IO[bytes], sizes: np.ndarray, dtype: np.dtype) -> None:
    """Write an ``.idx``: ``sizes`` (sentences,) int32, and the byte offset of each among ids of ``dtype``.

    fairseq's own writer keeps both columns as lists of Python numbers.
    """
    file.write(_HEADER.pack(_MAGIC, _VERSION, _dtype_header_code(dtype.type), len(sizes)))
    for first in range(0, len(sizes), CHUNK):
        file.write(sizes[first : first + CHUNK].tobytes())
    begin = 0
    for first in range(0, len(sizes), CHUNK):
        ends = begin + np.cumsum(sizes[first : first + CHUNK], dtype=np.int64) * dtype.itemsize
        file.write(np.concatenate(([begin], ends[:-1])).astype(np.int64).tobytes())
        begin = int(ends[-1])


def open_indexed(path: str | Path, dictionary: Dictionary) -> Sentences:
    """Return the sentences of ``path.bin`` and ``path.idx``, memory-mapped and checked from start to end.

    Raises :class:`DataError` if a file is missing, cut short or damaged, or holds a symbol that ``dictionary`` lacks:
    text binarized with a larger dictionary would index past the embedding, maybe only in the last sentence.
    """
    sentences = Sentences(path)
    sentences.check(len(dictionary))
    return sentences


def index_hash(path: str | Path) -> str:
    """Return a hash of the sentence lengths of ``path``. Hashing the text would read all of it at each start."""
    with open(f"{path}.idx", "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]
