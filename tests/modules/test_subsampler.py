import pytest
import torch
from torch import nn
from torch.nn import functional as F

from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.modules.subsampler import build_front_end

MEL, CHANNELS, DIM = 10, 4, 6


FRONT_ENDS = [FrontEnd("conv", 4), FrontEnd("conv", 2), FrontEnd("stacked", 2)]


def subsampler(front_end=FRONT_ENDS[0]):
    torch.manual_seed(0)
    module = build_front_end(front_end, MEL, CHANNELS, DIM)
    if front_end.kind == "stacked":
        torch.nn.init.normal_(module.norm.weight)
        torch.nn.init.normal_(module.norm.bias)
    return module


def plain_stack(module, features, front_end=FRONT_ENDS[0]):
    """Run two nn.Conv2d over (batch, 1, time, mel) and a linear layer over mel-major channels, without padding."""
    if front_end.kind == "stacked":
        return stacked_by_hand(module, features)
    image = features.unsqueeze(1)
    for ours, stride in ((module.first, 2), (module.second, front_end.frames_per_state // 2)):
        conv = nn.Conv2d(ours.in_channels, CHANNELS, kernel_size=3, stride=(stride, 2), padding=1)
        conv.load_state_dict(ours.state_dict())
        image = F.silu(conv(image))
    batch, channels, time, mel = image.shape
    rows = [
        torch.cat([image[b, :, t, m] for m in range(mel)]) @ module.project.weight.T + module.project.bias
        for b in range(batch)
        for t in range(time)
    ]
    return torch.stack(rows).view(batch, time, DIM)


def stacked_by_hand(module, features):
    """Write two frames side by side, normalize them by their own mean and variance, and multiply."""
    rows = []
    for utterance in features:
        for t in range(len(utterance) // 2):
            both = torch.cat((utterance[2 * t], utterance[2 * t + 1]))
            normal = (both - both.mean()) / torch.sqrt(both.var(unbiased=False) + 1e-5)
            rows.append(module.project.weight @ (normal * module.norm.weight + module.norm.bias) + module.project.bias)
    return torch.stack(rows).view(len(features), -1, DIM)


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=str)
@pytest.mark.parametrize("frames", range(2, 41))
def test_lengths_and_states_are_those_of_a_plain_stack(frames, front_end):
    module = subsampler(front_end)
    features = torch.randn(2, frames, MEL)
    states, padding = module(features, None)
    assert padding is None and states.size(1) == front_end.states_of(frames)
    torch.testing.assert_close(states, plain_stack(module, features, front_end), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=str)
def test_an_utterance_in_a_batch_is_the_utterance_alone(front_end):
    module = subsampler(front_end)
    lengths = list(range(front_end.fewest_frames(1), 41))
    features = torch.randn(len(lengths), 40, MEL)  # noise at padding, not zeros
    padding = torch.arange(40)[None, :] >= torch.tensor(lengths)[:, None]
    states, state_padding = module(features, padding)
    for b, length in enumerate(lengths):
        alone = plain_stack(module, features[b : b + 1, :length], front_end)[0]
        assert (~state_padding[b]).sum() == len(alone) == front_end.states_of(length)
        assert not state_padding[b, : len(alone)].any()
        assert (states[b, : len(alone)] - alone).norm() <= 1e-6 * alone.norm()


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=str)
def test_padding_gets_no_gradient(front_end):
    module = subsampler(front_end)
    features = torch.randn(2, 12, MEL, requires_grad=True)
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[1, 6:] = True
    states, state_padding = module(features, padding)
    states[~state_padding].sum().backward()
    assert not features.grad[padding].any()
    assert (features.grad[~padding].abs().sum(-1) > 0).all()
