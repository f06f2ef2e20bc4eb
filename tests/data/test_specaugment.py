import numpy as np
import torch

from slam_plugin.data.randomness import generator
from slam_plugin.data.specaugment import SpecAugment


def ones(frames=300, bins=80):
    return torch.ones(frames, bins)


def masked_bands(masked):
    """Count fully masked mel bins and fully masked frames."""
    return int((masked == 0).all(0).sum()), int((masked == 0).all(1).sum())


def test_same_key_same_mask_and_other_keys_other_masks():
    augment = SpecAugment()
    once = augment(ones(), generator(1, "specaugment", 1, 5))
    assert torch.equal(once, augment(ones(), generator(1, "specaugment", 1, 5)))
    for key in ((2, "specaugment", 1, 5), (1, "specaugment", 2, 5), (1, "specaugment", 1, 6)):
        assert not torch.equal(once, augment(ones(), generator(*key)))


def test_input_is_left_as_it_is_and_the_rest_is_untouched():
    features = torch.randn(200, 80, generator=torch.Generator().manual_seed(0))
    before = features.clone()
    masked = SpecAugment()(features, np.random.default_rng(0))
    assert torch.equal(features, before)
    assert torch.equal(masked[masked != 0], before[masked != 0])
    assert (masked == 0).any()


def test_masks_are_whole_bands_within_their_limits():
    for seed in range(200):
        bins, frames = masked_bands(SpecAugment(1, 27, 1, 100, 0.2)(ones(), np.random.default_rng(seed)))
        assert bins <= 27
        assert frames <= 60
        only_time = SpecAugment(0, 0, 1, 100, 1.0)(ones(), np.random.default_rng(seed))
        assert masked_bands(only_time)[1] * 80 == int((only_time == 0).sum())


def test_widths_and_places_are_uniform():
    """The mean width is 27 / 2, and the probability of masking a bin equals the closed form."""
    augment = SpecAugment(1, 27, 0, 0, 0.0)
    trials = 4000
    hits = sum((augment(ones(1), np.random.default_rng(seed))[0] == 0).double() for seed in range(trials)) / trials
    expected = torch.zeros(80, dtype=torch.float64)
    for width in range(28):
        for start in range(80 - width + 1):
            expected[start : start + width] += 1 / 28 / (80 - width + 1)
    assert abs(float(hits.sum()) - 13.5) < 0.5
    assert float((hits - expected).abs().max()) < 5 * (0.25 / trials) ** 0.5


def test_short_utterances_keep_most_of_their_time():
    for seed in range(100):
        _, frames = masked_bands(SpecAugment(0, 0, 2, 100, 0.2)(ones(10), np.random.default_rng(seed)))
        assert frames <= 4


def test_an_utterance_shorter_than_the_widest_mask_is_no_error():
    SpecAugment(2, 200, 2, 100, 1.0)(ones(1, 5), np.random.default_rng(0))
