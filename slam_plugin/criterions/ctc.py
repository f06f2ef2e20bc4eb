"""``slam_ctc``: the CTC loss (Graves et al. 2006), in fp32."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairseq import utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from omegaconf import II
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class SlamCtcConfig(FairseqDataclass):
    """Nothing of its own: the loss is a mean over target tokens, or with ``--sentence-avg`` over utterances."""

    sentence_avg: bool = II("optimization.sentence_avg")


@register_criterion("slam_ctc", dataclass=SlamCtcConfig)
class SlamCtcCriterion(FairseqCriterion):
    """Negative log-likelihood of the target over all its paths. The blank is ``<s>``.

    An utterance with fewer states than its target needs has no path and an infinite loss. It counts as zero loss and is
    logged as ``infinite``.
    """

    def __init__(self, task: Any, sentence_avg: bool) -> None:
        super().__init__(task)
        self.sentence_avg = sentence_avg
        dictionary = task.target_dictionary
        self.blank, self.pad, self.eos = dictionary.bos(), dictionary.pad(), dictionary.eos()

    def forward(
        self, model: nn.Module, sample: Mapping[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """The summed loss, what it is to be divided by, and sums to log."""
        inputs, target = sample["net_input"], sample["target"]
        output = model(inputs["features"], inputs["padding_mask"])
        log_probs = output["logits"].float().log_softmax(-1)
        states = (~output["padding_mask"]).sum(1)
        counted = (target != self.pad) & (target != self.eos)
        tokens = counted.sum(1)
        losses = F.ctc_loss(
            log_probs.transpose(0, 1),
            target[counted],
            states,
            tokens,
            blank=self.blank,
            reduction="none",
            zero_infinity=True,
        )
        ntokens, nsentences = int(tokens.sum()), len(target)
        sample_size = nsentences if self.sentence_avg else ntokens
        loss = losses.sum() if reduce else losses
        log = {
            "loss": loss.detach(),
            "infinite": (states_needed(target, counted) > states).sum(),
            "ntokens": ntokens,
            "nsentences": nsentences,
            "sample_size": sample_size,
        }
        return loss, sample_size, log

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[Mapping[str, Any]]) -> None:
        """``loss`` in bits as in fairseq's other criterions, ``infinite`` as a number of utterances."""
        loss, infinite, size = (
            sum(utils.item(log[key]) for log in logging_outputs) for key in ("loss", "infinite", "sample_size")
        )
        metrics.log_scalar("loss", loss / size / math.log(2), size, priority=0, round=3)
        metrics.log_scalar_sum("infinite", infinite, priority=50)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True


def states_needed(target: Tensor, counted: Tensor) -> Tensor:
    """Fewest states (batch,) that have a path for targets (batch, L): one a token, and a blank between equal ones."""
    repeats = (target[:, 1:] == target[:, :-1]) & counted[:, 1:] & counted[:, :-1]
    return counted.sum(1) + repeats.sum(1)


def needed_by(tokens: Tensor) -> int:
    """:func:`states_needed` of one target (L,)."""
    return len(tokens) + int((tokens[1:] == tokens[:-1]).sum())
