"""LibriLM: LibriSpeech's text for language models, 40 million sentences (803 million words) of books.

    slam prepare librilm --root librispeech-lm-norm.txt.gz --out data/librilm --jobs 8

``--root`` is ``librispeech-lm-norm.txt.gz`` or the folder that holds it: one sentence per line, in capitals, spelled
out, without punctuation. Sentences become lower case by the rule of ``slam prepare librispeech``.

The publisher sorted the sentences and removed duplicates, so their books and contexts are unknown. An item of training
is therefore one sentence: the files have no ends of documents, and a corpus of them has no ``block``. The hash of a
sentence decides its file: one in ``--valid-parts`` goes to ``valid.txt``, the others are spread over ``train-00.txt``
... (``train.txt`` for one shard). The sentences of a file are shuffled, always in the same way; otherwise neighbors
would begin with the same words.

The archive is read once to find its lines, and again from its beginning for each stretch, because gzip cannot be read
from the middle.
"""

import argparse
import gzip
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data_prep.engine.command import add_division, preparation
from data_prep.engine.contents import contents_of
from data_prep.engine.parts import progress
from data_prep.engine.splits import bucket, shard_names
from data_prep.engine.units import Corpus, Dropped, Item, Output, Unit, lines
from data_prep.formats.compressed import damage_named
from data_prep.formats.lines import Stretch, read_line, text_of
from data_prep.text.normalize import normalize
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write

ARCHIVE = "librispeech-lm-norm.txt.gz"
TRAIN_SHARDS = 10
VALID_PARTS = 10_000
UNIT_BYTES = 256 << 20  # of text: 2.5 million lines

_BLOCK = 1 << 20
_LINES_AT_ONCE = 100_000


@dataclass(frozen=True)
class LibriLM(Corpus):
    """The sentences of ``archive``. A unit is a stretch of its lines."""

    archive: Path
    train_shards: int = TRAIN_SHARDS
    valid_parts: int = VALID_PARTS

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {
            "command": "librilm",
            "layout": 1,
            "root": str(self.archive),
            "train shards": self.train_shards,
            "valid parts": self.valid_parts,
        }

    def contents(self) -> str:
        return contents_of(self.archive)

    @property
    def outputs(self) -> Mapping[str, Output]:
        names = [*shard_names(self.train_shards), "valid"]
        return {name: Output((f"{name}.txt",)) for name in names}

    def units(self) -> Iterator[Unit]:
        for stretch in stretches_of(self.archive):
            yield Unit(f"{self.archive.name}:{stretch.line}", stretch.end - stretch.begin, tuple(stretch))

    def read(self, unit: Unit) -> Iterator[Item | Dropped]:
        train = shard_names(self.train_shards)
        begin, end, number = unit.data
        with _opened(self.archive) as (file, _):
            file.seek(begin)
            while file.tell() < end:
                line = text_of(read_line(file), self.archive.name, number)
                place = f"{self.archive.name}:{number}"
                number += 1
                if isinstance(line, Dropped):
                    yield line
                    continue
                text = normalize(line.text)
                if not text:
                    yield Dropped(place, "holds no word")
                    continue
                shard, part = divmod(bucket(text, self.valid_parts * self.train_shards), self.valid_parts)
                yield lines("valid" if part == 0 else train[shard], text)

    def finish(self, folder: Path) -> None:
        """Shuffle the sentences of each file."""
        for output in self.outputs.values():
            _shuffle(folder / output.files[0])


def stretches_of(archive: Path) -> Iterator[Stretch]:
    """Yield stretches of :data:`UNIT_BYTES` or a little more of the text in ``archive``, cut at line ends.

    Raises :class:`DataError` if the archive is cut short or not gzip.
    """
    begin, line = 0, 1
    with _opened(archive) as (file, packed), progress(archive.stat().st_size) as bar:
        while True:
            end, count, last = begin, 0, b""
            while end - begin < UNIT_BYTES and (block := file.read(min(_BLOCK, UNIT_BYTES - (end - begin)))):
                end, count, last = end + len(block), count + block.count(b"\n"), block
                bar.update(packed.tell() - bar.n)
            if end == begin:
                return
            rest = 0 if last.endswith(b"\n") else read_line(file).size
            yield Stretch(begin, end + rest, line)
            begin, line = end + rest, line + count + (rest > 0)


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open the text of an archive, and the archive itself. Raises :class:`DataError` if what is read is broken."""
    with (
        damage_named(archive, "is cut short or not gzip, download it again"),
        archive.open("rb") as packed,
        io.BufferedReader(gzip.GzipFile(fileobj=packed), _BLOCK) as file,
    ):
        yield file, packed


def _shuffle(path: Path) -> None:
    """Shuffle the lines of a file by their number alone. Takes 24 bytes of memory per line."""
    content = np.memmap(path, np.uint8, "r")
    blocks = range(0, len(content), _BLOCK)
    ends = np.concatenate(
        [np.flatnonzero(content[first : first + _BLOCK] == ord("\n")) + first + 1 for first in blocks]
    )
    begins = np.concatenate(([0], ends[:-1]))
    # numpy guarantees the numbers of RandomState across versions, unlike those of its newer generators.
    order = np.random.RandomState(0).permutation(len(ends))
    whole = memoryview(content)
    with atomic_write(path, "wb") as file:
        for first in range(0, len(order), _LINES_AT_ONCE):
            chosen = order[first : first + _LINES_AT_ONCE]
            pairs = zip(begins[chosen].tolist(), ends[chosen].tolist(), strict=True)
            file.writelines(whole[begin:end] for begin, end in pairs)


def open_corpus(root: Path, train_shards: int = TRAIN_SHARDS, valid_parts: int = VALID_PARTS) -> LibriLM:
    """Return the corpus of ``root`` or ``root/librispeech-lm-norm.txt.gz``. Raises :class:`DataError` without one."""
    archive = root / ARCHIVE if root.is_dir() else root
    if not archive.is_file():
        raise DataError(f"{root}: expected {ARCHIVE} in it")
    return LibriLM(archive, train_shards, valid_parts)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    train = "number of training files, whose shuffling takes 24 bytes of memory per sentence"
    add_division(parser, TRAIN_SHARDS, VALID_PARTS, train, "one sentence in P is for validation")


main = preparation(
    "librilm",
    __doc__,
    lambda arguments: open_corpus(arguments.root, arguments.train_shards, arguments.valid_parts),
    _add_arguments,
    root_help=f"holds {ARCHIVE}, or is that file",
)
