"""The columns of the study: the fine-tunings of each pre-trained model. A new column is an entry of ``COLUMNS``."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from examples.slam.study.outputs import CLASSES, Output, texts
from examples.slam.training_steps import (
    CONFIG,
    SPEECH_TO_TEXT,
    TRANSLATION,
    FineTuning,
    clauses,
    joint_clauses,
    joint_translation,
    recognition,
    validated,
)

ACCURACY = ("--best-checkpoint-metric", "accuracy", "--maximize-best-checkpoint-metric")


class Column(NamedTuple):
    """A fine-tuning and its test set.

    Attributes:
        title: in tables.
        metrics: of the test set; the first one stands for the column.
        task: returns the fine-tuning for a number of updates and a model size.
        output: how the test set is decoded and read.
        of_text: its data are in the folder of ``slam prepare english-tasks``.
    """

    title: str
    metrics: tuple[str, ...]
    task: Callable[[int, str], FineTuning]
    output: Output = texts()
    of_text: bool = False


def _recognition(minutes: int) -> Column:
    def task(updates: int, size: str) -> FineTuning:
        return recognition(f"asr{minutes}", minutes, updates, size)

    return Column(f"recognition, {minutes} minutes of labels", ("cer", "wer"), task)


def _translation(language: str, name: str, title: str, after: str | None, joint: bool = False) -> Column:
    def task(updates: int, size: str) -> FineTuning:
        shared = ["--train-subset", "train", "--arch", f"slam_speech_to_text_{size}", *TRANSLATION]
        # After half a minute of training, a decoder that sees all of its past attends to nothing: it must see less.
        shared += ["--decoder-word-dropout", "0.4", "--best-checkpoint-metric", "nll_loss"]
        corpora = CONFIG / f"study/translation_{language}.yaml"
        flags = joint_translation(corpora, updates) if joint else [*SPEECH_TO_TEXT, *validated(updates)]
        return FineTuning(name, f"st/{language}", updates, [*flags, *shared], after, optimizer="slam_muon", lr=0.002)

    return Column(title, ("chrf", "bleu"), task, texts("--max-len-b", "60"))


def _classification(name: str, positive: str, title: str) -> Column:
    def task(updates: int, size: str) -> FineTuning:
        flags = ["--task", "slam_sentence_prediction", "--arch", f"slam_classifier_{size}"]
        flags += ["--criterion", "sentence_prediction", "--positive-label", positive, "--max-tokens", "4000"]
        return FineTuning(name, name, updates, [*flags, *ACCURACY, *validated(updates)])

    return Column(title, ("accuracy",), task, CLASSES, of_text=True)


def _normalization(updates: int, size: str) -> FineTuning:
    flags = ["--task", "slam_translation", "--arch", f"slam_text_to_text_{size}", "--max-tokens", "4000"]
    flags += ["--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1"]
    flags += ["--eval-accuracy", "--eval-args", '{"max_len_a": 2, "max_len_b": 20}']
    return FineTuning("normalization", "normalization", updates, [*flags, *ACCURACY, *validated(updates)])


COLUMNS: Mapping[str, Column] = {
    **{f"asr{minutes}": _recognition(minutes) for minutes in (10, 30, 100)},
    "clauses": Column("translation of short synthetic clauses to es", ("chrf", "bleu"), partial(clauses, "clauses")),
    "clauses-mt": Column(
        "speech and text translation of the clauses", ("chrf", "bleu"), partial(joint_clauses, "clauses-mt")
    ),
    **{f"st-{one}": _translation(one, f"st-{one}", f"translation to {one}", None) for one in ("de", "fr", "es", "it")},
    # Translation of real speech learns little in so few updates: this starts from the row's own recognizer.
    "st-de-asr": _translation("de", "st-de-asr", "translation to de, after recognition", "asr100"),
    "st-de-mt": _translation("de", "st-de-mt", "speech and text translation to de", None, joint=True),
    "sentiment": _classification("sentiment", "positive", "sentiment of movie reviews"),
    "paraphrase": _classification("paraphrase", "same", "paraphrases of Bible verses"),
    "normalization": Column(
        "text normalization",
        ("accuracy", "wer"),
        _normalization,
        texts("--max-len-a", "2", "--max-len-b", "20", task="slam_translation"),
        of_text=True,
    ),
}


def needed(names: Sequence[str]) -> list[str]:
    """Return ``names`` and the columns whose models they start from, in the order of ``COLUMNS``."""
    after = {COLUMNS[name].task(1, "tiny").after for name in names}
    return [name for name in COLUMNS if name in after or name in names]
