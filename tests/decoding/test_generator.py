"""fairseq's search with stepping decoders against fairseq's unmodified search."""

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator

from slam_plugin.decoding.generator import SteppingGenerator
from tests.support.translators import SYMBOLS, build, speech

SETTINGS = {
    "plain": {},
    "temperature": {"temperature": 0.7},
    "beginnings": {"prefix_tokens": torch.tensor([[7, 9], [8, 8], [5, 30], [4, 20], [40, 1], [6, 1]])},
}


def search(kind, models, beam, inputs, temperature=1.0, **forced):
    generator = kind(models, SYMBOLS, beam_size=beam, max_len_b=20, temperature=temperature)
    return generator.generate(models, {"net_input": inputs}, **forced)


def assert_same(found, expected):
    for mine, theirs in zip(found, expected, strict=True):
        assert [each["tokens"].tolist() for each in mine] == [each["tokens"].tolist() for each in theirs]
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one["positional_scores"], other["positional_scores"], atol=1e-4, rtol=0)
            assert float(one["score"]) == pytest.approx(float(other["score"]), abs=1e-5)


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("seeds", [[0], [0, 2]], ids=["one model", "two models"])
@pytest.mark.parametrize("beam", [1, 5])
def test_hypotheses_and_scores_are_the_same(beam, seeds, options):
    inputs, models = speech(), [build(seed) for seed in seeds]
    expected = search(SequenceGenerator, models, beam, inputs, **options)
    assert_same(search(SteppingGenerator, models, beam, inputs, **options), expected)
    ends = {max(len(each["tokens"]) for each in nbest) for nbest in expected}
    assert beam == 1 or options or len(ends) > 1, "sentences that end at different times are what moves the caches"


def test_a_search_reads_the_weights_of_its_time():
    model, inputs = build(), speech()
    generator = SteppingGenerator([model], SYMBOLS, beam_size=3, max_len_b=20)
    before = generator.generate([model], {"net_input": inputs})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data.mul_(0.8)
    after = generator.generate([model], {"net_input": inputs})
    assert_same(after, search(SequenceGenerator, [model], 3, inputs))
    assert before[0][0]["score"] != after[0][0]["score"]
