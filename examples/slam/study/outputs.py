"""Decoding of the test set of a fine-tuned model, and reading of its output: texts, or classes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from examples.slam.steps import Step
from examples.slam.training_steps import classify, decode

Lines = tuple[list[str], list[str]]


class Output(NamedTuple):
    """The output of a fine-tuned model.

    Attributes:
        step: returns the decoding, by its name, the data folder, the checkpoint and the folder of the output.
        read: returns hypotheses and references of the test set, by the folder of the output and the data folder.
    """

    step: Callable[[str, Path, Path, Path], Step]
    read: Callable[[Path, Path], Lines]


def texts(*flags: str, task: str = "slam_speech_to_text") -> Output:
    """Return the output of fairseq-generate with ``flags``."""
    return Output(partial(decode, flags=flags, task=task), _read_texts)


def _read_texts(folder: Path, data: Path) -> Lines:
    # Imported here: the runner must start fast and must not start threads.
    from slam_plugin.scoring.text import read_generated

    generated = read_generated(folder / "generate-test.txt")
    return [one.hypothesis for one in generated], [one.reference for one in generated]


def _read_classes(folder: Path, data: Path) -> Lines:
    from data_prep.text.labeled import read_rows
    from slam_plugin.data.lines import lines_in

    _, *predictions = (line.split("\t")[1] for line in lines_in(folder / "test.tsv"))  # below the head
    return predictions, [row.label for row in read_rows(data / "test.tsv")]


CLASSES = Output(classify, _read_classes)
