"""Decode several test sets and score them in one table, as the paper does for SpeechStew.

    slam evaluate DATA --checkpoint checkpoint_best.pt --subsets ami_ihm cv wsj --out DIR

``fairseq-generate`` decodes into ``DIR/generate-SUBSET.txt``; the scores are in ``DIR/scores.json`` and
``DIR/scores.md``. A subset is not decoded again as long as checkpoint, data and flags are the same. Other flags are
passed on to ``fairseq-generate``.

Each score has its 95 % interval, by a bootstrap over the sentences; error rates also have the shares of substituted,
deleted and inserted words or characters. With ``--normalizer whisper`` the language of a text is that of its row's
``tgt_lang``, or of ``--language`` if the manifest has no such column.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fairseq_cli.generate
import numpy as np
from fairseq.data.indexed_dataset import MMapIndexedDataset

from slam_plugin import compat
from slam_plugin.commands.scoring import (
    EDITS,
    add_normalizer,
    add_worst,
    aligned_metric,
    between,
    check_normalizer,
    check_worst,
    edit_cells,
    markdown_table,
)
from slam_plugin.data.constants import FRAMES_PER_HOUR
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.text.languages import LANGUAGE_COLUMN
from slam_plugin.program import Program
from slam_plugin.scoring.figures import INTERVALS, Figure, figures_of, mean_of, record_of
from slam_plugin.scoring.normalizer import find_normalizer
from slam_plugin.scoring.text import METRICS, Generated, metric_name, read_generated
from slam_plugin.scoring.worst import worst_view

PLUGIN = Path(__file__).resolve().parents[1]
TAIL_LINES = 20
TEXT_TASK = "slam_translation"  # the task that reads binarized text; the others read manifests
MANIFEST, BINARIZED = ".tsv", (".bin", ".idx")  # suffixes of a split's files; others are derived from them


class Evaluation(NamedTuple):
    """What to decode and how."""

    data: Path
    checkpoint: str  # or several, separated by colons, for an ensemble
    task: str
    flags: tuple[str, ...]  # for fairseq-generate
    out: Path


class Scoring(NamedTuple):
    """The metrics, the normalization of texts, and the number of sentences to show."""

    metrics: tuple[str, ...]
    normalizer: str = "none"
    language: str | None = None  # of texts whose manifest names none
    worst: int | None = None  # sentences to show of each row


class Row(NamedTuple):
    """A row of the table: a test set, its translations into one language, or the average, which has no size."""

    name: str
    utterances: int | None
    hours: float | None  # of speech; None for text
    words: int | None
    figures: tuple[Figure, ...]
    worst: str  # sentences with their alignments, empty unless asked for


def evaluate(evaluation: Evaluation, subsets: Sequence[str], scoring: Scoring) -> list[Row]:
    """Decode the subsets that are not decoded yet, score all, and write ``scores.json`` and ``scores.md``.

    Returns a row for each test set, in the order of ``subsets``, or for each of its languages if ``tgt_lang`` has
    several; then the unweighted average of all rows. Raises :class:`DataError` if a checkpoint or a subset is missing,
    or a generation fails or leaves sentences out.
    """
    files = {subset: _files_of(evaluation.data, subset, evaluation.task) for subset in subsets}
    for subset in subsets:  # before anything is decoded
        _check_normalizer(files[subset], scoring)
    checkpoint = [_digest(path) for path in _checkpoints(evaluation.checkpoint)]
    rows = []
    for number, subset in enumerate(subsets, start=1):
        how = {"task": evaluation.task, "flags": list(evaluation.flags)}
        recipe = {**how, "checkpoint": checkpoint, "data": [_digest(path) for path in files[subset]]}
        generated = evaluation.out / f"generate-{subset}.txt"
        done = _is_done(generated, recipe)
        print(f"[{number}/{len(subsets)}] {subset}{': decoded before' if done else ''}", file=sys.stderr, flush=True)
        if not done:
            _recipe_file(generated).unlink(missing_ok=True)
            _decode(_command(evaluation, subset), subset, evaluation.out)
            with atomic_write(_recipe_file(generated)) as file:
                json.dump(recipe, file, indent=1)
        rows += _score(files[subset], subset, read_generated(generated), scoring)
    rows.append(_average(rows))
    with atomic_write(evaluation.out / "scores.json") as file:
        json.dump([_record(row) for row in rows], file, indent=1)
    with atomic_write(evaluation.out / "scores.md") as file:
        file.write(page(rows) + "\n")
    return rows


def page(rows: Sequence[Row]) -> str:
    """Return the scores as Markdown: their table, that of the kinds of errors, their settings, the worst sentences."""
    parts = [table(rows)]
    if any(figure.edits for row in rows for figure in row.figures):
        parts.append(edits_table(rows))
    parts.append("\n".join(f"- {line}" for line in [*_settings(rows[:-1]), INTERVALS]))
    for row in rows:
        if row.worst:
            indented = "\n".join(f"    {line}".rstrip() for line in row.worst.splitlines())
            parts.append(f"{row.name}, the sentences with the most errors:\n\n{indented}")
    return "\n\n".join(parts)


def table(rows: Sequence[Row]) -> str:
    """Return the rows' sizes and scores, each with its 95 % interval, as a Markdown table."""
    metrics = [cell for figure in rows[0].figures for cell in (metric_name(figure.metric), "95 % interval")]
    cells = [["test set", "utterances", "hours", "words", *metrics]]
    for row in rows:
        sizes = [row.utterances, None if row.hours is None else f"{row.hours:.2f}", row.words]
        sizes = ["" if size is None else str(size) for size in sizes]
        scores = [cell for figure in row.figures for cell in (f"{figure.score:.2f}", between(figure.interval))]
        cells.append([row.name, *sizes, *scores])
    return markdown_table(cells)


def edits_table(rows: Sequence[Row]) -> str:
    """Return the shares of substituted, deleted and inserted words and characters, in percent of the references."""
    cells = [["test set", "rate", *EDITS]]
    cells += [
        [row.name, metric_name(f.metric), *edit_cells(f)] for row in rows for f in row.figures if f.edits is not None
    ]
    return markdown_table(cells)


def _settings(rows: Sequence[Row]) -> list[str]:
    """Return a line for each way that scores were computed in: the metrics, the rows if not all, the settings."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for figure in row.figures:
            found.setdefault(figure.settings, {}).setdefault(metric_name(figure.metric), []).append(row.name)
    lines = []
    for settings, names in found.items():
        of_rows = next(iter(names.values()))
        which = "" if len(of_rows) == len(rows) else f" of {', '.join(of_rows)}"
        lines.append(f"{', '.join(names)}{which}: {settings}")
    return lines


def _record(row: Row) -> dict[str, Any]:
    """Return a row as ``scores.json`` has it."""
    sizes = {"name": row.name, "utterances": row.utterances, "hours": row.hours, "words": row.words}
    return {**sizes, "scores": record_of(row.figures)}


# ---------------------------------------------------------------------------------------------------------------------
# inputs


def _checkpoints(names: str) -> list[Path]:
    paths = [Path(name) for name in names.split(os.pathsep)]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: there is no such checkpoint")
    return paths


def _files_of(data: Path, subset: str, task: str) -> list[Path]:
    """Return the manifest of a split, or the files of its binarized text. If both are there, the task decides."""
    if not data.is_dir():
        raise DataError(f"{data}: there is no such data folder")
    manifests: dict[str, list[Path]] = {}
    texts: dict[str, list[Path]] = {}
    for path in sorted(data.iterdir()):
        if path.suffix == MANIFEST:
            manifests[path.stem] = [path]
        elif path.suffix in BINARIZED:
            texts.setdefault(path.name.partition(".")[0], []).append(path)
    splits = manifests | texts if task == TEXT_TASK else texts | manifests
    if subset not in splits:
        raise DataError(f"{data}: expected the split {subset!r}, found {', '.join(sorted(splits)) or 'none'}")
    return splits[subset]


def _check_normalizer(files: Sequence[Path], scoring: Scoring) -> None:
    """Raise :class:`DataError` if a text of a test set has no normalizer."""
    manifest = Manifest.open(files[0]) if files[0].suffix == MANIFEST else None
    if manifest is None or LANGUAGE_COLUMN not in manifest.columns:
        find_normalizer(scoring.normalizer, scoring.language)
    else:
        for language in manifest.codes(LANGUAGE_COLUMN)[1]:
            find_normalizer(scoring.normalizer, language)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recipe_file(generated: Path) -> Path:
    return generated.with_suffix(".json")


def _is_done(generated: Path, recipe: Mapping[str, Any]) -> bool:
    made_by = _recipe_file(generated)
    try:
        return generated.is_file() and made_by.is_file() and json.loads(made_by.read_bytes()) == recipe
    except ValueError:  # damaged: decode again
        return False


# ---------------------------------------------------------------------------------------------------------------------
# decoding


def _command(evaluation: Evaluation, subset: str) -> list[str]:
    words = ["fairseq-generate", str(evaluation.data), "--user-dir", str(PLUGIN), "--task", evaluation.task]
    words += ["--path", evaluation.checkpoint, "--gen-subset", subset, *evaluation.flags]
    return [*words, "--log-format", "simple", "--results-path", str(_partial(evaluation.out, subset))]


def _partial(out: Path, subset: str) -> Path:
    return out / f".partial-{subset}"


def _decode(command: Sequence[str], subset: str, out: Path) -> None:
    """Run ``command`` in a new process and keep its output. Raises :class:`DataError` with its last lines if it fails.

    The process isolates fairseq's logging, a GPU's memory and crashes from the other subsets. It is a fork, which has
    imported everything already, so nothing in this process may use a GPU before.
    """
    partial, log = _partial(out, subset), out / f"generate-{subset}.log"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    process = multiprocessing.get_context("fork").Process(target=_generate, args=(list(command), log))
    process.start()
    process.join()
    written = partial / f"generate-{subset}.txt"
    if process.exitcode != 0:
        # Once its data is loaded, fairseq logs into the file of its results.
        output = "".join(path.read_text(errors="replace") for path in (written, log) if path.is_file())
        tail = "\n".join(f"  {line}" for line in output.splitlines()[-TAIL_LINES:])
        raise DataError(f"{subset}: {_ended(process.exitcode)}: {shlex.join(command)}\nThe end of its output:\n{tail}")
    os.replace(written, out / written.name)
    shutil.rmtree(partial)


def _generate(command: list[str], log: Path) -> None:
    with open(log, "wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.stdout, sys.stderr = (open(stream, "w", 1, encoding="utf-8", closefd=False) for stream in (1, 2))
    compat.apply()  # lets --user-dir name this very package by whatever path it was imported from
    sys.argv = command
    fairseq_cli.generate.cli_main()


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"


# ---------------------------------------------------------------------------------------------------------------------
# scores


def _score(files: Sequence[Path], subset: str, generated: Sequence[Generated], scoring: Scoring) -> list[Row]:
    """Return the row of a test set, or one for each language that it has translations into."""
    manifest = Manifest.open(files[0]) if files[0].suffix == MANIFEST else None
    expected = _sentences_in(files[0]) if manifest is None else len(manifest)
    if expected != len(generated):
        raise DataError(
            f"{subset}: found {len(generated)} decoded sentences, expected all {expected} of {files[0]}; raise the "
            "length limits that leave some out"
        )
    if manifest is None:
        return [_row(subset, generated, None, scoring)]
    frames = manifest.column("n_frames")
    if LANGUAGE_COLUMN not in manifest.columns:
        return [_row(subset, generated, frames, scoring)]
    codes, languages = manifest.codes(LANGUAGE_COLUMN)
    rows = []
    for code, language in enumerate(languages):
        name = f"{subset} {language}" if len(languages) > 1 else subset
        chosen = [generated[row] for row in np.flatnonzero(codes == code)]
        rows.append(_row(name, chosen, frames[codes == code], scoring._replace(language=language)))
    return rows


def _sentences_in(path: Path) -> int:
    """Return the number of sentences in a file of fairseq's memory-mapped text."""
    return len(MMapIndexedDataset(str(path.with_suffix(""))))


def _row(name: str, generated: Sequence[Generated], frames: np.ndarray | None, scoring: Scoring) -> Row:
    references = [sentence.reference for sentence in generated]
    normalizer = find_normalizer(scoring.normalizer, scoring.language)
    try:
        figures = figures_of([each.hypothesis for each in generated], references, scoring.metrics, normalizer)
    except ValueError as error:
        raise DataError(f"{name}: {error}") from error
    hours = None if frames is None else int(frames.sum()) / FRAMES_PER_HOUR
    words = sum(len(reference.split()) for reference in references)
    metric, worst = aligned_metric(scoring.metrics), ""
    if scoring.worst is not None:
        worst = worst_view(metric, generated, scoring.worst, normalizer)
    return Row(name, len(generated), hours, words, tuple(figures), worst)


def _average(rows: Sequence[Row]) -> Row:
    means = tuple(mean_of(figures) for figures in zip(*(row.figures for row in rows), strict=True))
    return Row("average", None, None, None, means, "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "data", type=Path, help="folder with the test sets: SUBSET.tsv of speech, or SUBSET.A-B.A.bin of text"
    )
    parser.add_argument(
        "--checkpoint", required=True, metavar="FILE[:FILE...]", help="checkpoint, or several for an ensemble"
    )
    parser.add_argument("--subsets", nargs="+", required=True, metavar="SUBSET", help="names of the test sets")
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=["wer", "cer"], help="default: wer cer")
    add_normalizer(parser)
    add_worst(parser)
    parser.add_argument("--beam", type=int, default=5, help="beam size of the search (%(default)s)")
    parser.add_argument(
        "--max-tokens", type=int, default=20000, help="frames or tokens per batch, with padding (%(default)s)"
    )
    parser.add_argument("--task", default="slam_speech_to_text", help="fairseq task that decodes (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for outputs and scores")


def run(options: argparse.Namespace) -> None:
    """Decode, score and print the tables."""
    check_normalizer(options)
    check_worst(options)
    flags = ("--beam", str(options.beam), "--max-tokens", str(options.max_tokens), *options.passed)
    evaluation = Evaluation(options.data, options.checkpoint, options.task, flags, options.out)
    scoring = Scoring(tuple(options.metrics), options.normalizer, options.language, options.worst)
    print(page(evaluate(evaluation, options.subsets, scoring)))


main = Program("slam evaluate", __doc__, add_arguments, run, passes_flags=True)
