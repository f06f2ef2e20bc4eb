"""GLUE: four tasks (MNLI, QNLI, QQP, SST-2) as labeled sentences, with --vocab ready to fine-tune on.

    slam prepare glue --root GLUE --out data/glue --vocab data --jobs 8

``--root`` holds the unpacked ``MNLI``, ``QNLI``, ``QQP`` and ``SST-2``, or some of them, possibly in a folder ``GLUE``.
Each task becomes a folder ``mnli``, ``qnli``, ``qqp`` or ``sst2`` with ``train.tsv``, ``valid.tsv`` and ``test.tsv`` of
lines ``label<TAB>text[<TAB>second text]``. For MNLI, ``valid`` and ``test`` are the matched sets, ``valid1`` and
``test1`` the mismatched ones.

With ``--vocab``, the folder of the pre-training vocabulary, each folder is also a data folder of
``slam_sentence_prediction``. Classes are in the order of :data:`TASKS`. GLUE does not publish the labels of its test
sets: in ``test.tsv`` the label is ``-``, and the data folder has none, so ``slam predict`` only predicts. A test set
keeps all rows in the publisher's order, as ``slam predict --glue`` requires.

Texts become lower-case words, like the text of pre-training; clitics are rejoined (``it 's``). Lines with too few or
too many columns, of which QQP has some, and lines without an agreed label (``-``) are left out of training and
validation sets. Rows with a text without words are left out of training sets; validation and test sets keep them, with
``-`` as the text, because scores are over all rows. A bad line in a test set is an error: the rows after it would be
submitted under wrong numbers.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.engine.command import preparation
from data_prep.engine.contents import contents_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit
from data_prep.formats.lines import Line, Stretch, header_of, lines_of, stretches
from data_prep.text.labeled import Row, read_rows
from data_prep.text.normalize import join_clitics, normalize_english
from data_prep.text.vocabulary_files import vocabulary_hash
from slam_plugin.data.constants import DEV, TEST, TRAIN, VALID
from slam_plugin.data.errors import DataError

NOTHING = "-"
UNIT_BYTES = 4 << 20
_HEADER_LINES = 1


class Task(NamedTuple):
    """A task of the benchmark.

    Attributes:
        folder: name of the output folder; the publisher's folder has the task's name.
        texts: the columns of one or two texts.
        label: the column of the label; test sets lack it.
        index: the column of test sets that numbers their rows from 0.
        labels: the classes in their order.
        splits: the publisher's file of each split.
    """

    folder: str
    texts: tuple[str, ...]
    label: str
    index: str
    labels: tuple[str, ...]
    splits: Mapping[str, str]


_SPLITS = {TRAIN: TRAIN, VALID: DEV, TEST: TEST}
_MNLI_SPLITS = {
    "train": "train",
    "valid": "dev_matched",
    "valid1": "dev_mismatched",
    "test": "test_matched",
    "test1": "test_mismatched",
}
_MNLI_LABELS = ("contradiction", "neutral", "entailment")
TASKS = {
    "MNLI": Task("mnli", ("sentence1", "sentence2"), "gold_label", "index", _MNLI_LABELS, _MNLI_SPLITS),
    "QNLI": Task("qnli", ("question", "sentence"), "label", "index", ("not_entailment", "entailment"), _SPLITS),
    "QQP": Task("qqp", ("question1", "question2"), "is_duplicate", "id", ("0", "1"), _SPLITS),
    "SST-2": Task("sst2", ("sentence",), "label", "index", ("0", "1"), _SPLITS),
}


@dataclass(frozen=True)
class Glue(Corpus):
    """Tasks below ``root``. A unit is a stretch of a file. ``symbols`` is the vocabulary's hash."""

    root: Path
    tasks: tuple[str, ...]
    vocabulary: Path | None = None
    symbols: str | None = None

    # Small parts: normalizing the text takes much longer than reading it.
    part_bytes = 2 * UNIT_BYTES

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {
            "command": "glue",
            "layout": 2,
            "root": str(self.root),
            "tasks": self.tasks,
            "vocabulary": self.symbols,
        }

    def contents(self) -> str:
        return contents_of(*(self.root / name for name in self.tasks))

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {
            f"{name}-{split}": Output((f"{TASKS[name].folder}/{split}.tsv",))
            for name in self.tasks
            for split in TASKS[name].splits
        }

    def units(self) -> Iterator[Unit]:
        for name in self.tasks:
            for split, file in TASKS[name].splits.items():
                path = self.root / name / f"{file}.tsv"
                if not path.is_file():
                    raise DataError(f"{path}: there is no such file")
                for stretch in stretches(path, UNIT_BYTES):
                    yield Unit(
                        f"{name}/{file}.tsv:{stretch.line}", stretch.end - stretch.begin, (name, split, *stretch)
                    )

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        name, split, *stretch = unit.data
        task = TASKS[name]
        place = f"{name}/{task.splits[split]}.tsv"
        tested = split.startswith("test")
        wanted = (task.index if tested else task.label, *task.texts)
        header = header_of(self.root / place, wanted)
        columns = [header.index(column) for column in wanted]
        for line in lines_of(self.root / place, place, Stretch(*stretch)):
            if isinstance(line, Line) and line.number <= _HEADER_LINES:
                continue
            fields = _fields(line, place, len(header))
            if isinstance(fields, Dropped):
                if tested:
                    raise DataError(
                        f"{self.root / fields.place}: {fields.reason}; no row of a test set may be left out, because "
                        "the server identifies rows by number"
                    )
                yield fields
                continue
            first, *texts = (fields[column] for column in columns)
            if tested:
                _check_index(first, line, self.root / place)
                first = NOTHING
            elif first not in task.labels:
                yield Dropped(f"{place}:{line.number}", _about_label(first, task.labels))
                continue
            yield from self._row(f"{name}-{split}", f"{place}:{line.number}", first, texts)

    def _row(self, output: str, place: str, label: str, texts: Sequence[str]) -> Iterator[Item | Dropped | Noted]:
        cleaned = [normalize_english(join_clitics(text)) for text in texts]
        if not all(cleaned):
            if output.endswith("-train"):
                yield Dropped(place, "holds a text without words")
                return
            yield Noted(f"a text without words, written as {NOTHING}")
        yield Item(output, ("\t".join((label, *(text or NOTHING for text in cleaned))) + "\n",))

    def finish(self, folder: Path) -> None:
        if self.vocabulary is None:
            return
        from data_prep.text.sentences import write_sentences  # not before --help: it needs fairseq

        for name in self.tasks:
            task = TASKS[name]
            out = folder / task.folder
            rows = {split: read_rows(out / f"{split}.tsv") for split in task.splits}
            known = {split: split_rows for split, split_rows in rows.items() if not split.startswith("test")}
            write_sentences(known, self.vocabulary, out, task.labels)
            for split in (split for split in rows if split not in known):
                _write_inputs(rows[split], self.vocabulary, out, split)


def _fields(line: Line | Dropped, place: str, expected: int) -> list[str] | Dropped:
    """Return the columns of a line. A quotation mark is an ordinary character."""
    if isinstance(line, Dropped):
        return line
    fields = line.text.split("\t")
    if len(fields) != expected:
        return Dropped(f"{place}:{line.number}", f"found {len(fields)} columns, expected {expected}")
    return fields


def _about_label(found: str, expected: Sequence[str]) -> str:
    if found == NOTHING:
        return f"has no agreed label ({NOTHING})"
    return f"its label is none of {', '.join(expected)}"


def _check_index(found: str, line: Line, path: Path) -> None:
    expected = str(line.number - 1 - _HEADER_LINES)
    if found != expected:
        raise DataError(f"{path}:{line.number}: found row number {found!r}, expected {expected}")


def _write_inputs(rows: Sequence[Row], vocabulary: Path, out: Path, split: str) -> None:
    """Write the texts alone, for rows without labels."""
    from data_prep.text.sentences import binarize_lines  # not before --help: it needs fairseq

    for side, texts in enumerate(zip(*(row.texts for row in rows), strict=True)):
        binarize_lines(texts, vocabulary, out / f"input{side}" / split)


def open_corpus(root: Path, tasks: Sequence[str] | None = None, vocabulary: str | Path | None = None) -> Glue:
    """Return the benchmark below ``root`` or ``root/GLUE``: ``tasks``, by default those that are there.

    Raises :class:`DataError` if one of ``tasks`` or all tasks are missing, or the vocabulary cannot be used.
    """
    if (root / "GLUE").is_dir():
        root = root / "GLUE"
    found = tuple(name for name in TASKS if (root / name).is_dir())
    absent = [name for name in tasks or () if name not in found]
    if absent or not found:
        raise DataError(f"{root}: found {', '.join(found) or 'no task'}, expected {', '.join(absent or TASKS)}")
    symbols = vocabulary_hash(vocabulary)
    chosen = tuple(name for name in found if name in (tasks or found))
    return Glue(root, chosen, Path(vocabulary).absolute() if vocabulary else None, symbols)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vocab",
        type=Path,
        metavar="FOLDER",
        help="holds dict.txt and spm.model; also make data folders to fine-tune on",
    )
    parser.add_argument(
        "--tasks", nargs="+", choices=TASKS, metavar="NAME", help=f"some of {', '.join(TASKS)} (default: all found)"
    )


main = preparation(
    "glue",
    __doc__,
    lambda arguments: open_corpus(arguments.root, arguments.tasks, arguments.vocab),
    _add_arguments,
)
