"""Speech pre-training with this project's model, criterion and optimizer."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from slam_plugin.criterions.pretraining import SlamPretrainingCriterion
from slam_plugin.models.base.trunk import autocast
from slam_plugin.models.pretraining import SlamPretraining, SlamPretrainingConfig
from slam_plugin.modules.rotary import rotary_angles
from slam_plugin.modules.trunk import Encoded
from slam_plugin.objectives.base import MaskedPass
from slam_plugin.optim.adamw import SlamAdamW, SlamAdamWConfig


def build(size: str, bf16: bool) -> SlamPretraining:
    """Return the model with the defaults of both speech objectives, rotary positions, and an unused vocabulary."""
    config = SlamPretrainingConfig(size=size, positions="rotary", dropout=0.0, autocast="bf16" if bf16 else "none")
    objectives = {name: SimpleNamespace(weight=1.0, options={}) for name in ("contrastive", "masked_prediction")}
    task = SimpleNamespace(
        source_dictionary=Dictionary(),
        corpora=SimpleNamespace(objectives=objectives),
        vocabulary=SimpleNamespace(hash="00"),
    )
    return SlamPretraining.build_model(config, task).train()


class OurStep:
    """Forward, losses, backward and update."""

    def __init__(self, size: str, bf16: bool) -> None:
        self.model, self.criterion = build(size, bf16), SlamPretrainingCriterion(None)
        self.optimizer = SlamAdamW(SlamAdamWConfig(lr=[1e-4], weight_decay=0.01), self.model.parameters())

    def __call__(self, batch: Mapping[str, Any]) -> float:
        """Run a step and return the loss before the update."""
        loss, _, _ = self.criterion(self.model, batch)
        self.optimizer.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def parts(self, batch: Mapping[str, Any]) -> dict[str, Callable[[], object]]:
        """Return calls that each run a part of the step, forward and backward, on the output of the part before it."""
        model, trunk = self.model, self.model.trunk
        features, frame_padding = batch["features"], batch["feature_padding_mask"]
        with torch.no_grad(), self._autocast():
            states, padding = trunk.subsampler(features, frame_padding)
            encoded = Encoded(subsampled=states, context=states, speech=states, speech_padding_mask=padding)
            targets = model.objectives["contrastive"].targets(self._view(batch, encoded))
        leaf = states.detach().requires_grad_()
        stack = nn.ModuleList((*trunk.speech_layers, *trunk.multimodal_layers))

        def front_end() -> Sequence[Tensor]:
            with self._autocast():
                out, _ = trunk.subsampler(features, frame_padding)
            return torch.autograd.grad(out, list(trunk.subsampler.parameters()), states)

        def layers() -> Sequence[Tensor]:
            rotation = rotary_angles(torch.arange(states.size(1)), trunk.head_dim)
            with self._autocast():
                out = leaf
                for layer in stack:
                    out = layer(out, padding, rotation)
            return torch.autograd.grad(out, [leaf, *stack.parameters()], states.to(out.dtype))

        def objective(name: str, **cache: Any) -> Sequence[Tensor]:
            view = self._view(batch, encoded._replace(context=leaf, speech=leaf), **cache)
            with self._autocast():
                loss = model.objectives[name](view).loss
            return torch.autograd.grad(loss, [leaf, *model.objectives[name].parameters()])

        self.criterion(model, batch)[0].backward()  # gradients for the optimizer
        return {
            "front end": front_end,
            "layers": layers,
            "quantizer and contrast": lambda: objective("contrastive"),
            "masked prediction": lambda: objective("masked_prediction", speech_targets=targets),
            "optimizer": self.optimizer.step,
        }

    def _autocast(self) -> contextlib.AbstractContextManager:
        return autocast(self.model.config, torch.device("cpu"))

    @staticmethod
    def _view(batch: Mapping[str, Any], encoded: Encoded, **cache: Any) -> MaskedPass:
        generator = torch.Generator().manual_seed(batch["seed"])
        return MaskedPass(batch, lambda name: encoded, generator, training=True, cache=cache)
