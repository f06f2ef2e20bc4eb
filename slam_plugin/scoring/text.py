"""Scores of ``fairseq-generate``'s output: CER and WER by jiwer, BLEU and chrF by sacrebleu, accuracy.

References are the file's T- lines, hypotheses its D- lines (detokenized; the first of an n-best list). Error rates are
of the corpus: all edits over the length of all references, so a long sentence counts more than a short one. Accuracy is
the share of sentences that are entirely correct. For error rates and accuracy, both sides are made comparable in the
same way: Unicode NFC, runs of white space replaced by one space, ends stripped. Case and punctuation stay unless a
normalizer removes them (:mod:`slam_plugin.scoring.normalizer`), and the space between words counts as a character. BLEU
and chrF get the text unchanged; their signatures describe what they do to it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sacrebleu.metrics import BLEU, CHRF

from slam_plugin.data.errors import DataError
from slam_plugin.data.lines import lines_in
from slam_plugin.data.text.classes import read_classes
from slam_plugin.scoring.edits import edits_of, total_of
from slam_plugin.scoring.normalizer import UNKNOWN_HYPOTHESIS, UNKNOWN_REFERENCE, comparable

METRICS = ("cer", "wer", "bleu", "chrf", "accuracy")
# In tables; others, such as accuracy, stand as they are
_METRIC_NAMES = {"cer": "CER", "wer": "WER", "bleu": "BLEU", "chrf": "chrF", "f1": "F1", "mcc": "MCC"}
DEFAULT_METRICS = METRICS[:4]  # without accuracy: few sentences of a translation are entirely correct
Scores = dict[str, float | str]

# fairseq writes an unknown symbol as <<unk>> in references and <unk> in hypotheses. Each is replaced by one character,
# a different one, so that it is one error, never a match and never five errors.
_UNKNOWN_REFERENCE, _UNKNOWN_HYPOTHESIS = ("<<unk>>", UNKNOWN_REFERENCE), ("<unk>", UNKNOWN_HYPOTHESIS)


class Generated(NamedTuple):
    """One sentence of a generation file. ``id`` is its row in the data set."""

    id: int
    hypothesis: str
    reference: str


def read_generated(path: str | Path) -> list[Generated]:
    """Return the best hypothesis and the reference of every sentence, in the order of their ids.

    Raises :class:`DataError` if the file has no hypothesis, a malformed line, an id twice (two runs in one file), or
    hypotheses and references of different sentences.
    """
    references: dict[int, str] = {}
    hypotheses: dict[int, str] = {}
    for number, line in enumerate(lines_in(path), start=1):
        kind, fields = line[:2], line.split("\t")
        if kind not in ("T-", "D-"):
            continue
        width = 2 if kind == "T-" else 3
        if len(fields) != width or not fields[0][2:].isdecimal():
            raise DataError(
                f"{path}:{number}: found {line!r}, expected {width} tab-separated fields, the first like {kind}12"
            )
        sentence = int(fields[0][2:])
        if kind == "D-":
            hypotheses.setdefault(sentence, fields[2])
        elif sentence in references:
            raise DataError(f"{path}:{number}: T-{sentence} appears twice; expected the output of one run")
        else:
            references[sentence] = fields[1]
    if not hypotheses:
        raise DataError(f"{path}: found no hypothesis (D- line), expected the output of fairseq-generate")
    if references.keys() != hypotheses.keys():
        odd = sorted(references.keys() ^ hypotheses.keys())
        raise DataError(
            f"{path}: found {len(hypotheses)} hypotheses (D-) and {len(references)} references (T-), expected one of "
            f"each per sentence; {len(odd)} sentences lack one, such as {odd[0]}"
        )
    return [
        Generated(i, hypotheses[i].replace(*_UNKNOWN_HYPOTHESIS), references[i].replace(*_UNKNOWN_REFERENCE))
        for i in sorted(references)
    ]


def cer(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return the character error rate of the corpus in percent, spaces counted as characters."""
    return _error_rate("cer", hypotheses, references)


def wer(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return the word error rate of the corpus in percent. Words are separated by white space."""
    return _error_rate("wer", hypotheses, references)


def accuracy(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return the share of sentences that are entirely correct, in percent."""
    right = [comparable(h) == comparable(r) for h, r in zip(hypotheses, references, strict=True)]
    return 100.0 * sum(right) / len(right)


_OURS = {"cer": cer, "wer": wer, "accuracy": accuracy}


def score(
    hypotheses: Sequence[str], references: Sequence[str], metrics: Sequence[str] = DEFAULT_METRICS
) -> dict[str, float | str]:
    """Return each metric in percent, for BLEU and chrF with ``bleu_signature`` and ``chrf_signature``.

    Raises ValueError for an unknown metric, and if the lists differ in length or are empty.
    """
    check_lengths(hypotheses, references)
    scores: Scores = {}
    for metric in metrics:
        if metric in _OURS:
            scores[metric] = _OURS[metric](hypotheses, references)
        elif metric in ("bleu", "chrf"):
            scorer = scorer_of(metric)
            scores[metric] = scorer.corpus_score(list(hypotheses), [list(references)]).score
            scores[f"{metric}_signature"] = str(scorer.get_signature())
        else:
            raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    return scores


def check_lengths(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Raise ValueError if the lists differ in length or are empty."""
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"found {len(hypotheses)} hypotheses and {len(references)} references, expected equal numbers above 0"
        )


def metric_name(metric: str) -> str:
    """Return a metric's name as tables write it, such as ``chrF`` for ``chrf``."""
    return _METRIC_NAMES.get(metric, metric)


def scorer_of(metric: str, of_sentences: bool = False) -> BLEU | CHRF:
    """Return sacrebleu's scorer of ``bleu`` or ``chrf``. BLEU of sentences counts only the orders that one has."""
    return BLEU(effective_order=of_sentences) if metric == "bleu" else CHRF()


def score_file(path: str | Path, metrics: Sequence[str] = DEFAULT_METRICS) -> Scores:
    """Return :func:`score` of a generation file."""
    generated = read_generated(path)
    return score([each.hypothesis for each in generated], [each.reference for each in generated], metrics)


def classes_of(generated: Sequence[Generated], path: str | Path) -> dict[str, list[Generated]]:
    """Return the sentences of each class that was decoded, by the classes of all rows (see :func:`read_classes`)."""
    names, codes = read_classes(path, generated[-1].id + 1)
    of_class: dict[str, list[Generated]] = {name: [] for name in names}
    for sentence in generated:
        of_class[names[codes[sentence.id]]].append(sentence)
    return {name: found for name, found in of_class.items() if found}


def _error_rate(metric: str, hypotheses: Sequence[str], references: Sequence[str]) -> float:
    return total_of(edits_of(metric, hypotheses, references)).rate
