import math

import pytest
import torch

from slam_plugin.modules.text import TextEmbedding, sinusoids

VOCABULARY, DIM, PAD = 11, 8, 1


def test_sinusoids_are_those_of_the_formula():
    found = sinusoids(50, DIM, torch.device("cpu"))
    for position in range(50):
        for i in range(DIM // 2):
            angle = position / 10000 ** (i / (DIM // 2 - 1))
            assert abs(found[position, i] - math.sin(angle)) < 1e-5
            assert abs(found[position, i + DIM // 2] - math.cos(angle)) < 1e-5


def test_states_are_scaled_tokens_plus_positions_normed():
    torch.manual_seed(0)
    module = TextEmbedding(VOCABULARY, DIM, PAD)
    torch.nn.init.normal_(module.norm.weight)
    torch.nn.init.normal_(module.norm.bias)
    tokens = torch.tensor([[0, 5, 7, 2], [0, 4, 2, PAD]])
    states = module(tokens)
    for b in range(2):
        for t in range(4):
            row = math.sqrt(DIM) * module.tokens.weight[tokens[b, t]] + sinusoids(4, DIM, tokens.device)[t]
            centered = row - row.mean()
            expected = centered / torch.sqrt(centered.square().mean() + 1e-5) * module.norm.weight + module.norm.bias
            torch.testing.assert_close(states[b, t], expected)


def test_padding_has_a_zero_embedding_that_learns_nothing():
    torch.manual_seed(0)
    module = TextEmbedding(VOCABULARY, DIM, PAD)
    module(torch.tensor([[0, 5, PAD, PAD]])).square().sum().backward()
    assert not module.tokens.weight[PAD].any() and not module.tokens.weight.grad[PAD].any()


def test_embeddings_start_at_unit_scale():
    """Tokens and positions must be of similar size, or one of them is lost."""
    torch.manual_seed(0)
    module = TextEmbedding(2000, 64, PAD)
    scaled = module.scale * module.tokens.weight[2:]
    assert abs(scaled.std().item() - 1.0) < 0.02


def test_an_odd_dimension_is_refused():
    with pytest.raises(ValueError, match="even dimension, not 7"):
        TextEmbedding(VOCABULARY, 7, PAD)
