"""The parts compared for speed give the same results."""

import torch

from benchmarks import targets


def test_the_contrastive_losses_agree_on_fairseqs_draws():
    torch.manual_seed(0)
    batch, masked, distractors = 2, 15, 6
    given = targets.frames(batch, masked, codes=9, dim=8)
    negatives, indices = targets.fairseqs_draw(given, distractors)
    within = indices.view(batch, masked, distractors) - masked * torch.arange(batch)[:, None, None]
    losses = [
        targets.our_loss(given, within, torch.ones_like(within, dtype=torch.bool)),
        targets.fairseqs_loss(given, negatives),
    ]
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, (given.context, given.targets)) for loss in losses]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_quantizers_agree_without_noise():
    mine, theirs = targets.quantizers(dim=8, codes=12, code_dim=6)
    states = torch.randn(40, 8)
    found, expected = mine(states, targets.GUMBEL_TEMPERATURE, None), theirs.eval()(states[None], produce_targets=True)
    assert torch.equal(found.chosen, expected["targets"].flatten())
    torch.testing.assert_close(found.vectors, expected["x"][0])
    torch.testing.assert_close(found.diversity_loss, 1.0 - expected["prob_perplexity"] / 12, rtol=1e-5, atol=1e-6)
