from types import SimpleNamespace

import pytest
import torch
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model
from torch.nn import functional as F

from slam_plugin.modules.contrast import contrastive_logits, draw_distractors

CODES, DIM, TEMPERATURE = 6, 8, 0.1


def draws(counts, distractors, seed=0):
    return draw_distractors(torch.tensor(counts), max(counts), distractors, torch.Generator().manual_seed(seed))


def frames(counts, seed=0):
    """Make context, targets of few codes (so that distractors often share the target's) and the codes."""
    torch.manual_seed(seed)
    batch, largest = len(counts), max(counts)
    codes = torch.randint(CODES, (batch, largest))
    codebook = torch.randn(CODES, DIM)
    return torch.randn(batch, largest, DIM, requires_grad=True), codebook[codes].requires_grad_(), codes


def fairseq_logits(context, targets, negatives):
    """Return fairseq's logits (M, 1 + K) of (1, M, C) context and targets and (K, 1, M, C) negatives."""
    model = SimpleNamespace(logit_temp=TEMPERATURE)
    return Wav2Vec2Model.compute_preds(model, context, targets, negatives)[:, 0].T


def test_logits_loss_and_gradients_are_fairseqs():
    counts, distractors = [14, 14], 9
    context, targets, codes = frames(counts)
    indices, usable = draws(counts, distractors)
    assert usable.all()
    found = contrastive_logits(context, targets, codes, indices, usable, TEMPERATURE)

    rows = []
    for b in range(2):
        negatives = targets[b][indices[b]].permute(1, 0, 2).unsqueeze(1)  # (K, 1, M, C)
        rows.append(fairseq_logits(context[b : b + 1], targets[b : b + 1], negatives))
    expected = torch.stack(rows)
    assert torch.equal(torch.isinf(found), torch.isinf(expected)) and torch.isinf(found).any()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)

    right = torch.zeros(28, dtype=torch.long)
    losses = [F.cross_entropy(logits.view(28, -1), right, reduction="sum") for logits in (found, expected)]
    torch.testing.assert_close(losses[0], losses[1])
    gradients = [torch.autograd.grad(loss, (context, targets), retain_graph=True) for loss in losses]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_logits_of_short_utterances_are_those_of_a_loop():
    counts, distractors = [12, 3, 1], 5
    context, targets, codes = frames(counts, seed=1)
    indices, usable = draws(counts, distractors)
    found = contrastive_logits(context, targets, codes, indices, usable, TEMPERATURE)
    assert found.shape == (3, 12, 1 + distractors) and found.dtype == torch.float32
    for b, count in enumerate(counts):
        for m in range(count):
            others = [j for j in range(count) if j != m]
            taken = [int(i) for i, ok in zip(indices[b, m], usable[b, m], strict=True) if ok]
            assert len(taken) == min(distractors, count - 1)
            if count - 1 <= distractors:
                assert taken == others
            for k, j in enumerate([m, *taken]):
                if k and codes[b, j] == codes[b, m]:
                    assert found[b, m, k] == -torch.inf
                else:
                    cosine = F.cosine_similarity(context[b, m], targets[b, j], dim=0)
                    torch.testing.assert_close(found[b, m, k], cosine / TEMPERATURE, rtol=1e-4, atol=1e-5)
            assert (found[b, m, 1 + len(taken) :] == -torch.inf).all()


@pytest.mark.parametrize("distractors", [1, 4, 100])
def test_distractors_are_other_masked_frames_of_the_same_utterance(distractors):
    counts = [0, 1, 2, 5, 30]
    for seed in range(20):
        indices, usable = draws(counts, distractors, seed)
        assert indices.shape == usable.shape == (5, 30, distractors)
        assert indices.min() >= 0 and indices.max() < 30
        for b, count in enumerate(counts):
            assert not usable[b, count:].any()
            for m in range(count):
                taken = indices[b, m][usable[b, m]].tolist()
                assert len(taken) == min(distractors, count - 1)
                assert m not in taken and all(0 <= j < count for j in taken)
                if count - 1 <= distractors:
                    assert taken == [j for j in range(count) if j != m]


def test_many_are_drawn_uniformly():
    count, distractors = 11, 5
    indices, usable = draws([count] * 2000, distractors)
    assert usable.all()
    expected = 2000 * distractors / (count - 1)
    for m in range(count):
        observed = torch.bincount(indices[:, m].flatten(), minlength=count).double()
        assert observed[m] == 0
        others = torch.cat((observed[:m], observed[m + 1 :]))
        chi_square = ((others - expected) ** 2 / expected).sum()
        assert chi_square < 33.7  # 9 degrees of freedom: exceeded once in 10,000


def test_draws_follow_the_generator_alone():
    first, again, other = draws([20, 9], 4, seed=1), draws([20, 9], 4, seed=1), draws([20, 9], 4, seed=2)
    assert torch.equal(first[0], again[0]) and not torch.equal(first[0], other[0])
    torch.manual_seed(7)
    assert torch.equal(first[0], draws([20, 9], 4, seed=1)[0])


def test_a_batch_without_masked_frames_has_no_logits():
    indices, usable = draws([0, 0], 4)
    empty = torch.zeros(2, 0, DIM)
    logits = contrastive_logits(empty, empty, torch.zeros(2, 0, dtype=torch.long), indices, usable, TEMPERATURE)
    assert logits.shape == (2, 0, 5)


def test_logits_are_fp32_under_autocast():
    context, targets, codes = frames([7])
    drawn = draws([7], 3)
    expected = contrastive_logits(context, targets, codes, *drawn, TEMPERATURE)
    with torch.autocast("cpu", torch.bfloat16):
        found = contrastive_logits(context, targets, codes, *drawn, TEMPERATURE)
    assert torch.equal(found, expected)
