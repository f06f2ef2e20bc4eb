"""``slam_ctc``: the CTC loss (Graves et al. 2006), in fp32."""

from collections.abc import Mapping, Sequence
from typing import Any

from fairseq import utils
from fairseq.criterions import register_criterion
from fairseq.logging import metrics
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.criterions.base import AlignmentConfig, AlignmentCriterion
from slam_plugin.modules.ctc_paths import states_needed


@register_criterion("slam_ctc", dataclass=AlignmentConfig)
class SlamCtcCriterion(AlignmentCriterion):
    """Negative log-likelihood of the target over all its paths. The blank is ``<s>``.

    An utterance with fewer states than its target needs has no path and an infinite loss. It is left out of the mean;
    the number of these utterances is logged as ``infinite``.
    """

    def forward(
        self, model: nn.Module, sample: Mapping[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Return (summed loss, sample size, logging output)."""
        target = sample["target"]
        output = model(**{name: value for name, value in sample["net_input"].items() if name != "prev_output_tokens"})
        counted = self.counted(target)
        losses, has_path = ctc_losses(output["logits"], output["padding_mask"], target, counted, self.blank)
        loss, sample_size, log = self.summed(losses[has_path], counted.sum(1)[has_path], reduce)
        return loss, sample_size, {**log, "infinite": (~has_path).sum()}

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[Mapping[str, Any]]) -> None:
        """Log ``loss``, and ``infinite``, the number of utterances without a path."""
        super().reduce_metrics(logging_outputs)
        infinite = sum(utils.item(log["infinite"]) for log in logging_outputs)
        metrics.log_scalar_sum("infinite", infinite, priority=50)


def ctc_losses(
    logits: Tensor, padding_mask: Tensor, target: Tensor, counted: Tensor, blank: int
) -> tuple[Tensor, Tensor]:
    """Return the CTC losses (batch,) in nats, 0 for utterances with too few states, and which ones have enough.

    Args:
        logits: (batch, T, symbols); padding_mask: (batch, T).
        target: (batch, L) symbols; counted: (batch, L) which of them the output must contain.
    """
    states = (~padding_mask).sum(1)
    losses = F.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),
        target[counted],
        states,
        counted.sum(1),
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )
    return losses, states_needed(target, counted) <= states
