"""The translators compared for speed have the same size, the same input and outputs of the same length."""

import pytest
import torch

from benchmarks import decoding
from benchmarks.decoding import BEAM, Batch
from benchmarks.figures import SCALES
from benchmarks.peers.translators import OUR_KERNEL, THEIR_KERNEL, dictionary, fairseqs, ours
from slam_plugin.data.padding import padding_mask_of

FRAMES = [120, 104]
SYMBOLS = dictionary(60)


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(0)
    return Batch(torch.randn(len(FRAMES), max(FRAMES), 80), padding_mask_of(FRAMES), tokens=5)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("kernel", [OUR_KERNEL, THEIR_KERNEL])
def test_the_models_are_as_large(kernel):
    symbols = dictionary(decoding.SYMBOLS)
    assert len(symbols) == decoding.SYMBOLS
    mine, theirs = ours("small", symbols, bf16=False), fairseqs("small", symbols, kernel)
    assert count(mine.decoder) == count(theirs.decoder)
    assert 1.0 < count(theirs.encoder) / count(mine.encoder) < 1.15


@torch.inference_mode()
def test_the_encoders_give_as_many_states(batch):
    mine, theirs = ours("tiny", SYMBOLS, bf16=False), fairseqs("tiny", SYMBOLS, THEIR_KERNEL)
    found, expected = mine.encoder(*batch[:2]), theirs.encoder(batch.features, batch.lengths)
    assert found["encoder_out"][0].shape == expected["encoder_out"][0].shape
    assert torch.equal(found["encoder_padding_mask"][0], expected["encoder_padding_mask"][0])


@torch.inference_mode()
def test_every_search_writes_as_many_tokens_and_both_of_ours_the_same(batch):
    given = [batch]
    mine = ours("tiny", SYMBOLS, bf16=False)
    (theirs,) = decoding.fairseqs_search(fairseqs("tiny", SYMBOLS, THEIR_KERNEL), SYMBOLS, given)()
    (starting,), (hubs,) = (find(mine, SYMBOLS, given)() for find in (decoding.starting_search, decoding.hubs_search))
    for found in (theirs, starting):
        assert [[len(each["tokens"]) for each in nbest] for nbest in found] == [[batch.tokens + 1] * BEAM] * len(FRAMES)
    for nbest, expected in zip(hubs, starting, strict=True):
        assert [each.score for each in nbest] == pytest.approx([float(each["score"]) for each in expected], abs=1e-5)


def test_batches_go_from_short_utterances_to_long_within_the_budget_and_figures_are_ratios(tmp_path, monkeypatch):
    made = []
    batches = decoding.batches
    monkeypatch.setattr(decoding, "batches", lambda *arguments: made.extend(batches(*arguments)) or made)
    scale = SCALES["smoke"]._replace(data=tmp_path, budget=1200)
    found = decoding.figures(scale)

    assert len(made) == decoding.BATCHES
    assert all(batch.padding_mask.numel() <= scale.budget // decoding.BATCHES for batch in made)
    longest = [int(batch.lengths.max()) for batch in made]
    assert longest == sorted(longest) == [batch.features.size(1) for batch in made]
    assert [batch.tokens for batch in made] == [max(1, round(0.043 * frames)) for frames in longest]
    assert any(batch.padding_mask.any() for batch in made)

    assert len({figure.name for figure in found}) == len(found) == 7
    for figure in found:
        theirs, mine = figure.cpu_seconds
        assert "fairseq" in theirs and mine.endswith(("fp32", "bf16"))
        assert figure.value == figure.cpu_seconds[theirs] / figure.cpu_seconds[mine] > 0
