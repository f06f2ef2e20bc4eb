"""What losses over alignments share: targets without padding and ``</s>``, their mean, and its logs."""

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
    """Nothing of its own: the loss is a mean over target tokens, or with ``--sentence-avg`` over utterances."""

    sentence_avg: bool = II("optimization.sentence_avg")


class AlignmentCriterion(FairseqCriterion):
    """Negative log-likelihood of the target over all its alignments. The blank is ``<s>``."""

    def __init__(self, task: Any, sentence_avg: bool) -> None:
        super().__init__(task)
        self.sentence_avg = sentence_avg
        dictionary = task.target_dictionary
        self.blank, self.pad, self.eos = dictionary.bos(), dictionary.pad(), dictionary.eos()

    def counted(self, target: Tensor) -> Tensor:
        """Which of targets (batch, L) have to be written: all but padding and ``</s>``."""
        return (target != self.pad) & (target != self.eos)

    def summed(self, losses: Tensor, tokens: Tensor, reduce: bool) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss of losses (batch,) of so many tokens (batch,) each, what it is to be divided by, and sums to log."""
        ntokens, nsentences = int(tokens.sum()), len(losses)
        sample_size = nsentences if self.sentence_avg else ntokens
        loss = losses.sum() if reduce else losses
        log = {"loss": loss.detach(), "ntokens": ntokens, "nsentences": nsentences, "sample_size": sample_size}
        return loss, sample_size, log

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[Mapping[str, Any]]) -> None:
        """``loss`` in bits as in fairseq's other criterions."""
        loss, size = (sum(utils.item(log[key]) for log in logging_outputs) for key in ("loss", "sample_size"))
        metrics.log_scalar("loss", loss / size / math.log(2), size, priority=0, round=3)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
