"""Records of the study, one for each finished cell of the table, in one file that is committed."""

import fcntl
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from examples.slam.steps import cpu_seconds_of
from examples.slam.training_steps import ROOT
from slam_plugin.data.files import atomic_write

Record = dict[str, Any]
RESULTS = ROOT / "examples/slam/study/results.json"
KINDS = ("runs", "comparisons", "alignment", "capacity")
# Log keys of validations that are kept.
PRETRAINING_CURVES = ("own", "rank_top", "ctc_loss", "ctc_cer", "ctc_blanks", "span_mlm_loss", "code_perplexity")
PRETRAINING_CURVES += ("tlm_text_own", "tlm_text_other", "tlm_text_none", "kmeans_accuracy", "contrastive_accuracy")
PRETRAINING_CURVES += ("kmeans_loss", "kmeans_unmasked_loss", "agreement_speech_text")
CURVES = ("loss", "nll_loss", "cer", "wer", "bleu", "listening", "accuracy")


class Cell(NamedTuple):
    """The key of a record: a new record replaces the one with the same key."""

    scale: str
    row: str
    column: str
    pretraining_seed: int
    seed: int


class Places(NamedTuple):
    """Paths of a cell's files.

    Attributes:
        record: file to write.
        pretraining: log; None for a row without pre-training.
        fine_tuning: log.
        output: folder of the decoded test set.
        data: folder of the data.
    """

    record: Path
    pretraining: Path | None
    fine_tuning: Path
    output: Path
    data: Path


def write_record(cell: Cell, places: Places) -> None:
    """Write the record of a finished cell into ``places.record``."""
    # Imported here: the runner must start fast and must not start threads.
    from examples.slam.study.columns import COLUMNS
    from slam_plugin.machine import machine, versions
    from slam_plugin.scoring.text import score

    column, curves = COLUMNS[cell.column], curves_of(places.fine_tuning, CURVES)
    record = {
        **cell._asdict(),
        "commit": commit(),
        "scores": score(*column.output.read(places.output, places.data), column.metrics),
        "curves": curves,
        "pretraining": None if places.pretraining is None else pretraining_of(places.pretraining),
        "cpu_seconds": cpu_seconds_of(places.fine_tuning.parent)[places.fine_tuning.stem],
        "machine": machine(),
        "versions": versions(),
    }
    if "listening" in curves:
        record["scores"]["listening"] = curves["listening"][-1][1]
    with atomic_write(places.record) as file:
        json.dump(record, file, indent=1)


def pretraining_of(log: Path) -> dict[str, Any]:
    """Return the data, the time and the validations of a pre-training."""
    from slam_plugin.data.constants import FRAMES_PER_SECOND
    from slam_plugin.reporting.logs import read_log

    frames, tokens, updates = seen(read_log(log))
    return {
        "updates": updates,
        "audio_seconds": round(frames / FRAMES_PER_SECOND),
        "tokens": round(tokens),
        "cpu_seconds": cpu_seconds_of(log.parent)[log.stem],
        "curves": curves_of(log, PRETRAINING_CURVES),
    }


def seen(records: Iterable[Any]) -> tuple[float, float, int]:
    """Return the 10 ms frames and the tokens of all batches, pairs included, and the updates.

    A log line of an epoch holds means over its updates, also in a resumed run.
    """
    frames = tokens = 0.0
    before = 0
    for record in records:
        if record.subset == "train":
            frames += record.values["frames"] * (record.update - before)
            tokens += record.values["tokens"] * (record.update - before)
            before = record.update
    return frames, tokens, before


def curves_of(log: Path, keys: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
    """Return the (update, value) of each validation, by key, for those of ``keys`` that were logged."""
    from slam_plugin.reporting.logs import read_log, series, validation

    records = read_log(log)
    found = {key: series(records, validation(records), key) for key in keys}
    return {key: points for key, points in found.items() if points}


def commit() -> str | None:
    """Return the repository's commit, followed by + if tracked files differ from it. None outside a repository."""
    git = ["git", "-C", str(ROOT)]
    found = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    if found.returncode != 0:
        return None
    changed = ["status", "--porcelain", "--untracked-files=no", "--", f":!{RESULTS.relative_to(ROOT)}"]
    differs = subprocess.run([*git, *changed], capture_output=True, text=True, check=True).stdout
    return found.stdout.strip() + ("+" if differs else "")


def read(path: Path) -> dict[str, list[Record]]:
    """Return the file's lists of :data:`KINDS`, all empty if there is no file."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {kind: found.get(kind, []) for kind in KINDS}


def merge(path: Path, kind: str, names: Sequence[str], records: Sequence[Record]) -> None:
    """Merge ``records`` into the list ``kind`` of the file. Each replaces the record with equal values of ``names``.

    Several processes may merge into the same file at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read(path)
        found = {_key(record, names): record for record in [*known[kind], *records]}
        known[kind] = [found[key] for key in sorted(found)]
        with atomic_write(path) as file:
            file.write(_one_line_each(known))


def _key(record: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(record[name]) for name in names)


def _one_line_each(known: Mapping[str, Sequence[Record]]) -> str:
    """Return JSON with one line per record, so that a new run is one line of a diff."""
    lists = []
    for name, records in known.items():
        lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
        lists.append(f'"{name}": [\n{lines}\n]' if records else f'"{name}": []')
    return "{" + ",\n".join(lists) + "}\n"
