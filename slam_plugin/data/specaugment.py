"""SpecAugment (Park et al. 2019) without time warping: bands of mel bins and stretches of time are zeroed."""

from dataclasses import dataclass

import numpy as np
from torch import FloatTensor, Tensor


@dataclass(frozen=True)
class SpecAugment:
    """SpecAugment's masks. The defaults are the paper's policy for LibriSpeech, except that short utterances keep more.

    Args:
        freq_masks, freq_width: number of bands, and the maximum number of mel bins in one.
        time_masks, time_width: number of stretches of time, and the maximum number of frames in one.
        time_share: maximum share of the utterance that one stretch covers (the paper's p, 1.0 there for LibriSpeech).
    """

    freq_masks: int = 2
    freq_width: int = 27
    time_masks: int = 2
    time_width: int = 100
    time_share: float = 0.2

    def __call__(self, features: Tensor, random: np.random.Generator) -> FloatTensor:
        """Return a masked copy of the normalized features (frames, bins) of one utterance, before padding.

        Zero is the mean of normalized features. The masks depend on ``random`` and the shape alone.
        """
        masked = features.clone()
        frames, bins = features.shape
        for _ in range(self.freq_masks):
            start, stop = _span(bins, self.freq_width, random)
            masked[:, start:stop] = 0.0
        for _ in range(self.time_masks):
            start, stop = _span(frames, min(self.time_width, int(self.time_share * frames)), random)
            masked[start:stop] = 0.0
        return masked


def _span(size: int, most: int, random: np.random.Generator) -> tuple[int, int]:
    """Return begin and end of a span of 0 to ``most`` positions, drawn uniformly in width and place within ``size``."""
    width = int(random.integers(min(most, size) + 1))
    start = int(random.integers(size - width + 1))
    return start, start + width
