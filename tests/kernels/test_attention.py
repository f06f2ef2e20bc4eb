import math

import pytest
import torch

from slam_plugin.kernels.attention import attend, attend_plain, attention_weights

BATCH, HEADS, TIME, SIZE = 3, 2, 9, 8
LENGTHS = [9, 5, 1]


def inputs(dtype=torch.float32):
    torch.manual_seed(0)
    return [torch.randn(BATCH, HEADS, TIME, SIZE).to(dtype).requires_grad_() for _ in range(3)]


def padding():
    return torch.arange(TIME)[None, :] >= torch.tensor(LENGTHS)[:, None]


def one_query_at_a_time(query, key, value, lengths):
    """Attend by loops over utterances, heads and queries, without keys past an utterance's length."""
    out = torch.zeros(query.shape, dtype=torch.float64)
    query, key, value = query.double(), key.double(), value.double()
    for b, length in enumerate(lengths):
        for h in range(query.size(1)):
            for t in range(query.size(2)):
                scores = torch.stack([query[b, h, t] @ key[b, h, s] / math.sqrt(SIZE) for s in range(length)])
                exponentials = torch.exp(scores - scores.max())
                shares = exponentials / exponentials.sum()
                out[b, h, t] = sum(shares[s] * value[b, h, s] for s in range(length))
    return out


@pytest.mark.parametrize("function", [attend, attend_plain])
@pytest.mark.parametrize("padded", [False, True])
def test_attention_is_the_naive_loop(function, padded):
    query, key, value = inputs()
    expected = one_query_at_a_time(query, key, value, LENGTHS if padded else [TIME] * BATCH)
    found = function(query, key, value, padding() if padded else None)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("padded", [False, True])
def test_fused_and_plain_have_the_same_output_and_gradients(monkeypatch, dtype, tolerance, padded):
    # Below this length bf16 on a CPU takes the plain path, which would compare it with itself.
    monkeypatch.setattr("slam_plugin.kernels.attention.CPU_BF16_FUSED_FROM", 0)
    mask = padding() if padded else None
    direction = torch.randn(BATCH, HEADS, TIME, SIZE)
    results = []
    for function in (attend, attend_plain):
        leaves = inputs(dtype)
        out = function(*leaves, mask)
        assert out.dtype == dtype
        (out.float() * direction).sum().backward()
        results.append([out.float(), *(leaf.grad.float() for leaf in leaves)])
    for fused, plain in zip(*results, strict=True):
        assert (fused - plain).norm() <= tolerance * plain.norm()


def test_short_bf16_on_a_cpu_takes_the_plain_path(monkeypatch):
    calls = []

    def spy(*arguments, **options):
        calls.append(arguments[0].dtype)
        return torch.zeros(1)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    attend(*inputs(torch.bfloat16), None)
    assert calls == []
    attend(*inputs(), None)
    long = torch.zeros(1, 1, 1000, 2, dtype=torch.bfloat16)
    attend(long, long, long, None)
    assert calls == [torch.float32, torch.bfloat16]


def test_weights_sum_to_one_over_the_keys_that_are_not_padding():
    query, key, _ = inputs()
    weights = attention_weights(query, key, padding())
    for b, length in enumerate(LENGTHS):
        assert not weights[b, :, :, length:].any()
        torch.testing.assert_close(weights[b].sum(-1), torch.ones(HEADS, TIME))


def test_the_softmax_of_bf16_is_that_of_fp32_rounded():
    query, key, _ = inputs(torch.bfloat16)
    scores = (query / math.sqrt(SIZE)) @ key.transpose(2, 3)
    expected = scores.float().masked_fill(padding()[:, None, None, :], -torch.inf).softmax(-1)
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            assert torch.equal(attention_weights(query, key, padding()), expected.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_weights_and_keeps_the_expectation(dtype):
    torch.manual_seed(0)
    query = key = torch.zeros(200, 1, 8, 4, dtype=dtype)  # equal scores: every weight is 1/8
    value = torch.eye(8, dtype=dtype)[None, None, :, :4].expand(200, 1, 8, 4)
    dropped = attend(query, key, value, None, dropout=0.25).float()
    share = (dropped == 0).float().mean().item()
    assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / dropped.numel())
    torch.testing.assert_close(
        dropped[dropped > 0], torch.full_like(dropped[dropped > 0], 1 / 8 / 0.75), rtol=1e-2, atol=0
    )
