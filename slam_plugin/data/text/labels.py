"""Targets of sentence prediction: binarized class labels, or one number per line."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from slam_plugin.data.errors import DataError, Fault, raise_faults
from slam_plugin.data.lines import lines_in
from slam_plugin.data.text.indexed import open_indexed
from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, read_dictionary, read_symbols

FOLDER = "label"
_FILLING = re.compile(r"madeupword\d{4}")  # fairseq-preprocess rounds a dictionary's size up with these


def labels_in(data: str | Path) -> tuple[str, ...] | None:
    """Return the classes of ``label/dict.txt`` in the order of their ids, None if a data folder has no such file."""
    path = Path(data, FOLDER, DICTIONARY_FILE)
    if not path.is_file():
        return None
    labels = tuple(symbol for symbol in read_symbols(path) if not _FILLING.fullmatch(symbol))
    if len(labels) < 2:
        raise DataError(f"{path}: found {len(labels)} labels, expected two or more")
    return labels


def read_labels(data: str | Path, split: str, labels: Sequence[str]) -> Tensor | None:
    """Read the classes (rows,), from 0, of ``label/{split}.bin``. Return None if there is no such file."""
    path = Path(data, FOLDER, split)
    if not Path(f"{path}.idx").is_file():
        return None
    dictionary = read_dictionary(path.parent / DICTIONARY_FILE)
    rows = open_indexed(path, dictionary)
    classes = []
    for number in range(len(rows)):
        row = rows[number].tolist()
        found = row[0] - dictionary.nspecial
        if row[1:] != [dictionary.eos()] or not 0 <= found < len(labels):
            text = " ".join(dictionary[symbol] for symbol in row)
            raise DataError(f"{path}.bin: row {number} is {text!r}, expected one of {', '.join(labels)} and </s>")
        classes.append(found)
    return torch.tensor(classes)


def read_numbers(data: str | Path, split: str) -> Tensor | None:
    """Read the numbers (rows,), fp32, of ``label/{split}.label``. Return None if there is no such file."""
    path = Path(data, FOLDER, f"{split}.label")
    if not path.is_file():
        return None
    lines = list(lines_in(path)) or [""]
    numbers = [_number(line) for line in lines]
    faults = [
        Fault(str(path), at, f"found {line!r}, expected a number")
        for at, (line, number) in enumerate(zip(lines, numbers, strict=True), start=1)
        if not math.isfinite(number)
    ]
    raise_faults(faults)
    return torch.tensor(numbers, dtype=torch.float32)


def _number(line: str) -> float:
    try:
        return float(line)
    except ValueError:
        return math.nan
