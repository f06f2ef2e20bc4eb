"""Make a data folder for sentence_prediction from labeled sentences.

    slam sentences --vocab data --out data/sentiment --train train.tsv --valid valid.tsv --test test.tsv

Each TSV has lines ``label<TAB>text[<TAB>second text]``. The folder holds ``input0/{split}.bin`` and ``.idx``,
``input1`` if there are two texts, and the labels: ``label/{split}.bin`` and ``.idx`` with ``label/dict.txt``, which
lists the classes in their order, or for regression ``label/{split}.label``, one number per line. The vocabulary is
copied to ``dict.txt`` and ``spm.model``, and to ``input0/dict.txt``, where fairseq's own task looks for it. Texts are
not changed: normalize them before (:mod:`data_prep.text.normalize`) in the same way as the vocabulary's text.
"""

import argparse
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import make_builder

from data_prep.engine.splits import FAIRSEQ_SPLITS
from data_prep.text.binarize import Binarized, binarize
from data_prep.text.labeled import Row, read_rows
from data_prep.text.vocabulary_files import place_vocabulary
from slam_plugin.data.constants import TRAIN
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.program import Program


def write_sentences(
    splits: Mapping[str, Sequence[Row]],
    vocabulary: str | Path,
    out: str | Path,
    labels: Sequence[str] | None = None,
    regression: bool = False,
) -> dict[str, list[Binarized]]:
    """Write the folder ``out`` from the rows of each split, and return the counts of each split's texts.

    Args:
        splits: rows by split (``train``, ``valid``, ``test``; a second validation set is ``valid1``).
        vocabulary: folder of ``dict.txt`` and ``spm.model``.
        labels: the classes in their order; None for those of the first split, sorted.
        regression: labels are numbers instead of classes.

    Raises :class:`DataError` if a label is no class or no number, or the splits have different numbers of texts.
    """
    out = Path(out)
    counts = {len(row.texts) for rows in splits.values() for row in rows}
    if len(counts) != 1:
        raise DataError(f"{out}: found rows of {sorted(counts)} texts, expected one or two in all splits")
    if regression:
        _write_numbers(splits, out / "label")
    else:
        first = next(iter(splits.values()))
        _write_classes(splits, labels or sorted({row.label for row in first}), out / "label")
    place_vocabulary(vocabulary, out)
    done: dict[str, list[Binarized]] = {split: [] for split in splits}
    for number in range(counts.pop()):
        shutil.copyfile(Path(vocabulary, "dict.txt"), _made(out / f"input{number}") / "dict.txt")
        for split, rows in splits.items():
            texts = [row.texts[number] for row in rows]
            done[split].append(binarize_lines(texts, vocabulary, out / f"input{number}" / split))
    return done


def binarize_lines(texts: Sequence[str], vocabulary: str | Path, prefix: Path) -> Binarized:
    """Binarize texts in memory, one item each, as :func:`data_prep.text.binarize.binarize` does."""
    with tempfile.TemporaryDirectory(dir=_made(prefix.parent), prefix=f".{prefix.name}.") as folder:
        lines = Path(folder, "lines")
        lines.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="\n")
        return binarize(lines, vocabulary, prefix)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_numbers(splits: Mapping[str, Sequence[Row]], folder: Path) -> None:
    for split, rows in splits.items():
        for number, row in enumerate(rows, start=1):
            if not _is_finite(row.label):
                raise DataError(f"{split}, row {number}: found the label {row.label!r}, expected a number")
        with atomic_write(folder / f"{split}.label") as file:
            file.writelines(f"{float(row.label)}\n" for row in rows)


def _is_finite(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


def _write_classes(splits: Mapping[str, Sequence[Row]], labels: Sequence[str], folder: Path) -> None:
    """Write ``dict.txt`` of the classes with counts of the first split, and each split's items (class, ``</s>``)."""
    counts = Counter(row.label for row in next(iter(splits.values())))
    dictionary = Dictionary()
    for label in labels:
        dictionary.add_symbol(label, n=counts[label])
    with atomic_write(folder / "dict.txt") as file:
        file.writelines(f"{label} {counts[label]}\n" for label in labels)
    for split, rows in splits.items():
        builder = make_builder(str(folder / f"{split}.bin"), "mmap", len(dictionary))
        for number, row in enumerate(rows, start=1):
            if row.label not in labels:
                raise DataError(
                    f"{split}, row {number}: found the label {row.label!r}, expected one of {', '.join(labels)}"
                )
            builder.add_item(torch.tensor([dictionary.index(row.label), dictionary.eos()]))
        builder.finalize(str(folder / f"{split}.idx"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--vocab", type=Path, required=True, metavar="FOLDER", help="holds dict.txt and spm.model")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the folder to create")
    for split in FAIRSEQ_SPLITS:
        parser.add_argument(
            f"--{split}", type=Path, metavar="TSV", required=split == TRAIN, help=f"labeled sentences of {split}"
        )
    parser.add_argument(
        "--labels", nargs="+", metavar="NAME", help="the classes in their order (default: those of --train, sorted)"
    )
    parser.add_argument("--regression", action="store_true", help="labels are numbers instead of classes")


def run(options: argparse.Namespace) -> None:
    """Write the folder and print how many rows each split has."""
    files = {split: getattr(options, split) for split in FAIRSEQ_SPLITS}
    splits = {split: read_rows(path) for split, path in files.items() if path}
    write_sentences(splits, options.vocab, options.out, options.labels, options.regression)
    print(f"{options.out}: " + ", ".join(f"{split} {len(rows)}" for split, rows in splits.items()))


main = Program("slam sentences", __doc__, add_arguments, run)
