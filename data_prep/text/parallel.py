"""Parallel text for text normalization: sentences in written and in spoken form."""

from collections.abc import Sequence
from pathlib import Path

from data_prep.text.normalization_files import Pair
from data_prep.text.normalize import normalize_english, normalize_forms
from data_prep.text.vocabulary_files import place_vocabulary

SIDES = ("written", "spoken")
FILES = (*SIDES, "classes")
PLAIN, CHANGED = "plain", "changed"


def of_pair(pair: Pair) -> tuple[str, str, str]:
    """Return a pair's written side, spoken side and class: ``plain`` if both are equal, otherwise ``changed``."""
    written = normalize_forms(pair.written)
    spoken = normalize_english(pair.spoken)
    return written, spoken, PLAIN if written == spoken else CHANGED


def binarize_parallel(folder: Path, splits: Sequence[str], vocabulary: Path) -> None:
    """Binarize ``SPLIT.written`` and ``SPLIT.spoken`` in ``folder`` for ``slam_translation``."""
    from data_prep.text.binarize import binarize  # not before --help: it needs fairseq

    for split in splits:
        for side in SIDES:
            binarize(folder / f"{split}.{side}", vocabulary, folder / f"{split}.{'-'.join(SIDES)}.{side}")
    place_vocabulary(vocabulary, folder)
