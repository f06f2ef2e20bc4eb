"""Decode several test sets and score them in one table, as the paper does for SpeechStew.

    slam evaluate DATA --checkpoint checkpoint_best.pt --subsets ami_ihm cv wsj --out DIR

``fairseq-generate`` decodes into ``DIR/generate-SUBSET.txt``; the scores are in ``DIR/scores.json`` and
``DIR/scores.md``. A subset is not decoded again as long as checkpoint, data and flags are the same. Other flags are
passed on to ``fairseq-generate``.
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
from slam_plugin.data.constants import FRAMES_PER_HOUR
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.text.languages import LANGUAGE_COLUMN
from slam_plugin.program import Program
from slam_plugin.scoring.text import METRICS, Generated, comparable, read_generated, score

PLUGIN = Path(__file__).resolve().parents[1]
TAIL_LINES = 20
SPLIT_SUFFIXES = (".tsv", ".bin", ".idx")  # of a split's files; others are derived from them


class Evaluation(NamedTuple):
    """What to decode and how."""

    data: Path
    checkpoint: str  # or several, separated by colons, for an ensemble
    task: str
    flags: tuple[str, ...]  # for fairseq-generate
    out: Path


class Row(NamedTuple):
    """A row of the table: a test set, its translations into one language, or the average, which has no size."""

    name: str
    utterances: int | None
    hours: float | None  # of speech; None for text
    words: int | None
    scores: Mapping[str, Any]


def evaluate(evaluation: Evaluation, subsets: Sequence[str], metrics: Sequence[str]) -> list[Row]:
    """Decode the subsets that are not decoded yet, score all, and write ``scores.json`` and ``scores.md``.

    Returns a row for each test set, in the order of ``subsets``, or for each of its languages if ``tgt_lang`` has
    several; then the unweighted average of all rows. Raises :class:`DataError` if a checkpoint or a subset is missing,
    or a generation fails or leaves sentences out.
    """
    files = {subset: _files_of(evaluation.data, subset) for subset in subsets}
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
        rows += _score(files[subset], subset, read_generated(generated), metrics)
    rows.append(_average(rows, metrics))
    with atomic_write(evaluation.out / "scores.json") as file:
        json.dump([row._asdict() for row in rows], file, indent=1)
    with atomic_write(evaluation.out / "scores.md") as file:
        file.write(table(rows, metrics) + "\n")
    return rows


def table(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Return the rows as a Markdown table with aligned columns."""
    cells = [["test set", "utterances", "hours", "words", *(metric.upper() for metric in metrics)]]
    for row in rows:
        sizes = [row.utterances, None if row.hours is None else f"{row.hours:.2f}", row.words]
        sizes = ["" if size is None else str(size) for size in sizes]
        cells.append([row.name, *sizes, *(f"{row.scores[metric]:.2f}" for metric in metrics)])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    cells.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    lines = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in cells
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# ---------------------------------------------------------------------------------------------------------------------
# inputs


def _checkpoints(names: str) -> list[Path]:
    paths = [Path(name) for name in names.split(os.pathsep)]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: there is no such checkpoint")
    return paths


def _files_of(data: Path, subset: str) -> list[Path]:
    """Return the manifest of a split, or the files of its binarized text."""
    if not data.is_dir():
        raise DataError(f"{data}: there is no such data folder")
    splits: dict[str, list[Path]] = {}
    for path in sorted(data.iterdir()):
        name, dot, _ = path.name.partition(".")
        if dot and path.suffix in SPLIT_SUFFIXES:
            splits.setdefault(name, []).append(path)
    if subset not in splits:
        raise DataError(f"{data}: expected the split {subset!r}, found {', '.join(splits) or 'none'}")
    return splits[subset]


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


def _score(files: Sequence[Path], subset: str, generated: Sequence[Generated], metrics: Sequence[str]) -> list[Row]:
    """Return the row of a test set, or one for each language that it has translations into."""
    manifest = Manifest.open(files[0]) if files[0].suffix == ".tsv" else None
    expected = _sentences_in(files[0]) if manifest is None else len(manifest)
    if expected != len(generated):
        raise DataError(
            f"{subset}: found {len(generated)} decoded sentences, expected all {expected} of {files[0]}; raise the "
            "length limits that leave some out"
        )
    if manifest is None:
        return [_row(subset, generated, None, metrics)]
    frames = manifest.column("n_frames")
    if LANGUAGE_COLUMN not in manifest.columns:
        return [_row(subset, generated, frames, metrics)]
    codes, languages = manifest.codes(LANGUAGE_COLUMN)
    names = [f"{subset} {language}" for language in languages] if len(languages) > 1 else [subset]
    return [
        _row(name, [generated[row] for row in np.flatnonzero(codes == code)], frames[codes == code], metrics)
        for code, name in enumerate(names)
    ]


def _sentences_in(path: Path) -> int:
    """Return the number of sentences in a file of fairseq's memory-mapped text."""
    return len(MMapIndexedDataset(str(path.with_suffix(""))))


def _row(name: str, generated: Sequence[Generated], frames: np.ndarray | None, metrics: Sequence[str]) -> Row:
    references = [sentence.reference for sentence in generated]
    words = sum(len(comparable(reference).split()) for reference in references)
    scores = score([sentence.hypothesis for sentence in generated], references, metrics)
    return Row(name, len(generated), None if frames is None else int(frames.sum()) / FRAMES_PER_HOUR, words, scores)


def _average(rows: Sequence[Row], metrics: Sequence[str]) -> Row:
    means = {metric: sum(row.scores[metric] for row in rows) / len(rows) for metric in metrics}
    return Row("average", None, None, None, means)


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
    parser.add_argument("--beam", type=int, default=5, help="beam size of the search (%(default)s)")
    parser.add_argument(
        "--max-tokens", type=int, default=20000, help="frames or tokens per batch, with padding (%(default)s)"
    )
    parser.add_argument("--task", default="slam_speech_to_text", help="fairseq task that decodes (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for outputs and scores")


def run(options: argparse.Namespace) -> None:
    """Decode, score and print the table."""
    flags = ("--beam", str(options.beam), "--max-tokens", str(options.max_tokens), *options.passed)
    evaluation = Evaluation(options.data, options.checkpoint, options.task, flags, options.out)
    print(table(evaluate(evaluation, options.subsets, options.metrics), options.metrics))


main = Program("slam evaluate", __doc__, add_arguments, run, passes_flags=True)
