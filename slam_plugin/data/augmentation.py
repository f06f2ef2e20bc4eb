"""What training does to an utterance, by draws of its own."""

from dataclasses import dataclass

from torch import FloatTensor, Tensor

from slam_plugin.data.audio import normalize
from slam_plugin.data.randomness import generator
from slam_plugin.data.specaugment import SpecAugment
from slam_plugin.data.state_masks import StateMasks
from slam_plugin.modules.subsampler import subsampled_length


@dataclass(frozen=True)
class Augmentation:
    """The steps of augmentation; None leaves one out.

    Args:
        specaugment: masks of the normalized features.
        masks: of the states that the front end makes of them.
    """

    specaugment: SpecAugment | None = None
    masks: StateMasks | None = None

    def __call__(self, log_mel: Tensor, seed: int, cycle: int, index: int) -> tuple[FloatTensor, dict[str, Tensor]]:
        """Augment log-mel features (frames, 80) by draws that depend on (seed, cycle, index) alone.

        Returns:
            normalized features (frames, 80), and the masks of :meth:`StateMasks.draw`
        """
        features = normalize(log_mel)
        if self.specaugment is not None:
            features = self.specaugment(features, generator(seed, "specaugment", cycle, index))
        if self.masks is None:
            return features, {}
        return features, self.masks.draw(subsampled_length(len(features)), generator(seed, "states", cycle, index))
