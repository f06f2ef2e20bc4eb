import itertools

import pytest
import torch

from slam_plugin.modules.pseudo_speech import GAP, MAX_GAP, Rows, draw_rows, span_masks, speak, take_apart

BOS, PAD, EOS = 0, 1, 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(texts):
    """Return texts, each a list of sentences without </s>, as padded tokens."""
    rows = [
        torch.tensor([BOS, *itertools.chain.from_iterable([*sentence, EOS] for sentence in text)]) for text in texts
    ]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    return tokens, tokens == PAD


def naive_rows(texts, length):
    """Return the units of each row: a sentence goes to the piece of its text in which it begins."""
    rows = []
    for text in texts:
        place, pieces = 0, {}
        for number, sentence in enumerate(text):
            begin = 0 if number == 0 else place
            pieces.setdefault(begin // length, []).extend(sentence)
            place += len(sentence) + 1 + (number == 0)  # <s> stands before the first
        rows += [units for units in pieces.values() if units]
    return rows


@pytest.mark.parametrize("length", [1, 4, 7, 100])
def test_texts_are_taken_apart_at_the_ends_of_sentences(length):
    random = torch.Generator().manual_seed(5)
    texts = [
        [
            torch.randint(3, 9, (int(size),), generator=random).tolist()
            for size in torch.randint(1, 6, (7,), generator=random)
        ]
        for _ in range(4)
    ]
    texts += [[[5]], [[], [4, 4]], [[]]]
    tokens, padding = batch_of(texts)
    rows = take_apart(tokens, padding, BOS, EOS, length)
    found = [rows.units[rows.row == row].tolist() for row in range(int(rows.row.max()) + 1)]
    assert found == naive_rows(texts, length)
    for more in (tokens[:1, :1], tokens[:0]):  # nothing but <s>, no text at all
        assert not len(take_apart(more, None, BOS, EOS, length).units)


def long_rows(count=400, units=30):
    random = torch.Generator().manual_seed(3)
    return Rows(torch.randint(3, 7, (count * units,), generator=random), torch.arange(count).repeat_interleave(units))


WORD_STARTS = torch.tensor([False, False, False, True, False, False, False])


def test_frames_spell_their_units():
    """Pauses are only before words and never first. Without them and without repetitions the units remain."""
    rows = long_rows()
    spoken = speak(rows, WORD_STARTS, generator())
    for row in range(0, 400, 7):
        units = spoken.units[row].tolist()
        assert units == rows.units[rows.row == row].tolist() and spoken.unit_counts[row] == len(units)
        frames = spoken.frames[row, : spoken.frame_counts[row]].tolist()
        assert not spoken.frames[row, spoken.frame_counts[row] :].any()
        runs = [(unit, len(list(run))) for unit, run in itertools.groupby(frames)]
        assert runs[0][0] != GAP
        for (unit, count), (after, _) in itertools.pairwise(runs):
            if unit == GAP:
                assert count <= MAX_GAP and WORD_STARTS[after]
        equal = [(unit, len(list(run))) for unit, run in itertools.groupby(units)]
        without = [frame for frame in frames if frame != GAP]
        lasting = [(unit, len(list(run))) for unit, run in itertools.groupby(without)]
        for (unit, number), (found, length) in zip(equal, lasting, strict=True):
            assert unit == found and 2 * number - 1 <= length <= 3 * number


def test_how_long_units_and_pauses_last():
    rows = Rows(torch.arange(3, 5).repeat(6000), torch.arange(400).repeat_interleave(30))
    spoken = speak(rows, WORD_STARTS, generator())
    frames = torch.cat([row[:count] for row, count in zip(spoken.frames, spoken.frame_counts, strict=True)])
    assert (frames != GAP).sum().item() / 12000 == pytest.approx(1.8, abs=0.03)
    words = 400 * 14  # every second unit but the first of a row, which never has a pause
    assert (frames == GAP).sum().item() / words == pytest.approx(0.25 * 2.0, abs=0.05)


def test_states_of_half_the_time_are_twice_as_many():
    once, twice = (speak(long_rows(), WORD_STARTS, generator(), stretch) for stretch in (1, 2))
    assert torch.equal(twice.frame_counts, 2 * once.frame_counts) and torch.equal(twice.units, once.units)
    for short, long, count in zip(once.frames, twice.frames, once.frame_counts.tolist(), strict=True):
        assert torch.equal(long[: 2 * count], short[:count].repeat_interleave(2))


def test_a_path_of_ctc_is_always_possible():
    """Between two equal units it needs a blank, so one more frame."""
    units = torch.full((600,), 4)
    spoken = speak(Rows(units, torch.arange(60).repeat_interleave(10)), WORD_STARTS, generator())
    assert (spoken.frame_counts >= 10 + 9).all()
    loss = torch.nn.functional.ctc_loss(
        torch.zeros(spoken.frames.size(1), 60, 7).log_softmax(-1),
        spoken.units,
        spoken.frame_counts,
        spoken.unit_counts,
        reduction="none",
    )
    assert loss.isfinite().all()


@pytest.mark.parametrize(("share", "count"), [(0.25, 100), (1.0, 400), (0.0001, 1)])
def test_a_share_of_the_rows_is_drawn(share, count):
    rows = long_rows()
    drawn, again, other = (draw_rows(rows, share, generator(seed)) for seed in (1, 1, 2))
    assert drawn.row.unique().tolist() == list(range(count)) and torch.equal(drawn.units, again.units)
    assert torch.equal(drawn.units, other.units) == (share == 1.0)
    whole = [rows.units[rows.row == row].tolist() for row in range(400)]
    places = [whole.index(drawn.units[drawn.row == row].tolist()) for row in range(count)]
    assert places == sorted(set(places)), "whole rows in their order, none twice"


def test_the_generator_decides():
    first, again, other = (speak(long_rows(), WORD_STARTS, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.frames, again.frames) and first.frames.shape != other.frames.shape


@pytest.mark.parametrize(("rate", "span"), [(0.49, 10), (0.2, 3)])
def test_spans_are_masked_at_their_rate_everywhere(rate, span):
    counts = torch.full((4000,), 50)
    counts[:2000] = 41
    masks = span_masks(counts, 50, rate, span, generator())
    assert not masks[:2000, 41:].any()
    shares = masks[2000:].float().mean(0)
    assert (shares - rate).abs().max() < 0.06, "the first positions no less than others"
    # as long as a span, if it does not touch the ends
    inner = [
        len(list(run)) for row in masks[2000:2200] for value, run in itertools.groupby(row[1:-1].tolist()) if value
    ]
    assert masks[2000:].any() and sum(length >= span for length in inner) > 0.8 * len(inner) * (1 - 2 * span / 50)
