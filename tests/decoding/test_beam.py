"""Beam search against fairseq's generator, which decodes the same batches with the same models."""

import itertools

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator

from slam_plugin import compat
from slam_plugin.decoding import decoder_step
from slam_plugin.decoding.beam import BeamSearch, left, top
from tests.support.translators import EOS, LENGTHS, SYMBOLS, TAGS, build, speech

LIMIT = 30
MASK, GERMAN, CATALAN = (SYMBOLS.index(symbol) for symbol in ("<mask>", *TAGS))


def fairseqs(model, inputs, beam, bos_token=None, **options):
    generator = SequenceGenerator([model], SYMBOLS, beam_size=beam, **{"max_len_b": LIMIT, **options})
    return generator.generate([model], {"net_input": inputs}, bos_token=bos_token)


def ours(model, inputs, beam, start=EOS, **options):
    search = BeamSearch(model.decoder, beam=beam, **{"max_len_b": LIMIT, **options})
    with torch.no_grad():
        encoded = model.encoder(**inputs)
    return search(encoded, torch.as_tensor(start).expand(len(inputs["features"])))


def assert_same(found, expected, tolerance=2e-5):
    """All hypotheses of all sentences, in their order."""
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert [[*each.tokens.tolist(), EOS] for each in mine] == [each["tokens"].tolist() for each in theirs]
        for one, other in zip(mine, theirs, strict=True):
            assert one.score == pytest.approx(float(other["score"]), abs=tolerance)
            torch.testing.assert_close(one.token_scores, other["positional_scores"], atol=10 * tolerance, rtol=0)


def lengths_of(found):
    return [len(hypothesis.tokens) for hypotheses in found for hypothesis in hypotheses]


@pytest.mark.parametrize("share_output", [True, False])
@pytest.mark.parametrize("beam", [1, 4, 5, 10])
def test_hypotheses_and_scores_are_fairseqs(beam, share_output):
    lengths = set()
    for seed, eos in ((0, 1.5), (4, 4.0)):
        model, inputs = build(seed, eos, share_output=share_output), speech(seed=seed)
        found = ours(model, inputs, beam)
        assert_same(found, fairseqs(model, inputs, beam))
        lengths.update(lengths_of(found))
    assert len(lengths) > 1, lengths


@pytest.fixture(scope="module")
def trained():
    """A model trained on a few sentences, so that hypotheses end by themselves."""
    model, inputs = build(eos=1.0), speech()
    rows = [torch.randint(4, 40, (3 + 2 * number,)).tolist() for number in range(len(LENGTHS))]
    longest = max(map(len, rows)) + 1
    target = torch.tensor([[*row, EOS] + [SYMBOLS.pad()] * (longest - len(row) - 1) for row in rows])
    previous = torch.cat((torch.full((len(rows), 1), EOS), target[:, :-1]), dim=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        logits = model(**inputs, prev_output_tokens=previous)[0]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=SYMBOLS.pad())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, inputs


@pytest.mark.parametrize("beam", [1, 5])
def test_a_trained_models_hypotheses_are_fairseqs(trained, beam):
    found = ours(*trained, beam)
    assert_same(found, fairseqs(*trained, beam))
    best = [len(hypotheses[0].tokens) for hypotheses in found]
    assert len(set(best)) > 3 and max(best) < LIMIT, best


OPTIONS = [
    {"min_len": 6},
    {"min_len": 12, "max_len_b": 12},
    {"max_len_b": 3},
    {"len_penalty": 0.3},
    {"len_penalty": 2.0},
    {"unk_penalty": -5.0},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3, "min_len": 20},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_are_fairseqs(options):
    compat.apply()  # fairseq's own blocking of n-grams does not run on every torch
    model, inputs = build(), speech()
    found = ours(model, inputs, 4, **options)
    assert_same(found, fairseqs(model, inputs, 4, **options))
    plain = ours(model, inputs, 4)
    assert [[each.score for each in nbest] for nbest in found] != [[each.score for each in nbest] for nbest in plain]


def test_suppressed_symbols_are_never_written():
    model, inputs = build(), speech()
    liked = ours(model, inputs, 5)[0][0].tokens[0].item()
    found = ours(model, inputs, 5, suppress=[MASK, liked])
    assert_same(found, fairseqs(model, inputs, 5, tokens_to_suppress=["<mask>", SYMBOLS[liked]]))
    assert not any(liked in each.tokens for hypotheses in found for each in hypotheses)


def test_every_sentence_starts_with_its_own_symbol():
    model, inputs = build(), speech()
    german, catalan = (ours(model, inputs, 5, start=tag) for tag in (GERMAN, CATALAN))
    assert_same(german, fairseqs(model, inputs, 5, bos_token=GERMAN))
    mixed = ours(model, inputs, 5, start=[GERMAN, CATALAN] * 3)
    for number, hypotheses in enumerate(mixed):
        expected = (german, catalan)[number % 2][number]
        assert [each.tokens.tolist() for each in hypotheses] == [each.tokens.tolist() for each in expected]
        assert german[number][0].tokens.tolist() != catalan[number][0].tokens.tolist()


@pytest.mark.parametrize("beam", [1, 5])
def test_a_sentence_alone_is_as_in_a_batch(beam):
    model, inputs = build(), speech()
    together = ours(model, inputs, beam)
    for number, length in enumerate(LENGTHS):
        alone = {name: tensor[number : number + 1, :length] for name, tensor in inputs.items()}
        (hypotheses,) = ours(model, alone, beam)
        for one, other in zip(hypotheses, together[number], strict=True):
            assert one.tokens.tolist() == other.tokens.tolist()
            assert one.score == pytest.approx(other.score, abs=2e-5)


def test_the_limit_follows_each_sentences_own_length():
    model, inputs = build(eos=-1.5), speech()
    found = ours(model, inputs, 3, max_len_a=0.5, max_len_b=2)
    limits = [int(0.5 * -(-length // 4) + 2) for length in LENGTHS]
    for number, (length, limit) in enumerate(zip(LENGTHS, limits, strict=True)):
        alone = {name: tensor[number : number + 1, :length] for name, tensor in inputs.items()}
        assert_same(found[number : number + 1], fairseqs(model, alone, 3, max_len_b=limit))
    assert {limits[number] for number in range(len(LENGTHS)) if len(found[number][0].tokens) == limits[number]}


def test_no_more_than_the_decoders_positions_are_used():
    model = build(eos=-1.5, decoder_max_positions=12)
    found = ours(model, speech(), 2)
    assert_same(found, fairseqs(model, speech(), 2))
    assert max(lengths_of(found)) == 11


def test_without_padding():
    model = build()
    inputs = speech([60, 60])
    expected = fairseqs(model, inputs, 5)
    assert_same(ours(model, inputs, 5), expected)
    assert_same(ours(model, {**inputs, "padding_mask": None}, 5), expected)


def test_long_hypotheses_outgrow_the_caches(monkeypatch):
    model, inputs = build(eos=-1.5), speech()
    expected = fairseqs(model, inputs, 5, max_len_b=60)
    monkeypatch.setattr(decoder_step, "FIRST_PLACES", 3)
    found = ours(model, inputs, 5, max_len_b=60)
    assert_same(found, expected)
    assert max(lengths_of(found)) == 60


def test_bf16_is_near_fp32(trained):
    model, inputs = trained
    twin = build(autocast="bf16")
    twin.load_state_dict(model.state_dict())
    search = BeamSearch(twin.decoder, beam=5, max_len_b=LIMIT)
    assert {layer.ffn_in.weight.dtype for layer in search.decoder.layers} == {torch.bfloat16}
    same = 0
    for mine, theirs in zip(ours(twin, inputs, 5), ours(model, inputs, 5), strict=True):
        same += mine[0].tokens.tolist() == theirs[0].tokens.tolist()
        assert mine[0].score == pytest.approx(theirs[0].score, abs=0.05)
        assert mine[0].score != theirs[0].score
    assert same >= 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("autocast", ["none", "bf16"])
def test_a_gpu_finds_what_fairseq_finds_there(autocast):
    model = build(autocast=autocast).cuda()
    inputs = {name: tensor.cuda() for name, tensor in speech().items()}
    found = BeamSearch(model.decoder, beam=5, max_len_b=LIMIT)(
        model.encoder(**inputs), torch.full((len(LENGTHS),), EOS, device="cuda")
    )
    if autocast == "none":
        assert_same(found, fairseqs(model, inputs, 5), tolerance=1e-3)
    assert all(each.tokens.device.type == "cpu" for nbest in found for each in nbest)


@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize("total", [50, 5_000, 64 * 64 * 10, 70_001])
def test_top_is_topk(total, count):
    scores = torch.randn(3, total, generator=torch.Generator().manual_seed(total))
    scores[:, torch.randperm(total)[: total // 2]] = -torch.inf
    found, expected = top(scores, count), scores.topk(count)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_those_that_are_left_move_as_little_as_possible():
    for done in itertools.product([False, True], repeat=5):
        order = left(torch.tensor(done)).tolist()
        going = [number for number, ended in enumerate(done) if not ended]
        assert sorted(order) == going
        assert [order[place] for place in range(len(order)) if not done[place]] == [n for n in going if n < len(order)]


def test_what_cannot_be_searched_is_named():
    model, inputs = build(), speech()
    with pytest.raises(ValueError, match=f"beam: found 0, expected 1 to {len(SYMBOLS) // 2}"):
        ours(model, inputs, 0)
    with pytest.raises(ValueError, match="min_len: found 5, expected at most the length limit 4"):
        ours(model, inputs, 2, max_len_b=4, min_len=5)
    with pytest.raises(ValueError, match="no hypothesis"):
        ours(model, inputs, 2, suppress=[0, *range(EOS + 1, len(SYMBOLS))], min_len=2)
    model.decoder.layer_norm = None
    with pytest.raises(ValueError, match="post-norm"):
        ours(model, inputs, 2)
