"""``slam_transducer``: the transducer loss (Graves 2012, section 2.4), in fp32."""

from collections.abc import Mapping
from typing import Any

import torch
from fairseq.criterions import register_criterion
from torch import Tensor, nn
from torchaudio.functional import rnnt_loss

from slam_plugin.criterions.base import AlignmentConfig, AlignmentCriterion


@register_criterion("slam_transducer", dataclass=AlignmentConfig)
class SlamTransducerCriterion(AlignmentCriterion):
    """Negative log-likelihood of the target over all its alignments, by torchaudio. The blank is ``<s>``.

    Every target has an alignment, even one with more tokens than there are states.

    Memory grows with utterances x states x tokens x symbols, each padded to the longest of its batch. Forward
    and backward pass of the joint network and the loss, with the networks of ``base`` on a CPU, for one utterance of
    15 s (375 states) and 60 tokens: 252 MB with 1024 symbols (226 MB under ``--autocast bf16``), of which one copy of
    the logits is 94 MB; 1.57 GB with 8192 symbols. ``--max-tokens`` limits how many utterances are in a batch.
    """

    def forward(
        self, model: nn.Module, sample: Mapping[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Return (summed loss, sample size, logging output)."""
        target = sample["target"]
        output = model(**sample["net_input"])
        logits = output["logits"].float()
        check_countable(logits)
        counted = self.counted(target)
        tokens = counted.sum(1)
        losses = rnnt_loss(
            logits,
            target[:, :-1].masked_fill(~counted[:, :-1], 0).int(),  # without the </s> at the end of the longest target
            (~output["padding_mask"]).sum(1).int(),
            tokens.int(),
            blank=self.blank,
            reduction="none",
        )
        return self.summed(losses, tokens, reduce)


def check_countable(logits: Tensor) -> None:
    """Raise ValueError if ``logits`` (batch, T, L, symbols) has more elements than torchaudio's loss can index.

    It indexes with 32 bits; beyond them it reads and writes out of bounds (pytorch/audio issue 3736).
    """
    if logits.numel() > torch.iinfo(torch.int32).max:
        utterances, states, tokens, symbols = logits.shape
        raise ValueError(
            f"the transducer loss: found {utterances} utterances x {states} states x {tokens} tokens x {symbols} "
            f"symbols = {logits.numel()} logits, expected fewer than 2**31; lower --max-tokens, "
            "--max-source-positions or --max-target-positions"
        )
