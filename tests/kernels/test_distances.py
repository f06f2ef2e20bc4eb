import pytest
import torch

from slam_plugin.kernels.distances import by_distance

DISTANCES = 6


def columns_of(time):
    """Distances from -3 to 2: the first and the last are clipped ones."""
    places = torch.arange(time)
    return (places[None] - places[:, None]).clamp(-3, 2) + 3


def leaves(time, dtype=torch.float64):
    torch.manual_seed(time)
    return torch.randn(2, 3, time, DISTANCES, dtype=dtype).requires_grad_(), columns_of(time)


def by_loop(scores, columns):
    rows = [[scores[..., i, int(c)] for c in row] for i, row in enumerate(columns)]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


@pytest.mark.parametrize("time", [1, 2, 5, 11])
def test_values_and_gradients_are_those_of_a_loop(time):
    scores, columns = leaves(time)
    direction = torch.randn(2, 3, time, time, dtype=torch.float64)
    results = []
    for function in (by_distance, by_loop):
        out = function(scores, columns)
        results.append((out.detach(), *torch.autograd.grad((out * direction).sum(), scores)))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda values: by_distance(values, columns), scores)


def test_parts_that_count_as_far_away():
    """The pattern of a pair: no key of the other part has a distance of its own."""
    columns = torch.tensor([[3, 4, 5], [2, 3, 5], [0, 0, 3]])
    scores = torch.randn(1, 1, 3, DISTANCES, dtype=torch.float64).requires_grad_()
    direction = torch.randn(1, 1, 3, 3, dtype=torch.float64)
    gradients = [torch.autograd.grad((f(scores, columns) * direction).sum(), scores)[0] for f in (by_distance, by_loop)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_bf16_stays():
    scores, columns = leaves(5, torch.bfloat16)
    out = by_distance(scores, columns)
    out.sum().backward()
    assert out.dtype == scores.grad.dtype == torch.bfloat16 and torch.equal(out, by_loop(scores, columns))
