"""Augmentation of an utterance in training."""

from dataclasses import dataclass

import numpy as np
from torch import FloatTensor, Tensor

from slam_plugin.data.audio import normalize
from slam_plugin.data.perturbation import Perturbation
from slam_plugin.data.randomness import generator
from slam_plugin.data.specaugment import SpecAugment
from slam_plugin.data.state_masks import StateMasks
from slam_plugin.modules.front_end import FrontEnd


@dataclass(frozen=True)
class Augmentation:
    """The steps of augmentation. None leaves one out.

    Args:
        perturbation: speed and noise of the features before they are normalized.
        specaugment: masks of the normalized features.
        masks: masks of the front end's states.
    """

    perturbation: Perturbation | None = None
    specaugment: SpecAugment | None = None
    masks: StateMasks | None = None

    def longest(self, frames: np.ndarray, most: int) -> np.ndarray:
        """Return the maximum number of frames (rows,) that each utterance of ``frames`` (rows,) may get."""
        return frames if self.perturbation is None else self.perturbation.longest(frames, most)

    def __call__(
        self, log_mel: Tensor, bounds: tuple[int, int], front_end: FrontEnd, seed: int, cycle: int, index: int
    ) -> tuple[FloatTensor, dict[str, Tensor]]:
        """Augment log-mel features (frames, 80) by draws that depend on (seed, cycle, index) alone.

        Args:
            bounds: minimum and maximum number of frames after a change of speed.
            front_end: of the model, for the features' normalization and the number of states.
        Returns:
            normalized features (frames, 80), and the masks of :meth:`StateMasks.draw`
        """
        if self.perturbation is not None:
            log_mel = self.perturbation(log_mel, *bounds, generator(seed, "perturbation", cycle, index))
        features = normalize(log_mel, front_end)
        if self.specaugment is not None:
            features = self.specaugment(features, generator(seed, "specaugment", cycle, index))
        if self.masks is None:
            return features, {}
        states = front_end.states_of(len(features))
        return features, self.masks.draw(states, generator(seed, "states", cycle, index))
