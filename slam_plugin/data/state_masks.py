"""Masks of the front end's states in fine-tuning (wav2vec 2.0, Baevski et al. 2020, section 3.3 and appendix B)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slam_plugin.data.masks import overlapping_spans, span_mask
from slam_plugin.data.padding import pad_stack


@dataclass(frozen=True)
class StateMasks:
    """Masking of an utterance's states: spans of time, and spans of channels over the whole utterance.

    A rate is the expected masked share, as in pre-training. wav2vec 2.0 specifies the share that spans would cover if
    none overlapped: its .65 for spans of 10 is a rate of .49, its .25 for spans of 64 channels a rate of .22.

    Args:
        state_rate, state_span: rate and span, in states, of masks over time. Rate 0 masks none.
        channel_rate, channel_span: rate and span of masks over channels. Rate 0 masks none.
        channels: number of channels of a state.
    """

    state_rate: float
    state_span: int
    channel_rate: float
    channel_span: int
    channels: int

    def __post_init__(self) -> None:
        for name in ("state", "channel"):
            rate, span = getattr(self, f"{name}_rate"), getattr(self, f"{name}_span")
            if not 0 <= rate < 1:
                raise ValueError(f"--{name}-mask-rate: found {rate}, expected a share from 0 to less than 1")
            if span < 1:
                raise ValueError(f"--{name}-mask-span: found {span}, expected 1 or more")

    @property
    def any(self) -> bool:
        """Return whether anything is masked at all."""
        return self.state_rate > 0 or self.channel_rate > 0

    def draw(self, states: int, random: np.random.Generator) -> dict[str, Tensor]:
        """Return the masks of one utterance. They depend on ``random`` and the number of states alone.

        Returns:
            ``state_mask`` (states,) and ``channel_mask`` (channels,), True at masked places, each only if its rate is
            not 0. Every utterance has a masked state and, from two states on, an unmasked one.
        """
        masks = {}
        if self.state_rate > 0:
            masks["state_mask"] = span_mask(random, states, self.state_rate, self.state_span)
        if self.channel_rate > 0:
            # Not span_mask: if spans are nearly as wide as the states, its rule against empty masks would mask more.
            masks["channel_mask"] = overlapping_spans(random, self.channels, self.channel_rate, self.channel_span)
        return {name: torch.from_numpy(mask) for name, mask in masks.items()}


def collate_masks(masks: list[dict[str, Tensor]], states: int) -> dict[str, Tensor]:
    """Return the masks of a batch, (batch, states) and (batch, channels), if its items have any."""
    lengths = {name: states if name == "state_mask" else len(mask) for name, mask in masks[0].items()}
    return {name: pad_stack([item[name] for item in masks], False, length) for name, length in lengths.items()}
