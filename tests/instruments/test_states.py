"""Measures of states against naive loops and closed forms."""

import math

import pytest
import torch

from slam_plugin.instruments.states import (
    effective_rank,
    linear_cka,
    mean_pooled,
    own_share,
    probed_frames,
    retrieval_accuracy,
)

LENGTHS = torch.tensor([7, 4, 5])
PADDING = torch.arange(7) >= LENGTHS[:, None]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_own_is_the_share_of_the_squared_change_on_the_replaced_frame():
    before, after, frames = random(3, 7, 4), random(3, 7, 4, seed=1), torch.tensor([6, 0, 2])
    found = own_share(before, after, frames, PADDING)
    for row, frame in enumerate(frames.tolist()):
        change = [sum((after[row, t, d] - before[row, t, d]) ** 2 for d in range(4)) for t in range(LENGTHS[row])]
        assert found[row].item() == pytest.approx(float(change[frame] / sum(change)), rel=1e-5)


def test_own_is_1_of_a_map_by_frame_0_of_the_mean_of_the_others_and_of_what_does_not_change():
    states, frames = random(3, 7, 4), torch.tensor([3, 1, 0])
    replaced = states.clone()
    replaced[torch.arange(3), frames] = random(3, 4, seed=1)
    weight = random(4, 4, seed=2)
    assert torch.equal(own_share(states @ weight, replaced @ weight, frames, None), torch.ones(3))
    sums_of_others = [each.sum(1, keepdim=True) - each for each in (states, replaced)]
    assert own_share(*sums_of_others, frames, None).abs().max() < 1e-10
    assert torch.equal(own_share(states, states, frames, None), torch.zeros(3))
    # A mean over all frames changes every frame in the same way.
    mean = [each.mean(1, keepdim=True).expand_as(each) for each in (states, replaced)]
    torch.testing.assert_close(own_share(*mean, frames, None), torch.full((3,), 1 / 7))


def test_probes_lie_in_the_middle_of_equal_parts_and_inside():
    assert [probed_frames(torch.tensor([8]), probe, 2).item() for probe in (0, 1)] == [2, 6]
    for length in range(1, 40):
        for probes in range(1, 6):
            frames = [probed_frames(torch.tensor([length]), probe, probes).item() for probe in range(probes)]
            assert frames == [int((probe + 0.5) / probes * length) for probe in range(probes)]
            assert 0 <= frames[0] and frames[-1] < length


def test_effective_rank_of_known_spectra():
    basis, _ = torch.linalg.qr(random(20, 6))
    turned, _ = torch.linalg.qr(random(6, 6, seed=1))
    for values in ([1.0] * 6, [3.0, 1.0, 0, 0, 0, 0], [5.0, 4, 3, 2, 1, 0.5]):
        states = basis @ torch.diag(torch.tensor(values)) @ turned
        shares = [value / sum(values) for value in values if value]
        expected = math.exp(-sum(share * math.log(share) for share in shares))
        assert effective_rank(states) == pytest.approx(expected, rel=1e-3)


def test_equal_states_have_rank_1_whatever_their_number():
    assert effective_rank(random(1, 16).expand(50, 16)) == pytest.approx(1.0, abs=1e-3)
    assert effective_rank(torch.zeros(5, 3)) == 1.0
    states = random(5, 3)
    states[2, 1] = torch.inf
    assert math.isnan(effective_rank(states))


def test_the_mean_is_over_valid_positions():
    states = random(3, 7, 4)
    expected = torch.stack([states[row, :length].mean(0) for row, length in enumerate(LENGTHS)])
    torch.testing.assert_close(mean_pooled(states.masked_fill(PADDING[..., None], torch.nan), PADDING), expected)
    torch.testing.assert_close(mean_pooled(states, None), states.mean(1))


def test_retrieval_finds_turned_copies_and_no_random_ones():
    keys = random(12, 30)
    # An offset and a scale of one side do not matter.
    assert retrieval_accuracy(3.0 * keys + 100.0 * random(1, 30, seed=1), keys) == 1.0
    shuffled = keys.roll(1, dims=0)
    assert retrieval_accuracy(shuffled, keys) == 0.0
    half = torch.cat((keys[:6], keys[6:].roll(1, dims=0)))
    assert retrieval_accuracy(half, keys) == 0.5


def test_retrieval_is_the_argmax_of_centered_cosines_and_a_tie_is_not_right():
    queries, keys = random(9, 5), random(9, 5, seed=3)
    centered = [side - side.mean(0) for side in (queries, keys)]
    right = 0
    for row, query in enumerate(centered[0]):
        cosines = [float(query @ key / query.norm() / key.norm()) for key in centered[1]]
        right += cosines.index(max(cosines)) == row
    assert retrieval_accuracy(queries, keys) == pytest.approx(right / 9)
    assert retrieval_accuracy(queries, torch.ones(9, 5)) == 0.0


def naive_cka(x, y):
    """Kornblith et al. 2019, equations 1 and 2, by their definition with Gram matrices."""

    def hsic(k, m):
        n = len(k)
        centering = torch.eye(n, dtype=torch.double) - 1 / n
        return torch.trace(k @ centering @ m @ centering) / (n - 1) ** 2

    k, m = (side.double() @ side.double().T for side in (x, y))
    return float(hsic(k, m) / (hsic(k, k) * hsic(m, m)) ** 0.5)


def test_cka_is_that_of_its_definition_and_does_not_see_rotations():
    torch.manual_seed(1)
    x, y = torch.randn(40, 6) + 3, torch.randn(40, 9)
    y[:, :2] += x[:, :2]
    assert linear_cka(x, y) == pytest.approx(naive_cka(x, y))
    turned = x @ torch.linalg.qr(torch.randn(6, 6))[0] * 0.1 + 7
    assert linear_cka(x, turned) == pytest.approx(1.0, abs=1e-5)
    assert linear_cka(x, y) < linear_cka(x, y[:, :2]) < 1
