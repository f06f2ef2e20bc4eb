import math

import pytest
import torch

from slam_plugin.modules.conformer import SelfAttention
from slam_plugin.modules.relative_key import MAX_LEFT, MAX_RIGHT, RelativeKey, distance_columns

CPU = torch.device("cpu")
BATCH, HEADS, SIZE = 2, 3, 4


def bias_by_loop(module, query, lengths):
    """Go over queries and keys. A key in a later part is at distance 8, one in an earlier part at -64."""
    parts = [part for part, length in enumerate(lengths) for _ in range(length)]
    bias = torch.zeros(BATCH, HEADS, len(parts), len(parts))
    for i, own in enumerate(parts):
        for j, other in enumerate(parts):
            distance = max(-64, min(8, j - i)) if own == other else (8 if other > own else -64)
            vector = module.distances[distance + 64]
            for b in range(BATCH):
                for h in range(HEADS):
                    bias[b, h, i, j] = query[b, h, i] @ vector / math.sqrt(SIZE)
    return bias


@pytest.mark.parametrize("lengths", [[1], [12], [5, 2, 9]])
def test_the_bias_is_that_of_a_loop(lengths):
    torch.manual_seed(0)
    module = RelativeKey(SIZE)
    query = torch.randn(BATCH, HEADS, sum(lengths), SIZE)
    found = module(query, distance_columns(lengths, CPU))
    torch.testing.assert_close(found, bias_by_loop(module, query, lengths), rtol=1e-5, atol=1e-6)


def test_distances_are_clipped_on_both_sides():
    columns = distance_columns([100], CPU)
    assert (MAX_LEFT, MAX_RIGHT) == (64, 8)
    assert columns[0].tolist() == [*range(64, 73), *[72] * 91]
    assert columns[99].tolist() == [*[0] * 36, *range(1, 65)]
    assert columns[70, :8].tolist() == [0] * 7 + [1]


def test_attention_is_softmax_of_products_and_bias():
    torch.manual_seed(0)
    module = SelfAttention(HEADS * SIZE, HEADS, 0.0, relative_key=True).eval()
    torch.nn.init.normal_(module.relative_key.distances)
    x, time = torch.randn(BATCH, 7, HEADS * SIZE), 7
    padding = torch.arange(time)[None] >= torch.tensor([7, 4])[:, None]
    query, key, value = (
        part.view(BATCH, time, HEADS, SIZE).transpose(1, 2) for part in module.qkv(module.norm(x)).chunk(3, -1)
    )
    columns = distance_columns([time], CPU)
    scores = query @ key.transpose(-1, -2) / math.sqrt(SIZE) + bias_by_loop(module.relative_key, query, [time])
    weights = scores.masked_fill(padding[:, None, None], -math.inf).softmax(-1)
    expected = module.out((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(module(x, padding, columns), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(module.weights(x, padding, columns), weights, rtol=1e-5, atol=1e-6)


def test_the_vectors_learn():
    torch.manual_seed(0)
    module = SelfAttention(HEADS * SIZE, HEADS, 0.0, relative_key=True)
    module(torch.randn(BATCH, 5, HEADS * SIZE), None, distance_columns([5], CPU)).square().sum().backward()
    moved = module.relative_key.distances.grad.abs().sum(1) > 0
    assert moved.nonzero().flatten().tolist() == list(range(60, 69))  # distances of 5 states
