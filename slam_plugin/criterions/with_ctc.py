"""``slam_label_smoothed_cross_entropy_with_ctc``: a decoder's loss plus a CTC loss of the transcript."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq import utils
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.logging import metrics
from torch import Tensor, nn

from slam_plugin.criterions.ctc import ctc_losses

NAME = "slam_label_smoothed_cross_entropy_with_ctc"


@dataclass
class WithCtcConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """Options of fairseq's ``label_smoothed_cross_entropy``, and the weight of CTC."""

    ctc_weight: float = field(default=0.3, metadata={"help": "weight of the CTC loss, added to the decoder's loss"})


@register_criterion(NAME, dataclass=WithCtcConfig)
class WithCtcCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy of the translation, plus the weighted CTC loss of the transcript.

    Both are sums over a batch, divided by the number of tokens of the translation, as in fairseq's criterion of that
    kind. Unlike it, this one also takes batches of text, which have no CTC loss, and logs the CTC loss separately: the
    mean over the transcripts' tokens, without the weight.
    """

    def __init__(
        self,
        task: Any,
        sentence_avg: bool,
        label_smoothing: float,
        ignore_prefix_size: int = 0,
        report_accuracy: bool = False,
        ctc_weight: float = 0.3,
    ) -> None:
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        self.ctc_weight = ctc_weight
        dictionary = task.transcript_vocabulary.dictionary
        self.blank, self.transcript_pad = dictionary.bos(), dictionary.pad()

    def forward(self, model: nn.Module, sample: Mapping[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """Return (loss, sample size, logging output).

        Args:
            sample: a batch; if it is of speech, with ``transcript`` (batch, L), padded at the end.
        """
        output = model(**sample["net_input"])
        loss, nll_loss = self.compute_loss(model, output, sample)
        ctc_logs = self._ctc(output[1], sample, loss)
        loss = loss + self.ctc_weight * ctc_logs["ctc_loss"]
        sample_size = len(sample["target"]) if self.sentence_avg else sample["ntokens"]
        logs = {
            "loss": loss.detach(),
            "nll_loss": nll_loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": len(sample["target"]),
            "sample_size": sample_size,
            **ctc_logs,
            "ctc_loss": ctc_logs["ctc_loss"].detach(),
        }
        if self.report_accuracy:
            logs["n_correct"], logs["total"] = map(utils.item, self.compute_accuracy(model, output, sample))
        return loss, sample_size, logs

    def _ctc(self, extra: Mapping[str, Any], sample: Mapping[str, Any], loss: Tensor) -> dict[str, Tensor]:
        """Return the summed CTC loss, its number of tokens and of utterances with too few states, zeros for text."""
        if "ctc_logits" not in extra:
            return dict.fromkeys(("ctc_loss", "ctc_tokens", "infinite"), torch.zeros_like(loss.detach()))
        transcript = sample["transcript"]
        counted = transcript != self.transcript_pad
        losses, has_path = ctc_losses(extra["ctc_logits"], extra["ctc_padding_mask"], transcript, counted, self.blank)
        return {"ctc_loss": losses.sum(), "ctc_tokens": counted[has_path].sum(), "infinite": (~has_path).sum()}

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[Mapping[str, Any]]) -> None:
        """Log fairseq's metrics, ``ctc_loss`` in bits per transcript token, and ``infinite`` as ``slam_ctc`` does."""
        super().reduce_metrics(logging_outputs)
        loss, tokens, infinite = (
            sum(utils.item(log[key]) for log in logging_outputs) for key in ("ctc_loss", "ctc_tokens", "infinite")
        )
        if tokens:
            metrics.log_scalar("ctc_loss", loss / tokens / math.log(2), tokens, round=3)
        if tokens or infinite:  # not of text alone
            metrics.log_scalar_sum("infinite", infinite, priority=50)
