import pytest
import torch

from slam_plugin.modules.selection import pack, select, select_positions, unpack

MASK = torch.tensor([[False, True, True, False], [False] * 4, [True, True, False, True]])
TRUE_PAIRS = torch.tensor([False, True, True])


def places(mask):
    return [(row, column) for row, values in enumerate(mask.tolist()) for column, value in enumerate(values) if value]


@pytest.mark.parametrize("true_pairs", [None, TRUE_PAIRS])
def test_a_selection_is_the_loop_over_rows_and_columns(true_pairs):
    found, values = select(MASK, true_pairs), torch.randn(3, 4, 2)
    assert torch.equal(found.take(values), torch.stack([values[place] for place in places(MASK)]))
    assert (found.counts.tolist(), found.largest) == ([2, 0, 3], 3)
    kept = places(MASK) if true_pairs is None else [place for place in places(MASK) if true_pairs[place[0]]]
    assert torch.equal(found.of_true_pairs().take(values), torch.stack([values[place] for place in kept]))


def test_rows_are_spread_from_the_left_and_have_a_gradient():
    found = select(MASK)
    values = torch.arange(1.0, 6.0, requires_grad=True)
    spread = found.spread(values)
    assert spread.tolist() == [[1, 2, 0], [0, 0, 0], [3, 4, 5]]
    (spread * torch.arange(9.0).view(3, 3)).sum().backward()
    assert values.grad.tolist() == [0, 1, 6, 7, 8]


def test_nothing_selected_keeps_the_shapes():
    found, values = select(torch.zeros(2, 3, dtype=torch.bool)), torch.randn(2, 3, 5)
    assert found.take(values).shape == (0, 5) and found.spread(found.take(values)).shape == (2, 0, 5)


def test_packed_selections_come_back():
    padding = torch.tensor([[False] * 4, [False] * 2 + [True] * 2, [False] * 3 + [True]])
    batch = {"mask_indices": MASK, "token_mask_indices": MASK[:, :3], "matches": TRUE_PAIRS}
    batch["false_partners"] = torch.tensor([2, -1, 0])
    made = select_positions(batch, padding)
    assert made["masked_speech"].flat.tolist() == [4 * row + column for row, column in places(MASK & ~padding)]
    assert made["unmasked_speech"].flat.tolist() == [4 * row + column for row, column in places(~MASK & ~padding)]
    assert made["rematched"].flat.tolist() == [0, 2]
    found = unpack(pack(made))
    assert found.keys() == made.keys()
    for name, selection in made.items():
        assert found[name].largest == selection.largest
        assert all(map(torch.equal, found[name][:-1], selection[:-1]))
    assert pack(select_positions({"features": padding}, None)) == {}
