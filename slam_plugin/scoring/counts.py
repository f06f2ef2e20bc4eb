"""Validation metrics of decoded text, kept as sums so that they can be reduced over batches and ranks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairseq import utils
from fairseq.logging import metrics
from sacrebleu.metrics import BLEU

from slam_plugin.scoring.edits import edits_of, total_of
from slam_plugin.scoring.normalizer import comparable

_ORDERS = range(4)
_CORRECT, _SENTENCES = "_correct", "_sentences"


def error_counts(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, int]:
    """Return the edits and the reference's length, in words and in characters."""
    words, characters = (total_of(edits_of(metric, hypotheses, references)) for metric in ("wer", "cer"))
    return {
        "_word_errors": words.errors,
        "_words": words.length,
        "_char_errors": characters.errors,
        "_chars": characters.length,
    }


def bleu_counts(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, int]:
    """Return BLEU's statistics: matches and totals of n-grams, and both lengths (sacrebleu, 13a, case kept)."""
    bleu = BLEU().corpus_score(list(hypotheses), [list(references)])
    counts = {f"_bleu_match_{n}": int(bleu.counts[n]) for n in _ORDERS}
    totals = {f"_bleu_total_{n}": int(bleu.totals[n]) for n in _ORDERS}
    return {**counts, **totals, "_bleu_sys_len": int(bleu.sys_len), "_bleu_ref_len": int(bleu.ref_len)}


def accuracy_counts(
    hypotheses: Sequence[str], references: Sequence[str], names: Sequence[str] = (), codes: Sequence[int] = ()
) -> dict[str, int]:
    """Return the number of correct sentences (equal as a whole, once made comparable) and of all.

    Also for each class of ``names``, even those that the batch does not have: all ranks must log the same keys.

    Args:
        codes: (batch,) class of each sentence, an index into ``names``.
    """
    right = [comparable(h) == comparable(r) for h, r in zip(hypotheses, references, strict=True)]
    counts = {_CORRECT: sum(right), _SENTENCES: len(right)}
    for code, name in enumerate(names):
        of_class = [correct for correct, other in zip(right, codes, strict=True) if other == code]
        counts.update({f"{_CORRECT}_{name}": sum(of_class), f"{_SENTENCES}_{name}": len(of_class)})
    return counts


def log_errors(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log ``wer`` and ``cer``, in percent, from summed :func:`error_counts`."""
    if log_sums(logging_outputs, ("_word_errors", "_words", "_char_errors", "_chars")):
        metrics.log_derived("wer", _rate("_word_errors", "_words"))
        metrics.log_derived("cer", _rate("_char_errors", "_chars"))


def log_accuracy(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log ``accuracy``, and ``accuracy_CLASS`` of each class, in percent, from summed :func:`accuracy_counts`."""
    suffixes = [name.removeprefix(_CORRECT) for name in next(iter(logging_outputs), {}) if name.startswith(_CORRECT)]
    for suffix in suffixes:
        names = _CORRECT + suffix, _SENTENCES + suffix
        if log_sums(logging_outputs, names):
            metrics.log_derived("accuracy" + suffix, _rate(*names))


def log_bleu(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log ``bleu`` from summed :func:`bleu_counts`."""
    names = [f"_bleu_{kind}_{n}" for kind in ("match", "total") for n in _ORDERS]
    if log_sums(logging_outputs, (*names, "_bleu_sys_len", "_bleu_ref_len")):
        metrics.log_derived("bleu", _bleu)


def log_sums(logging_outputs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bool:
    """Log the sum of each name. Return False if nothing was counted, as in training.

    Sums are plain numbers, not tensors: checkpoints hold the meters.
    """
    if not any(names[0] in log for log in logging_outputs):
        return False
    for name in names:
        metrics.log_scalar_sum(name, sum(utils.item(log.get(name, 0)) for log in logging_outputs))
    return True


def _rate(errors: str, total: str) -> Callable[[Mapping[str, Any]], float]:
    def rate(meters: Mapping[str, Any]) -> float:
        return round(100.0 * meters[errors].sum / max(meters[total].sum, 1), 2)

    return rate


def _bleu(meters: Mapping[str, Any]) -> float:
    def count(name: str) -> int:
        return round(meters["_bleu_" + name].sum)  # a float after a sum over ranks, which sacrebleu refuses

    bleu = BLEU.compute_bleu(
        correct=[count(f"match_{n}") for n in _ORDERS],
        total=[count(f"total_{n}") for n in _ORDERS],
        sys_len=count("sys_len"),
        ref_len=count("ref_len"),
        smooth_method="exp",
    )
    return round(bleu.score, 2)
