"""Data folders of labeled sentences in the layout of fairseq-preprocess."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder

from data_prep.text.binarize import binarize
from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, MODEL_FILE

Row = tuple[object, ...]  # label, sentence and, for pairs, a second sentence


def write_folder(
    folder: Path, vocabulary: Path, splits: Mapping[str, Sequence[Row]], labels: Sequence[str] | None
) -> Path:
    """Write a folder of ``splits``. ``labels`` are its classes in order, None for regression."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (DICTIONARY_FILE, MODEL_FILE):
        shutil.copy(vocabulary / name, folder)
    for split, rows in splits.items():
        for side in range(len(rows[0]) - 1):
            write_side(folder, split, side, [str(row[1 + side]) for row in rows])
        write_labels(folder, split, [row[0] for row in rows], labels)
    return folder


def write_side(folder: Path, split: str, side: int, texts: Sequence[str]) -> None:
    source = folder / f"{split}.{side}.txt"
    source.write_text("".join(f"{text}\n" for text in texts))
    binarize(source, folder, folder / f"input{side}" / split)


def write_labels(folder: Path, split: str, values: Sequence[object], labels: Sequence[str] | None) -> None:
    place = folder / "label"
    place.mkdir(exist_ok=True)
    if labels is None:
        (place / f"{split}.label").write_text("".join(f"{value}\n" for value in values))
        return
    (place / DICTIONARY_FILE).write_text("".join(f"{label} 1\n" for label in labels))
    dictionary = Dictionary.load(str(place / DICTIONARY_FILE))
    builder = MMapIndexedDatasetBuilder(str(place / f"{split}.bin"), dtype=np.uint16)
    for value in values:
        builder.add_item(torch.tensor([dictionary.index(str(value)), dictionary.eos()]))
    builder.finalize(str(place / f"{split}.idx"))
