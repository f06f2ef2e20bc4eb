"""Schedule of a trunk that came from a checkpoint: frozen for the first updates, then a learning rate of its own."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Optional

import torch
from torch.nn import Parameter

from slam_plugin.models.base.warm_start import InheritingTrunkConfig
from slam_plugin.optim.adamw import GroupOptions, set_group


@dataclass
class ScheduledTrunkConfig(InheritingTrunkConfig):
    """A trunk with a schedule of its own."""

    freeze_encoder_updates: int = field(
        default=0, metadata={"help": "freeze the pre-trained encoder for this many updates at the beginning"}
    )
    encoder_lr_scale: float = field(
        default=1.0,
        metadata={
            "help": "learning rate of the encoder, as a multiple of the rest's; needs --optimizer slam_adamw or "
            "slam_muon"
        },
    )
    encoder_warmup_updates: Optional[int] = field(
        default=None,
        metadata={
            "help": "warm-up updates of the encoder (default: as the rest); needs --optimizer slam_adamw or slam_muon, "
            "and --lr-scheduler slam_inverse_sqrt"
        },
    )


class TrunkSchedule:
    """Freezes parameters for the first updates, and marks them as a group with its own learning rate and warm-up.

    A model calls :meth:`set_num_updates` in its own, and :meth:`apply` at the start of a forward pass in training.

    Args:
        parameters: those that have the schedule. The ones that never require gradients are left alone.
        config: read for the three fields of :class:`ScheduledTrunkConfig`, and for ``compile``.
    """

    def __init__(self, parameters: Iterable[Parameter], config: ScheduledTrunkConfig) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._frozen_updates, self._compiled = config.freeze_encoder_updates, config.compile
        self.frozen = self._frozen_updates > 0
        options = GroupOptions("encoder", config.encoder_lr_scale, config.encoder_warmup_updates)
        if options != GroupOptions("encoder"):
            set_group(self.parameters, options)

    def set_num_updates(self, num_updates: int) -> None:
        """Take the number of updates so far."""
        self.frozen = num_updates < self._frozen_updates

    def apply(self) -> None:
        """Make the parameters require gradients, or none while they are frozen.

        Gradients still pass through frozen layers to what is below them. Not in :meth:`set_num_updates`: on a resume
        fairseq calls that before it builds the optimizer, which takes only parameters that require gradients.
        """
        if all(parameter.requires_grad is not self.frozen for parameter in self.parameters):
            return
        for parameter in self.parameters:
            parameter.requires_grad_(not self.frozen)
        if self._compiled:
            # Compiled layers (torch 2.11) do not notice the change: they would never give these parameters gradients.
            torch.compiler.reset()
