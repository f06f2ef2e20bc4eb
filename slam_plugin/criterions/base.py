"""The base of criterions over alignments (CTC, transducer): targets, the mean loss, and its logs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from omegaconf import II
from torch import Tensor


@dataclass
class AlignmentConfig(FairseqDataclass):
    """No options of its own: the loss is a mean over target tokens, or with ``--sentence-avg`` over utterances."""

    sentence_avg: bool = II("optimization.sentence_avg")


class AlignmentCriterion(FairseqCriterion):
    """Negative log-likelihood of the target over all its alignments. The blank is ``<s>``."""

    def __init__(self, task: Any, sentence_avg: bool) -> None:
        super().__init__(task)
        self.sentence_avg = sentence_avg
        dictionary = task.target_dictionary
        self.blank, self.pad, self.eos = dictionary.bos(), dictionary.pad(), dictionary.eos()

    def counted(self, target: Tensor) -> Tensor:
        """Return which targets (batch, L) count: all but padding and ``</s>``."""
        return (target != self.pad) & (target != self.eos)

    def summed(self, losses: Tensor, tokens: Tensor, reduce: bool) -> tuple[Tensor, int, dict[str, Any]]:
        """Return (summed loss, sample size, logging output) for losses (batch,) over tokens (batch,)."""
        ntokens, nsentences = int(tokens.sum()), len(losses)
        sample_size = nsentences if self.sentence_avg else ntokens
        loss = losses.sum() if reduce else losses
        log = {"loss": loss.detach(), "ntokens": ntokens, "nsentences": nsentences, "sample_size": sample_size}
        return loss, sample_size, log

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[Mapping[str, Any]]) -> None:
        """Log ``loss`` in bits, as fairseq's other criterions do; no loss if nothing counted."""
        loss, size = (sum(utils.item(log[key]) for log in logging_outputs) for key in ("loss", "sample_size"))
        if size:
            metrics.log_scalar("loss", loss / size / math.log(2), size, priority=0, round=3)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
