"""A frozen trunk up to one layer, whose states are clustered as in HuBERT's later rounds (Hsu et al. 2021)."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import Tensor, nn

from slam_plugin.data.errors import DataError
from slam_plugin.models.base.presets import architecture
from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.models.base.warm_start import SourceCheckpoint, trunk_weights


class Teacher(nn.Module):
    """States of speech at one Conformer layer, without gradient or dropout, even in training.

    Args:
        trunk: sizes and choices of the whole trunk, from :func:`slam_plugin.models.base.presets.architecture`.
        layer: counted from 0 over the speech encoder's layers and then the shared ones.
    """

    def __init__(self, trunk: Mapping[str, Any], layer: int) -> None:
        super().__init__()
        speech = min(trunk["speech_layers"], layer + 1)
        layers = {"speech_layers": speech, "multimodal_layers": layer + 1 - speech}
        off = dict.fromkeys(("checkpoint_activations", "plain_kernels", "compile", "apex_norm"), False)
        fixed = {**off, "dropout": 0.0, "size": None}
        self.place = "top" if layers["multimodal_layers"] else "speech"
        self.trunk = build_trunk(SimpleNamespace(**{**trunk, **layers, **fixed}), vocab_size=None, padding_idx=0)
        self.front_end = self.trunk.front_end
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def of_checkpoint(cls, source: SourceCheckpoint, layer: int) -> tuple[Self, dict[str, Any]]:
        """Return a teacher made of a checkpoint's trunk, and its constructor's arguments in plain types.

        A negative ``layer`` counts from the last one. Raises :class:`DataError` if there is no such layer or no speech
        side.
        """
        trunk, weights = architecture(source.config), trunk_weights(source)
        count = trunk["speech_layers"] + trunk["multimodal_layers"]
        if "subsampler.project.weight" not in weights:
            raise DataError(f"{source.path}: was fine-tuned on text; clustering needs a trunk with a speech side")
        if not -count <= layer < count:
            raise DataError(
                f"{source.path}: has {count} Conformer layers; found layer {layer}, expected {-count} to {count - 1}"
            )
        arguments = {"trunk": trunk, "layer": layer % count}
        teacher = cls(**arguments)
        teacher.trunk.load_state_dict({name: weights[name] for name in teacher.trunk.state_dict()})
        return teacher, arguments

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, so that the targets have no dropout noise."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, features: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Encode (batch, frames, 80) and (batch, frames), True at padding -> (batch, T, D)."""
        return self.trunk(features, padding_mask, until=self.place).states(self.place)
