"""Attention in segments, with a stand-in for torch's kernel, which runs on GPUs alone."""

import math

import pytest
import torch

from slam_plugin.kernels import attention, segments
from slam_plugin.kernels.attention import attend, visible_keys
from slam_plugin.kernels.segments import attend_in_segments, segment_offsets, segments_on
from slam_plugin.models.base.trunk import TrunkConfig, build_trunk

BATCH, HEADS, TIME, SIZE = 4, 2, 7, 8
LENGTHS = [7, 5, 1, 6]


def padding(lengths, time):
    return torch.arange(time)[None, :] >= torch.tensor(lengths)[:, None]


def by_definition(query, key, value, offsets, longest):
    """Attend within each segment: (rows, heads, head_dim)."""
    bounds = offsets.tolist()
    assert offsets.dtype == torch.int32 and bounds[0] == 0 and bounds[-1] == len(query)
    parts = []
    for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
        assert 0 <= end - begin <= longest
        scores = torch.einsum("qhd,khd->hqk", query[begin:end], key[begin:end]) / math.sqrt(query.size(-1))
        parts.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), value[begin:end]))
    return torch.cat(parts)


@pytest.fixture
def stand_in(monkeypatch):
    """Let a processor attend in segments. Count the calls."""
    calls = []
    monkeypatch.setattr(segments, "_varlen", lambda *arguments: calls.append(1) or by_definition(*arguments))
    monkeypatch.setattr(attention, "segments_on", lambda device, dtype, head_dim: True)
    return calls


@pytest.mark.parametrize("seed", range(5))
def test_offsets_are_those_of_a_loop(seed):
    draw = torch.Generator().manual_seed(seed)
    time, batch = (int(torch.randint(1, 9, (1,), generator=draw)) for _ in range(2))
    lengths = torch.randint(1, time + 1, (batch,), generator=draw).tolist()
    expected = [0]
    for length in lengths:
        expected += [expected[-1] + length, expected[-1] + time]
    found = segment_offsets(padding(lengths, time))
    assert found.tolist() == expected and found.dtype == torch.int32


def test_segments_have_the_output_and_gradients_of_a_mask(stand_in):
    mask, direction = padding(LENGTHS, TIME), torch.randn(BATCH, HEADS, TIME, SIZE)
    direction = direction.masked_fill(mask[:, None, :, None], 0.0)  # of padding nothing is read
    results = []
    for with_segments in (False, True):
        torch.manual_seed(0)
        leaves = [torch.randn(BATCH, HEADS, TIME, SIZE, requires_grad=True) for _ in range(3)]
        keys = visible_keys(mask, torch.float32, SIZE, segments=with_segments)
        assert (keys.mask is None) == with_segments and (keys.offsets is None) != with_segments
        out = attend(*leaves, mask, keys=keys)
        assert out.isfinite().all() and out.shape == leaves[0].shape
        (out * direction).sum().backward()
        results.append([(out * direction), *(leaf.grad for leaf in leaves)])
    assert len(stand_in) == 1
    for masked, segmented in zip(*results, strict=True):
        torch.testing.assert_close(segmented, masked, rtol=1e-5, atol=1e-6)


def test_segments_have_no_dropout_and_no_bias(stand_in):
    query = torch.randn(BATCH, HEADS, TIME, SIZE)
    keys = visible_keys(padding(LENGTHS, TIME), torch.float32, SIZE, segments=True)
    for options in ({"dropout": 0.1}, {"bias": torch.zeros(BATCH, HEADS, TIME, TIME)}):
        with pytest.raises(ValueError, match="no dropout and no bias"):
            attend(query, query, query, None, keys=keys, **options)


@pytest.mark.parametrize(
    ("changes", "training", "expected"),
    [
        ({}, False, {"speech": 4, "text": 3, "pairs": 1}),
        ({"dropout": 0.1}, True, {"speech": 0, "text": 0, "pairs": 0}),
        ({"dropout": 0.1}, False, {"speech": 4, "text": 3, "pairs": 1}),
        ({"positions": "relative_key"}, False, {"speech": 0, "text": 0, "pairs": 0}),
    ],
)
def test_the_trunk_uses_them_where_padding_is_at_the_end(stand_in, changes, training, expected):
    """Pairs have a gap in the middle, so only their speech encoder does."""
    sizes = dict(encoder_dim=16, encoder_heads=2, encoder_ffn_dim=32, subsample_channels=4)
    config = TrunkConfig(**{**sizes, "speech_layers": 1, "multimodal_layers": 3, "dropout": 0.0, **changes})
    torch.manual_seed(0)
    trunk = build_trunk(config, 30, 1).train(training)
    speech = {"features": torch.randn(2, 40, 80), "feature_padding_mask": padding([40, 22], 40)}
    text = {"tokens": torch.randint(4, 30, (2, 9)), "token_padding_mask": padding([5, 9], 9)}
    for kind, batch in (("speech", speech), ("text", text), ("pairs", {**speech, **text})):
        stand_in.clear()
        with torch.no_grad():
            trunk(**batch)
        assert len(stand_in) == expected[kind], kind


def test_results_are_the_trunks_with_a_mask(stand_in, monkeypatch):
    trunk = build_trunk(TrunkConfig(dropout=0.0), None, 1)
    batch = {"features": torch.randn(2, 60, 80), "feature_padding_mask": padding([60, 33], 60)}
    with torch.no_grad():
        found = trunk(**batch)
        monkeypatch.setattr(attention, "segments_on", lambda *_: False)
        expected = trunk(**batch)
    valid = ~found.speech_padding_mask
    assert stand_in
    torch.testing.assert_close(found.speech[valid], expected.speech[valid], rtol=1e-4, atol=1e-5)


def test_a_processor_keeps_the_mask():
    assert not segments_on(torch.device("cpu"), torch.bfloat16, 64)
    assert visible_keys(padding(LENGTHS, TIME), torch.bfloat16, SIZE, segments=True).offsets is None


@pytest.mark.parametrize(
    ("dtype", "head_dim", "capability", "flash", "expected"),
    [
        (torch.bfloat16, 64, (9, 0), True, True),
        (torch.float32, 64, (9, 0), True, False),
        (torch.bfloat16, 257, (9, 0), True, False),
        (torch.bfloat16, 36, (9, 0), True, False),
        (torch.bfloat16, 64, (7, 5), True, False),
        (torch.bfloat16, 64, (9, 0), False, False),
    ],
)
def test_a_gpu_takes_segments_where_flash_attention_runs(monkeypatch, dtype, head_dim, capability, flash, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: flash)
    assert segments_on(torch.device("cuda"), dtype, head_dim) is expected


def test_torchs_kernel_takes_what_it_is_given():
    """Torch's function accepts the names and number of the arguments. It runs on GPUs alone."""
    import inspect

    from torch.nn.attention.varlen import varlen_attn

    names = list(inspect.signature(varlen_attn).bind(*"qkvabcd").arguments)
    assert names == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]


def test_attend_in_segments_keeps_the_layout(stand_in):
    value = torch.arange(BATCH * HEADS * TIME * SIZE).view(BATCH, HEADS, TIME, SIZE).float()
    one_each = torch.arange(BATCH * TIME + 1).int()  # every query sees itself alone
    assert torch.equal(attend_in_segments(value, value, value, one_each), value)
