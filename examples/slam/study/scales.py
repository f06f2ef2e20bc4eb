"""The scales of the study: the length of each training and the size of the model."""

from collections.abc import Mapping
from typing import NamedTuple

TRANSLATIONS = ("st-de", "st-fr", "st-es", "st-it", "st-de-asr", "st-de-mt")


class Scale(NamedTuple):
    """The settings of a scale.

    Attributes:
        size: of the model.
        pretrain: updates of every row's pre-training.
        epoch: plan steps between validations of pre-training.
        budget: factor of the corpora files' budgets.
        fine_tuning: updates of each column, the same for all rows.
        total: updates of each column in the row of total compute.
        limit: utterances, documents and sentences of each split of the data; None for all.
    """

    size: str
    pretrain: int
    epoch: int
    budget: float
    fine_tuning: Mapping[str, int]
    total: Mapping[str, int]
    limit: int | None = None


def _columns(asr10: int, asr30: int, asr100: int, translation: int) -> dict[str, int]:
    return {"asr10": asr10, "asr30": asr30, "asr100": asr100, **dict.fromkeys(TRANSLATIONS, translation)}


# cpu: half a core-hour of pre-training: an update on 50 s of pairs takes 1.15 s of a core with AVX2.
SCALES: Mapping[str, Scale] = {
    "cpu": Scale("tiny", 1600, 400, 1.0, _columns(400, 600, 800, 600), _columns(8000, 8200, 8400, 6000)),
    "cpu-long": Scale(
        "tiny", 6400, 800, 1.0, _columns(800, 1200, 1600, 1600), _columns(20_000, 20_400, 20_800, 18_000)
    ),
    "gpu": Scale("small", 20_000, 2000, 4.0, _columns(2000, 3000, 4000, 4000), _columns(8000, 9000, 10_000, 10_000)),
}
QUICK = Scale("tiny", 8, 4, 1.0, _columns(4, 4, 4, 4), _columns(6, 6, 6, 6), limit=40)
