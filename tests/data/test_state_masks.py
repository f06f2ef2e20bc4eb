import math

import numpy as np
import pytest
import torch

from slam_plugin.data.augmentation import Augmentation
from slam_plugin.data.masks import runs
from slam_plugin.data.specaugment import SpecAugment
from slam_plugin.data.state_masks import StateMasks, collate_masks
from slam_plugin.modules.front_end import FrontEnd

COUNT = 4000


def drawn(masks, states, count=COUNT, seed=0):
    random = np.random.default_rng(seed)
    return [masks.draw(states, random) for _ in range(count)]


@pytest.mark.parametrize(("rate", "span"), [(0.65, 10), (0.5, 5), (0.2, 1)])
def test_states_are_masked_in_spans_at_their_rate(rate, span):
    found = torch.stack([each["state_mask"] for each in drawn(StateMasks(rate, span, 0.0, 1, 8), 200)]).numpy()
    assert found.dtype == bool and found.shape == (COUNT, 200)
    assert abs(found.mean() - rate) < 4.5 * math.sqrt(rate * (1 - rate) / COUNT * span / 200)
    inner = [end - begin for mask in found[:500] for begin, end in runs(mask) if begin > 0 and end < 200]
    assert min(inner) == span


@pytest.mark.parametrize(("rate", "span", "channels"), [(0.25, 64, 160), (0.25, 64, 1024), (0.1, 3, 32)])
def test_channels_are_masked_at_their_rate_however_wide_the_spans(rate, span, channels):
    """Also if there is hardly room for two spans, as in the size tiny."""
    found = torch.stack([each["channel_mask"] for each in drawn(StateMasks(0.0, 1, rate, span, channels), 50)])
    assert found.shape == (COUNT, channels)
    assert abs(found.double().mean() - rate) < 4.5 * math.sqrt(rate * (1 - rate) / COUNT * min(1, span / channels))
    deviation = math.sqrt(rate * (1 - rate) / COUNT)
    assert (found.double().mean(0) - rate).abs().max() < 4.5 * deviation


@pytest.mark.parametrize(
    ("masks", "names"),
    [
        (StateMasks(0.5, 10, 0.25, 64, 32), {"state_mask", "channel_mask"}),
        (StateMasks(0.5, 10, 0.0, 64, 32), {"state_mask"}),
        (StateMasks(0.0, 10, 0.25, 64, 32), {"channel_mask"}),
        (StateMasks(0.0, 10, 0.0, 64, 32), set()),
    ],
)
def test_a_rate_of_zero_leaves_its_mask_out(masks, names):
    (found,) = drawn(masks, 30, count=1)
    assert found.keys() == names and masks.any == bool(names)


def test_something_is_left_of_every_utterance():
    for states in (2, 3, 7, 12):
        assert not any(each["state_mask"].all() for each in drawn(StateMasks(0.9, 10, 0.0, 1, 8), states, 200))


def test_a_batch_holds_each_utterances_masks_and_none_at_padding():
    masks = StateMasks(0.5, 3, 0.5, 4, 16)
    (long,), (short,) = drawn(masks, 30, 1), drawn(masks, 11, 1, seed=1)
    batch = collate_masks([long, short], 32)
    assert torch.equal(batch["state_mask"][0, :30], long["state_mask"]) and not batch["state_mask"][0, 30:].any()
    assert torch.equal(batch["state_mask"][1, :11], short["state_mask"])
    assert batch["state_mask"].dtype == torch.bool and not batch["state_mask"][1, 11:].any()
    assert torch.equal(batch["channel_mask"], torch.stack([long["channel_mask"], short["channel_mask"]]))
    assert collate_masks([{}, {}], 32) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((1.0, 10, 0.0, 64), "--state-mask-rate: found 1.0, expected a share from 0 to less than 1"),
        ((0.5, 0, 0.0, 64), "--state-mask-span: found 0, expected 1 or more"),
        ((0.5, 10, -0.1, 64), "--channel-mask-rate: found -0.1"),
        ((0.5, 10, 0.5, 0), "--channel-mask-span: found 0"),
    ],
)
def test_what_is_no_mask_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        StateMasks(*fields, channels=8)


def test_draws_belong_to_the_key_and_to_their_step_alone():
    masks, log_mel = StateMasks(0.5, 5, 0.3, 4, 32), torch.randn(401, 80)
    plain, augmented = Augmentation(masks=masks), Augmentation(specaugment=SpecAugment(), masks=masks)
    features, found = plain(log_mel, (1, 999), FrontEnd(), 1, 2, 3)
    assert len(found["state_mask"]) == 101 and torch.allclose(features.mean(0), torch.zeros(80), atol=1e-5)
    again = augmented(log_mel, (1, 999), FrontEnd(), 1, 2, 3)[1]
    assert all(torch.equal(found[name], again[name]) for name in found)
    for key in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not torch.equal(found["state_mask"], plain(log_mel, (1, 999), FrontEnd(), *key)[1]["state_mask"])
    without = Augmentation(specaugment=SpecAugment())(log_mel, (1, 999), FrontEnd(), 1, 2, 3)
    assert without[1] == {} and torch.equal(without[0], augmented(log_mel, (1, 999), FrontEnd(), 1, 2, 3)[0])
