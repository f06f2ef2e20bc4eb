import pytest
import torch

from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.modules.random_projection import RandomProjectionQuantizer, stack_frames

BINS, DIM, CODES, CODE_DIM = 3, 12, 50, 4


@pytest.mark.parametrize("frames", [8, 9, 11, 3])
def test_stacking_joins_neighbors_and_fills_with_zeros(frames):
    features = torch.randn(2, frames, BINS)
    padding_mask = torch.arange(frames)[None, :] >= torch.tensor([frames, frames - 2])[:, None]
    stacked = stack_frames(features, padding_mask, FrontEnd())
    for b, length in enumerate((frames, frames - 2)):
        for t in range(stacked.size(1)):
            for k in range(4):
                found = stacked[b, t, k * BINS : (k + 1) * BINS]
                place = 4 * t + k
                assert torch.equal(found, features[b, place] if place < length else torch.zeros(BINS))
    assert stacked.size(1) == -(-frames // 4)
    assert torch.equal(stack_frames(features, None, FrontEnd())[0], stacked[0])


def test_the_code_is_the_nearest_after_normalizing_both():
    torch.manual_seed(0)
    quantizer, frames = RandomProjectionQuantizer(DIM, CODES, CODE_DIM), torch.randn(40, DIM)
    found = quantizer(frames).tolist()
    for frame, code in zip(frames, found, strict=True):
        projected = sum(frame[i] * quantizer.projection[i] for i in range(DIM))
        projected = projected / projected.square().sum().sqrt()
        distances = [(projected - entry).square().sum().item() for entry in quantizer.codebook]
        assert distances.index(min(distances)) == code
    assert len(set(found)) > 15
    assert quantizer(5.0 * frames).tolist() == found


def test_nothing_is_learned_and_a_checkpoint_holds_all():
    quantizer = RandomProjectionQuantizer(DIM, CODES, CODE_DIM)
    assert not list(quantizer.parameters())
    other = RandomProjectionQuantizer(DIM, CODES, CODE_DIM)
    other.load_state_dict(quantizer.state_dict())
    frames = torch.randn(20, DIM, requires_grad=True)
    assert torch.equal(other(frames), quantizer(frames)) and not quantizer(frames).requires_grad
    assert torch.allclose(quantizer.codebook.norm(dim=-1), torch.ones(CODES))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(other(frames), quantizer(frames.detach()))
    # Xavier: variance 2 / (fan in + fan out)
    wide = RandomProjectionQuantizer(400, 2, 100).projection
    assert wide.var().item() == pytest.approx(2 / 500, rel=0.05)
