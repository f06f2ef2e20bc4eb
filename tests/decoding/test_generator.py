"""fairseq's search with what a beam shares against fairseq's search as it is."""

import pytest
import torch
from fairseq.modules import MultiheadAttention
from fairseq.sequence_generator import SequenceGenerator

from slam_plugin.decoding.generator import SharingGenerator
from tests.translators import EOS, SYMBOLS, build, speech


def search(kind, models, beam, inputs, **options):
    generator = kind(models, SYMBOLS, beam_size=beam, max_len_b=20, **options)
    return generator.generate(models, {"net_input": inputs})


@pytest.mark.parametrize("seeds", [[0], [0, 2]], ids=["one model", "two models"])
@pytest.mark.parametrize("beam", [1, 5])
def test_hypotheses_and_scores_are_the_same(beam, seeds):
    inputs = speech()
    expected = search(SequenceGenerator, [build(seed) for seed in seeds], beam, inputs)
    found = search(SharingGenerator, [build(seed) for seed in seeds], beam, inputs)
    for mine, theirs in zip(found, expected, strict=True):
        assert [each["tokens"].tolist() for each in mine] == [each["tokens"].tolist() for each in theirs]
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one["positional_scores"], other["positional_scores"], atol=1e-4, rtol=0)
            assert float(one["score"]) == pytest.approx(float(other["score"]), abs=1e-5)
    ends = {max(len(each["tokens"]) for each in nbest) for nbest in expected}
    assert beam == 1 or len(ends) > 1, "sentences that end at different times are what moves the keys"


def test_keys_are_shared_while_the_search_runs_and_no_longer():
    """A batch of training with as many sentences as the beam has hypotheses would be taken for one sentence."""
    model, inputs = build(), speech()
    previous = torch.full((len(inputs["features"]), 4), EOS)
    before = model(**inputs, prev_output_tokens=previous)[0]
    seen = []
    step = model.decoder.layers[0].encoder_attn.register_forward_pre_hook(
        lambda module, args, named: seen.append((module.beam_size, named["key"].size(1))), with_kwargs=True
    )
    search(SharingGenerator, [model], 3, inputs)
    step.remove()
    assert set(seen) == {(3, len(inputs["features"]))}
    assert torch.equal(model(**inputs, prev_output_tokens=previous)[0], before)
    with pytest.raises(AssertionError, match="min_len"):
        search(SharingGenerator, [model], 3, inputs, min_len=30)
    assert {layer.beam_size for layer in model.modules() if isinstance(layer, MultiheadAttention)} == {1}
