"""The steps of the study: one plan for each pre-training, and one for each cell of the table."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from examples.slam.steps import Step
from examples.slam.stretching import NOMINAL_UPDATES, stretched
from examples.slam.study.columns import COLUMNS
from examples.slam.study.records import Cell, Places, write_record
from examples.slam.study.rows import ROWS
from examples.slam.study.scales import Scale
from examples.slam.training_steps import (
    CONFIG,
    PreTraining,
    cluster,
    content_hash,
    fine_tune,
    fingerprint,
    pretrain,
    typed,
    write_yaml,
)


class Study(NamedTuple):
    """The folders and the scale of a study.

    Attributes:
        run: folder of all trainings.
        data: folder made by ``slam prepare english``.
        text_data: folder made by ``slam prepare english-tasks``.
        scale_name, scale: the scale and its name.
        threads: of each training.
    """

    run: Path
    data: Path
    text_data: Path
    scale_name: str
    scale: Scale
    threads: int


class Plan(NamedTuple):
    """Steps in the order in which they run, and the folder of their logs."""

    steps: list[Step]
    logs: Path


def plans(study: Study, row: str, columns: Sequence[str], seed: int) -> Iterator[Plan]:
    """Yield the plans of a row: the pre-trainings that it needs, its own the last, then one for each of ``columns``.

    A column must come after the one whose model it starts from.
    """
    start: list[Step] = []
    for start, name in _pretrainings(study, row, seed):
        yield Plan(start, _logs(study, name))
    built_on = {None: fingerprint(start)}
    for column in columns:
        steps = _cell(study, row, column, seed, built_on)
        built_on[column] = fingerprint(steps[:1])
        yield Plan(steps, _logs(study, steps[0].name))


def record_path(study: Study, row: str, column: str, seed: int) -> Path:
    """Return the file of the record of a cell of the table."""
    return study.run / "records" / f"{name_of(row, seed, column)}.json"


def data_of(study: Study, column: str) -> Path:
    """Return the data folder of a column's fine-tuning."""
    settings = COLUMNS[column]
    return (study.text_data if settings.of_text else study.data) / settings.task(1, study.scale.size).data


def name_of(row: str, seed: int, column: str | None = None) -> str:
    """Return the name of a training, of its folder and of its log."""
    return f"{row}-seed{seed}" + (f"-{column}" if column else "")


def shown(steps: Sequence[Step]) -> str:
    """Return the commands of ``steps``, one per line, as they are typed in the repository."""
    lines = []
    for step in steps:
        if not callable(step.run):
            threads = step.environment.get("OMP_NUM_THREADS")
            lines.append((f"OMP_NUM_THREADS={threads} " if threads else "") + typed(step.run))
    return "\n".join(lines)


def _pretrainings(study: Study, row: str, seed: int) -> Iterator[tuple[list[Step], str]]:
    """Yield the steps and the name of each pre-training that ``row`` needs, its own the last."""
    settings, scale = ROWS[row], study.scale
    if settings.corpora is None:
        return
    before: list[Step] = []
    centroids = None
    if settings.targets is not None:
        for before, name in _pretrainings(study, settings.targets.row, seed):
            yield before, name
        centroids = study.run / "clusters" / f"{name_of(row, seed)}.npz"
        model = study.run / name_of(settings.targets.row, seed) / "checkpoint_last.pt"
        flags = ["--checkpoint", str(model), "--layer", str(settings.targets.layer)]
        clustered = cluster(study.data, centroids, flags)
        before = [replace(clustered, depends_on={"BUILT_ON": fingerprint(before)})]
    corpora = _corpora(study, row, seed, centroids)
    recipe = PreTraining(corpora, scale.pretrain, scale.epoch, scale.size, settings.optimizer, settings.lr)
    own = pretrain(study.run / name_of(row, seed), study.data, recipe, study.threads, seed)
    yield [*before, own], own.name


def _corpora(study: Study, row: str, seed: int, centroids: Path | None) -> Path:
    """Return the row's corpora file, adapted to this scale and to ``centroids`` if it differs from the recipe."""
    path, scale = CONFIG / ROWS[row].corpora, study.scale
    if (scale.pretrain, scale.budget, centroids) == (NOMINAL_UPDATES, 1.0, None):
        return path
    values = stretched(path, scale.pretrain, scale.budget)
    own = study.run / "corpora" / f"{row}.yaml"
    if centroids is not None:
        values["objectives"]["kmeans"]["centroids"] = str(centroids)
        own = own.with_name(f"{name_of(row, seed)}.yaml")
    return write_yaml(own, values)


def _cell(study: Study, row: str, column: str, seed: int, built_on: dict[str | None, str]) -> list[Step]:
    """Return the steps of a cell: fine-tuning, decoding of the test set, and the record.

    Seed k of fine-tuning starts from seed k of pre-training. ``built_on`` holds the fingerprint of each possible start.
    """
    settings, scale = ROWS[row], study.scale
    updates = (scale.total if settings.total_compute else scale.fine_tuning)[column]
    task, pretrained = COLUMNS[column].task(updates, scale.size), settings.corpora is not None
    start = study.run / name_of(row, seed) / "checkpoint_last.pt" if pretrained else None
    if task.after:
        start = study.run / name_of(row, seed, task.after) / "checkpoint_best.pt"
    task, folder = task.for_pretrained() if settings.gentle else task, study.run / name_of(row, seed, column)
    files = content_hash(*(Path(flag) for flag in task.flags if flag.endswith(".yaml")))
    data = data_of(study, column)
    trained = fine_tune(folder, data, task, start, study.threads, seed)
    trained = replace(trained, depends_on={"BUILT_ON": built_on[task.after], "FILES": files})
    out = study.run / "generated" / folder.name
    checkpoint = folder / "checkpoint_best.pt"
    decoded = COLUMNS[column].output.step(f"{folder.name}-decode", data, checkpoint, out)
    record = record_path(study, row, column, seed)
    pretraining = _log(study, name_of(row, seed)) if pretrained else None
    places = Places(record, pretraining, _log(study, folder.name), out, data)
    cell = Cell(study.scale_name, row, column, seed, seed)
    return [trained, decoded, Step(f"{folder.name}-record", partial(write_record, cell, places), outputs=[record])]


def _logs(study: Study, name: str) -> Path:
    return study.run / "logs" / name


def _log(study: Study, name: str) -> Path:
    """Return the log of a training, in the folder of the logs of its plan."""
    return _logs(study, name) / f"{name}.log"
