import torch

from slam_plugin.modules.centroids import NearestCentroid


def test_it_is_the_nearest():
    torch.manual_seed(0)
    centroids, frames = 3.0 * torch.randn(17, 6), 3.0 * torch.randn(50, 6)
    nearest = NearestCentroid(centroids)
    expected = torch.cdist(frames, centroids).argmin(1)
    assert torch.equal(nearest(frames), expected) and len(expected.unique()) > 5
    assert nearest(frames[:0]).shape == (0,)


def test_it_is_chosen_in_fp32():
    """In bf16 these two would be one."""
    nearest = NearestCentroid(torch.tensor([[1.0], [1.001]]))
    with torch.autocast("cpu", torch.bfloat16):
        assert nearest(torch.tensor([[1.0004], [1.0006]])).tolist() == [0, 1]


def test_centroids_are_kept_and_not_learned():
    nearest = NearestCentroid(torch.ones(2, 3))
    assert nearest.state_dict().keys() == {"centroids"} and not list(nearest.parameters())
