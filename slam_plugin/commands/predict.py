"""Predict the classes or numbers of a binarized data folder, score them, and write them in GLUE's format.

    slam predict DATA --checkpoint FILE --subset test [--out FOLDER [--glue MNLI-m]] [--json]

``DATA`` is a data folder of ``slam_sentence_prediction``; its vocabulary and labels may be missing, the checkpoint has
them. If the subset has labels, scores are printed in percent: accuracy, Matthews' correlation and, for two classes, F1;
for numbers, Pearson's and Spearman's correlation. ``cut`` is the number of rows that were too long for the model.
``--out`` writes ``FOLDER/SUBSET.tsv`` (with ``--glue``: ``FOLDER/MNLI-m.tsv``, if the labels are those of the
benchmark) with the columns ``index``, from 0, and ``prediction``, in the folder's order.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from torch import Tensor, nn

from slam_plugin.commands.inputs import add_device
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.program import Program, UsageError
from slam_plugin.tasks.sentence_prediction import SlamSentencePredictionTask

BATCH_TOKENS = 4000

# Labels in the submission file of each task; STS-B has numbers.
_ENTAILMENT = {"entailment", "neutral", "contradiction"}
GLUE: dict[str, set[str]] = {
    "MNLI-m": _ENTAILMENT,
    "MNLI-mm": _ENTAILMENT,
    "QNLI": {"entailment", "not_entailment"},
    "QQP": {"0", "1"},
    "SST-2": {"0", "1"},
    "STS-B": set(),
}


class Predicted(NamedTuple):
    """Predictions in row order, with the references (None if unlabeled)."""

    predictions: Tensor  # (rows,)
    targets: Tensor | None  # (rows,)


def load_classifier(
    path: str | Path, data: str | Path, device: str = "auto", bf16: bool = False
) -> tuple[SlamSentencePredictionTask, nn.Module]:
    """Return the model of a checkpoint and its task, with ``data`` as the task's data folder.

    Raises :class:`DataError` if the checkpoint is of another task, or the folder has another vocabulary or labels.

    Args:
        bf16: compute matrix products in bf16, whatever the model was trained with.
    """
    checkpoint = Checkpoint.load(path, device, bf16)
    checkpoint.require("classify")
    config = copy.copy(checkpoint.task.cfg)
    config.data = str(data)
    task = SlamSentencePredictionTask.setup_task(config)
    task.load_state_dict(checkpoint.task.state_dict())
    return task, checkpoint.model


def predict(task: SlamSentencePredictionTask, model: nn.Module, subset: str) -> Predicted:
    """Predict every row of a subset of the task's data folder, in batches of similar length."""
    task.load_dataset(subset)
    dataset = task.dataset(subset)
    batches = task.get_batch_iterator(dataset, max_tokens=max(BATCH_TOKENS, task.max_positions()))
    device = next(model.parameters()).device
    predictions = torch.empty(len(dataset), dtype=torch.float32 if task.regresses else torch.int64)
    with torch.no_grad():
        for batch in batches.next_epoch_itr(shuffle=False):
            outputs = task.predict(model, batch["net_input"]["src_tokens"].to(device))
            predictions[batch["id"]] = (outputs if task.regresses else outputs.argmax(1)).cpu()
    return Predicted(predictions, dataset.targets)


def score(predicted: Predicted, positive: int | None, regresses: bool) -> dict[str, float]:
    """Return scores in percent of predictions with references. F1 is that of the class ``positive``.

    The correlation with a constant, or of one row, is undefined and counts as 0. scipy warns of a constant.
    """
    found, true = predicted.predictions.numpy(), predicted.targets.numpy()
    if regresses:
        scores = {
            name: correlation(found, true)[0] if len(true) > 1 else 0.0
            for name, correlation in (("pearson", pearsonr), ("spearman", spearmanr))
        }
    else:
        scores = {"accuracy": accuracy_score(true, found), "mcc": matthews_corrcoef(true, found)}
        if positive is not None:
            scores["f1"] = f1_score(true == positive, found == positive, zero_division=0.0)
    return {name: 100.0 * float(np.nan_to_num(value)) for name, value in scores.items()}


def write_predictions(path: Path, task: SlamSentencePredictionTask, predictions: Tensor) -> None:
    """Write ``index`` and ``prediction`` of each row, tab-separated, with a header."""
    values = predictions.tolist()
    shown = [f"{value:.3f}" for value in values] if task.regresses else [task.labels[value] for value in values]
    with atomic_write(path) as file:
        file.write("index\tprediction\n")
        file.writelines(f"{row}\t{prediction}\n" for row, prediction in enumerate(shown))


def check_glue(name: str, task: SlamSentencePredictionTask) -> None:
    """Raise :class:`DataError` unless the model's labels are those of the GLUE task ``name``."""
    found = set(task.labels or ())
    if found != GLUE[name]:
        named = [", ".join(sorted(labels)) or "numbers" for labels in (found, GLUE[name])]
        raise DataError(f"{task.cfg.path}: predicts {named[0]}; GLUE expects {named[1]} for {name}")


def run(options: argparse.Namespace) -> None:
    """Predict, score, write the predictions, and print the scores."""
    if options.glue and not options.out:
        raise UsageError("--glue: found without --out, expected both: it names the file in --out FOLDER")
    result = _result(options)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:10s} {value:.2f}" if isinstance(value, float) else f"{name:10s} {value}")


def _result(options: argparse.Namespace) -> dict[str, Any]:
    task, model = load_classifier(options.checkpoint, options.data, options.device, options.bf16)
    if options.glue:
        check_glue(options.glue, task)
    predicted = predict(task, model, options.subset)
    dataset = task.dataset(options.subset)
    result: dict[str, Any] = {"subset": options.subset, "rows": len(dataset), "cut": dataset.cut}
    if predicted.targets is not None:
        result |= score(predicted, task.positive, task.regresses)
    if options.out:
        path = options.out / f"{options.glue or options.subset}.tsv"
        write_predictions(path, task, predicted.predictions)
        result["written"] = str(path)
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with input0/ (and input1/ for pairs), label/")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="checkpoint of slam_sentence_prediction"
    )
    parser.add_argument("--subset", default="test", help="subset to predict (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder to write the predictions to, as .tsv")
    parser.add_argument("--glue", choices=GLUE, help="name the file in --out for this task of the GLUE benchmark")
    parser.add_argument("--json", action="store_true", help="print the scores as a JSON object")
    add_device(parser)


main = Program("slam predict", __doc__, add_arguments, run)
