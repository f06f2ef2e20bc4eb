"""The mean of a sound's channels, and what makes it useless: numbers that are none, or channels that cancel."""

import numpy as np

from slam_plugin.data.errors import DataError

# Features of samples below it are finite.
_LOUDEST = 1e9
# The mean of channels of opposite phase is that much weaker than they are. Sound below -60 dB is not compared.
_CANCELED = 1e-3
_QUIET = 1e-6


def require_numbers(samples: np.ndarray, name: str) -> None:
    """Raise :class:`DataError` if samples are not finite, or so large that their features would not be."""
    largest = np.abs(samples).max(initial=0.0)
    if not np.isfinite(largest):
        raise DataError(f"{name}: holds samples that are infinite or no number")
    if largest >= _LOUDEST:
        raise DataError(f"{name}: holds samples of up to {largest:.3g}, expected -1 to 1")


class Mixer:
    """Averages the channels of one sound, block by block, and watches what they hold."""

    def __init__(self, name: str, rate: int, channels: int) -> None:
        self.name, self.rate, self.channels = name, rate, channels
        self._samples, self._of_mean, self._of_channels = 0, 0.0, 0.0

    def mean(self, block: np.ndarray) -> np.ndarray:
        """Return the mean (samples,) of the channels of a block (samples, channels)."""
        mean = block[:, 0] if self.channels == 1 else block.mean(axis=1)
        energy = float(np.einsum("i,i", mean, mean))
        # Not require_numbers alone: it takes many times as long, and samples are nearly always small.
        if not energy < _LOUDEST**2:
            require_numbers(mean, self.name)
        if self.channels > 1:
            self._samples += len(block)
            self._of_mean += energy
            self._of_channels += float(np.einsum("ij,ij", block, block)) / self.channels
        return mean

    def finish(self) -> None:
        """Raise :class:`DataError` if the channels cancel each other."""
        if self._of_channels > _QUIET * self._samples and self._of_mean < _CANCELED * self._of_channels:
            raise DataError(
                f"{self.name}: its {self.channels} channels have opposite phase and cancel each other when they are "
                "averaged; name one of them, as FILE:BEGIN:SAMPLES:CHANNEL"
            )
