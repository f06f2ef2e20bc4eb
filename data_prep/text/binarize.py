"""Binarize normalized text: cut it into pieces and write fairseq's memory-mapped token ids.

    slam binarize --text data/mc4/train-00.txt --vocab data --out data/mc4/train-00 --jobs 8

This writes ``data/mc4/train-00.bin`` and ``.idx``, as ``fairseq-preprocess --only-source`` does for text that is cut
into pieces. The text has one sentence per line. An empty line ends a document and becomes an item of ``</s>`` alone, as
fairseq's block modes expect. The bytes do not depend on ``--jobs``. No process holds more than a few MB of the text.
"""

import argparse
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from fairseq.data.indexed_dataset import best_fitting_int_dtype

from data_prep.engine.parts import processes, progress
from data_prep.engine.units import Dropped
from data_prep.formats.lines import Stretch, lines_of, stretches
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import full_disk_names
from slam_plugin.data.text.indexed import write_index
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.program import Program, positive

# Of text. The cut does not depend on the number of processes.
PART_BYTES = 16 << 20
QUIET_SECONDS = 5.0  # before progress is shown: most texts are done by then

_COPY_BYTES = 1 << 20


class Binarized(NamedTuple):
    """Counts of what was written: lines with document breaks, tokens with each line's ``</s>``, unknown tokens."""

    lines: int
    tokens: int
    unknown: int


class _Part(NamedTuple):
    """Some lines of a text. ``target.bin`` gets their ids, ``target.sizes`` the number of ids of each line."""

    text: Path
    stretch: Stretch
    target: Path


def binarize(text: str | Path, vocabulary: str | Path, prefix: str | Path, jobs: int = 1) -> Binarized:
    """Write ``prefix.bin`` and ``prefix.idx`` for the file ``text`` and return the counts.

    ``vocabulary`` is a folder with dict.txt and spm.model. Both files appear by a rename, the index last; an earlier
    index is removed first. A killed run leaves at most a hidden folder ``.PREFIX.*``. Raises :class:`DataError` if a
    file is absent, the vocabulary's files do not match, or ``text`` is empty or not UTF-8.
    """
    text, prefix = Path(text), Path(prefix)
    if not text.is_file():
        raise DataError(f"{text}: there is no such file")
    known = Vocabulary.load(vocabulary)
    if not text.stat().st_size:
        raise DataError(f"{text}: is empty, expected one sentence per line")
    prefix.parent.mkdir(parents=True, exist_ok=True)
    hidden = tempfile.TemporaryDirectory(dir=prefix.parent, prefix=f".{prefix.name}.")
    with full_disk_names(f"{prefix}.bin"), hidden as folder:
        cut = enumerate(stretches(text, PART_BYTES))
        parts = [_Part(text, stretch, Path(folder, str(number))) for number, stretch in cut]
        joined = Path(folder, "joined")
        with closing(_write_parts(parts, known, jobs)) as written:
            done = _join(parts, written, joined, _dtype_of(known))
        # Readers look for the index first: an old one must not stand beside new ids, nor a new one beside old ids.
        Path(f"{prefix}.idx").unlink(missing_ok=True)
        for suffix in (".bin", ".idx"):
            Path(f"{joined}{suffix}").replace(f"{prefix}{suffix}")
    return done


def _dtype_of(vocabulary: Vocabulary) -> np.dtype:
    return np.dtype(best_fitting_int_dtype(len(vocabulary.dictionary)))


def _write_parts(parts: Sequence[_Part], vocabulary: Vocabulary, jobs: int) -> Iterator[Binarized]:
    """Write all parts and yield their counts in order, each as soon as it is done."""
    if jobs == 1 or len(parts) == 1:
        yield from (_write_part(part, vocabulary) for part in parts)
        return
    with processes(min(jobs, len(parts)), __name__, parts[0].text) as pool:
        waiting = [pool.submit(_write_part, part, vocabulary) for part in parts]
        try:
            for future in waiting:
                yield future.result()
        finally:
            for future in waiting:
                future.cancel()


def _write_part(part: _Part, vocabulary: Vocabulary) -> Binarized:
    dictionary, dtype = vocabulary.dictionary, _dtype_of(vocabulary)
    eos, unk = dictionary.eos(), dictionary.unk()
    lines = tokens = unknown = 0
    with Path(f"{part.target}.bin").open("wb") as ids, Path(f"{part.target}.sizes").open("wb") as sizes:
        for line in lines_of(part.text, str(part.text), part.stretch):
            if isinstance(line, Dropped):
                raise DataError(f"{line.place}: {line.reason}")
            pieces = vocabulary.encode(line.text.strip()).numpy()
            ids.write(pieces.astype(dtype).tobytes())
            ids.write(dtype.type(eos).tobytes())
            sizes.write(struct.pack("<i", len(pieces) + 1))
            lines += 1
            tokens += len(pieces) + 1
            unknown += int(np.count_nonzero(pieces == unk))
    return Binarized(lines, tokens, unknown)


def _join(parts: Sequence[_Part], done: Iterator[Binarized], prefix: Path, dtype: np.dtype) -> Binarized:
    """Join the parts as ``prefix.bin`` and ``prefix.idx``, remove them, and return the sum of their counts."""
    total = Binarized(0, 0, 0)
    sizes = Path(f"{prefix}.sizes")
    with (
        progress(sum(part.stretch.end - part.stretch.begin for part in parts), QUIET_SECONDS) as bar,
        Path(f"{prefix}.bin").open("wb") as ids,
        sizes.open("wb") as all_sizes,
    ):
        for part, counts in zip(parts, done, strict=True):
            _move_into(Path(f"{part.target}.bin"), ids)
            _move_into(Path(f"{part.target}.sizes"), all_sizes)
            total = Binarized(*map(sum, zip(total, counts, strict=True)))
            bar.update(part.stretch.end - part.stretch.begin)
        _sync(ids)
    with Path(f"{prefix}.idx").open("wb") as index:
        write_index(index, np.memmap(sizes, np.int32, "r"), dtype)
        _sync(index)
    return total


def _move_into(source: Path, target: IO[bytes]) -> None:
    with source.open("rb") as file:
        shutil.copyfileobj(file, target, _COPY_BYTES)
    source.unlink()


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "--text",
        type=Path,
        required=True,
        metavar="FILE",
        help="one sentence per line, documents end with an empty line",
    )
    parser.add_argument("--vocab", type=Path, required=True, metavar="FOLDER", help="holds dict.txt and spm.model")
    parser.add_argument("--out", type=Path, required=True, metavar="PREFIX", help="writes PREFIX.bin and PREFIX.idx")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="number of processes (default: 1)")


def run(options: argparse.Namespace) -> None:
    """Binarize the specified file and print the counts."""
    done = binarize(options.text, options.vocab, options.out, options.jobs)
    print(f"{options.out}: {done.lines} lines, {done.tokens} tokens, {done.unknown} of them unknown")


main = Program("slam binarize", __doc__, add_arguments, run)
