"""The scales of the study: the length of each training and the size of the model."""

from collections.abc import Mapping
from typing import NamedTuple

TRANSLATIONS = ("st-de", "st-fr", "st-es", "st-it", "st-de-asr", "st-de-mt")
TEXT_TASKS = ("sentiment", "paraphrase", "normalization")


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


def _columns(asr10: int, asr30: int, asr100: int, clauses: int, translation: int, text: int) -> dict[str, int]:
    recognition = {"asr10": asr10, "asr30": asr30, "asr100": asr100}
    others = dict.fromkeys(TRANSLATIONS, translation) | dict.fromkeys(TEXT_TASKS, text)
    return {**recognition, "clauses": clauses, "clauses-mt": clauses, **others}


# cpu: an update on 50 s of pairs takes 1.15 s of a core with AVX2, half of that with bf16.
SCALES: Mapping[str, Scale] = {
    "cpu": Scale(
        size="tiny",
        pretrain=1600,
        epoch=400,
        budget=1.0,
        fine_tuning=_columns(400, 600, 800, 300, 600, 600),
        total=_columns(8000, 8200, 8400, 5700, 6000, 6000),
    ),
    "cpu-long": Scale(
        size="tiny",
        pretrain=6400,
        epoch=800,
        budget=1.0,
        fine_tuning=_columns(800, 1200, 1600, 800, 1600, 1600),
        total=_columns(20_000, 20_400, 20_800, 17_200, 18_000, 18_000),
    ),
    "gpu": Scale(
        size="small",
        pretrain=20_000,
        epoch=2000,
        budget=4.0,
        fine_tuning=_columns(2000, 3000, 4000, 2000, 4000, 4000),
        total=_columns(8000, 9000, 10_000, 8000, 10_000, 10_000),
    ),
}
QUICK = Scale("tiny", 8, 4, 1.0, _columns(4, 4, 4, 4, 4, 4), _columns(6, 6, 6, 6, 6, 6), limit=40)
