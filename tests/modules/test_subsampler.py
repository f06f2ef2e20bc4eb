import pytest
import torch
from torch import nn
from torch.nn import functional as F

from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.modules.subsampler import ConvSubsampler

MEL, CHANNELS, DIM = 10, 4, 6


def subsampler():
    torch.manual_seed(0)
    return ConvSubsampler(MEL, CHANNELS, DIM)


def plain_stack(module, features):
    """Run two nn.Conv2d over (batch, 1, time, mel) and a linear layer over mel-major channels, without padding."""
    image = features.unsqueeze(1)
    for ours in (module.first, module.second):
        conv = nn.Conv2d(ours.in_channels, CHANNELS, kernel_size=3, stride=2, padding=1)
        conv.load_state_dict(ours.state_dict())
        image = F.silu(conv(image))
    batch, channels, time, mel = image.shape
    rows = [
        torch.cat([image[b, :, t, m] for m in range(mel)]) @ module.project.weight.T + module.project.bias
        for b in range(batch)
        for t in range(time)
    ]
    return torch.stack(rows).view(batch, time, DIM)


@pytest.mark.parametrize("frames", range(1, 41))
def test_lengths_and_states_are_those_of_a_plain_stack(frames):
    module = subsampler()
    features = torch.randn(2, frames, MEL)
    states, padding = module(features, None)
    assert padding is None and states.size(1) == FrontEnd().states_of(frames)
    torch.testing.assert_close(states, plain_stack(module, features), rtol=1e-5, atol=1e-5)


def test_an_utterance_in_a_batch_is_the_utterance_alone():
    module = subsampler()
    lengths = list(range(1, 41))
    features = torch.randn(len(lengths), 40, MEL)  # noise at padding, not zeros
    padding = torch.arange(40)[None, :] >= torch.tensor(lengths)[:, None]
    states, state_padding = module(features, padding)
    for b, length in enumerate(lengths):
        alone = plain_stack(module, features[b : b + 1, :length])[0]
        assert (~state_padding[b]).sum() == len(alone) == FrontEnd().states_of(length)
        assert not state_padding[b, : len(alone)].any()
        assert (states[b, : len(alone)] - alone).norm() <= 1e-6 * alone.norm()


def test_padding_gets_no_gradient():
    module = subsampler()
    features = torch.randn(2, 11, MEL, requires_grad=True)
    padding = torch.zeros(2, 11, dtype=torch.bool)
    padding[1, 5:] = True
    states, state_padding = module(features, padding)
    states[~state_padding].sum().backward()
    assert not features.grad[padding].any()
    assert (features.grad[~padding].abs().sum(-1) > 0).all()
