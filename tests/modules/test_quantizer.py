import math

import pytest
import torch
from fairseq.modules import GumbelVectorQuantizer
from torch.nn import functional as F

from slam_plugin.modules.quantizer import GumbelQuantizer, diversity_loss, normalize_over_time

FRAMES, DIM, CODES, CODE_DIM, TEMPERATURE = 60, 10, 24, 8, 0.7
SEED = 5


def ours_and_fairseqs():
    """Return the two quantizers with the same parameters."""
    torch.manual_seed(0)
    ours = GumbelQuantizer(DIM, CODES, CODE_DIM)
    fairseqs = GumbelVectorQuantizer(
        DIM, CODES, (TEMPERATURE, TEMPERATURE, 1.0), 1, combine_groups=False, vq_dim=CODE_DIM, time_first=True
    )
    torch.nn.init.normal_(ours.to_logits.bias)
    fairseqs.weight_proj.load_state_dict(ours.to_logits.state_dict())
    fairseqs.vars.data = ours.codebook.detach()[None].clone()
    return ours, fairseqs


def noise():
    return torch.Generator().manual_seed(SEED)


def same_noise(monkeypatch):
    """Make fairseq's Gumbel softmax use the uniform numbers of our generator: -log(u) is exponential."""
    uniform = torch.rand((FRAMES, CODES), generator=noise())
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda empty: empty.copy_(-uniform.log()))


def test_vectors_codes_and_gradients_are_fairseqs(monkeypatch):
    ours, fairseqs = ours_and_fairseqs()
    frames, direction = torch.randn(FRAMES, DIM), torch.randn(FRAMES, CODE_DIM)
    inputs = [frames.clone().requires_grad_() for _ in range(2)]

    found = ours(inputs[0], TEMPERATURE, noise())
    same_noise(monkeypatch)
    expected = fairseqs(inputs[1][None], produce_targets=True)

    assert (found.ids != found.chosen).any()
    assert torch.equal(found.chosen, expected["targets"].flatten())
    torch.testing.assert_close(found.vectors, expected["x"][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.diversity_loss, 1.0 - expected["prob_perplexity"] / CODES, rtol=1e-5, atol=1e-6)

    leaves = [
        (inputs[0], ours.codebook, ours.to_logits.weight, ours.to_logits.bias),
        (inputs[1], fairseqs.vars, fairseqs.weight_proj.weight, fairseqs.weight_proj.bias),
    ]
    losses = [
        (found.vectors * direction).sum() + 3.0 * found.diversity_loss,
        (expected["x"][0] * direction).sum() + 3.0 * (1.0 - expected["prob_perplexity"] / CODES),
    ]
    gradients = [torch.autograd.grad(loss, leaf) for loss, leaf in zip(losses, leaves, strict=True)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs.view_as(mine), rtol=1e-4, atol=1e-5)
        assert mine.any()


def test_without_noise_it_is_fairseq_in_evaluation():
    ours, fairseqs = ours_and_fairseqs()
    frames = torch.randn(FRAMES, DIM)
    found, expected = ours(frames, TEMPERATURE, None), fairseqs.eval()(frames[None], produce_targets=True)
    assert torch.equal(found.ids, found.chosen)
    assert torch.equal(found.ids, expected["targets"].flatten())
    torch.testing.assert_close(found.vectors, expected["x"][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("logit_std", [None, 4.0])
def test_the_gradient_is_that_of_the_straight_through_formula(logit_std):
    torch.manual_seed(0)
    ours = GumbelQuantizer(DIM, CODES, CODE_DIM, logit_std)
    frames, direction = torch.randn(FRAMES, DIM), torch.randn(FRAMES, CODE_DIM)
    found = ours(frames, TEMPERATURE, noise()).vectors
    gradients = torch.autograd.grad((found * direction).sum(), list(ours.parameters()))

    logits = F.linear(frames, ours.to_logits.weight, ours.to_logits.bias)
    if logit_std is not None:
        centered = logits - logits.mean(-1, keepdim=True)
        logits = logit_std * centered / centered.square().mean(-1, keepdim=True).add(1e-5).sqrt()
    gumbel = -torch.log(-torch.log(torch.rand((FRAMES, CODES), generator=noise())))
    soft = ((logits + gumbel) / TEMPERATURE).softmax(-1)
    one_hot = F.one_hot(soft.argmax(-1), CODES).float()
    expected = (one_hot + soft - soft.detach()) @ ours.codebook
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    wanted = torch.autograd.grad((expected * direction).sum(), list(ours.parameters()))
    for mine, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_logits_have_the_spread_that_was_asked_for_whatever_the_scale_of_the_frames():
    torch.manual_seed(0)
    ours = GumbelQuantizer(DIM, CODES, CODE_DIM, logit_std=4.0)
    frames = torch.randn(FRAMES, DIM)
    for scale in (0.1, 1.0, 100.0):
        logits = ours.logits(scale * frames)
        torch.testing.assert_close(logits.std(-1, correction=0), torch.full((FRAMES,), 4.0), rtol=1e-2, atol=0)
        torch.testing.assert_close(logits.mean(-1), torch.zeros(FRAMES), rtol=0, atol=1e-4)


def test_codes_are_chosen_as_often_as_their_probability_says():
    """The Gumbel trick: the noisy maximum is a draw from softmax(logits)."""
    torch.manual_seed(0)
    ours, draws = GumbelQuantizer(DIM, 4, CODE_DIM), 20000
    frame = 0.3 * torch.randn(1, DIM)
    probabilities = ours.logits(frame).softmax(-1)[0]
    chosen = ours(frame.expand(draws, -1), TEMPERATURE, noise()).chosen
    shares = torch.bincount(chosen, minlength=4) / draws
    assert ((shares - probabilities).abs() < 5 * (probabilities * (1 - probabilities) / draws).sqrt()).all()


def test_numbers_are_fp32_under_autocast():
    ours, _ = ours_and_fairseqs()
    frames = torch.randn(FRAMES, DIM)
    expected = ours(frames, TEMPERATURE, noise())
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(frames, TEMPERATURE, noise())
    assert torch.equal(found.vectors, expected.vectors) and torch.equal(found.diversity_loss, expected.diversity_loss)


def test_no_frames_make_no_vectors_on_the_graph():
    ours, _ = ours_and_fairseqs()
    found = ours(torch.randn(0, DIM), TEMPERATURE, noise())
    assert found.vectors.shape == (0, CODE_DIM)
    found.vectors.sum().backward()
    assert not ours.codebook.grad.any() and not ours.to_logits.weight.grad.any()


def test_diversity_in_closed_form():
    assert diversity_loss(torch.zeros(7, CODES)).abs() < 1e-4
    one_code = torch.zeros(7, CODES)
    one_code[:, 3] = 100.0
    assert abs(diversity_loss(one_code) - (1.0 - 1.0 / CODES)) < 1e-4
    half = torch.zeros(CODES, CODES)  # each frame is certain of a code, over a quarter of the codes
    half[torch.arange(CODES), torch.arange(CODES) % (CODES // 4)] = 100.0
    assert abs(diversity_loss(half) - 0.75) < 1e-4


def test_normalize_over_time_is_the_loop_over_utterances():
    torch.manual_seed(0)
    lengths, longest = [9, 4, 1], 9
    x = 5.0 + 3.0 * torch.randn(3, longest, DIM)
    padding = torch.arange(longest)[None, :] >= torch.tensor(lengths)[:, None]
    found = normalize_over_time(x, padding)
    for b, length in enumerate(lengths):
        for c in range(DIM):
            values = x[b, :length, c].double().tolist()
            mean = sum(values) / length
            deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / length + 1e-5)
            expected = torch.tensor([(value - mean) / deviation for value in values])
            torch.testing.assert_close(found[b, :length, c], expected, rtol=1e-4, atol=1e-4)
        assert not found[b, length:].any()
    unpadded = normalize_over_time(x[:1], None)
    torch.testing.assert_close(unpadded, normalize_over_time(x[:1], padding[:1]))
    assert normalize_over_time(x.bfloat16(), padding).dtype == torch.float32


def test_what_is_constant_in_an_utterance_does_not_matter():
    torch.manual_seed(0)
    x, offset = torch.randn(2, 9, DIM), 10.0 * torch.randn(2, 1, DIM)
    torch.testing.assert_close(
        normalize_over_time(x + offset, None), normalize_over_time(x, None), rtol=1e-3, atol=1e-4
    )
