"""What the hub writes against the models and fairseq's search themselves, one utterance at a time."""

from argparse import Namespace

import pytest
import torch

from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from slam_plugin.inference import batches, checkpoints
from tests.support.checkpoints import TRANSDUCER, batch_of, save

TEXTS = ["ryby", "lod cte ryby", "a", "kapitan jede", "ahoj"]


@pytest.fixture
def small_batches(monkeypatch):
    """Several pools of several batches, of several utterances each."""
    monkeypatch.setattr(batches, "POOL", 3)
    monkeypatch.setattr(checkpoints, "BATCH_FRAMES", 250)
    monkeypatch.setattr(checkpoints, "BATCH_TOKENS", 25)


def greedy(saved, path):
    """CTC's best path of one utterance, by the definition: text and log-probability."""
    log_probs = saved.model(**batch_of(path))["logits"][0].log_softmax(-1)
    symbols, score, last = [], 0.0, None
    for frame in log_probs:
        best = int(frame.argmax())
        score += float(frame[best])
        if best != last and best != saved.model.blank:
            symbols.append(saved.task.target_dictionary[best])
        last = best
    return "".join(symbols).replace("▁", " ").strip(), score


@torch.no_grad()
def test_transcribes_as_the_model_itself(ctc, sounds, small_batches):
    slam = Slam.load(ctc.path)
    expected = [greedy(ctc, path) for path in sounds]
    assert len({text for text, _ in expected}) > 1
    assert slam.transcribe(sounds) == [text for text, _ in expected]
    assert [slam.transcribe(path) for path in sounds] == [text for text, _ in expected]
    found = [best for (best,) in slam.generate_stream("transcribe", "speech", sounds, beam=1)]
    assert [best.score for best in found] == pytest.approx([score for _, score in expected], rel=1e-4)


def generated(saved, inputs, beam, start=None):
    """Texts and scores of fairseq's search, the best first; it starts with ``</s>`` or the symbol ``start``."""
    dictionary = saved.task.target_dictionary
    inputs["prev_output_tokens"] = torch.tensor([[dictionary.eos() if start is None else dictionary.index(start)]])
    generator = saved.task.build_generator([saved.model], Namespace(beam=beam))
    nbest = saved.task.inference_step(generator, [saved.model], {"net_input": inputs})[0]
    return [(saved.task.vocabulary.decode(each["tokens"]), float(each["score"])) for each in nbest]


def agree(found, expected):
    """Both are lists of n-best lists."""
    assert [[text for text, _ in nbest] for nbest in found] == [[text for text, _ in nbest] for nbest in expected]
    for nbest, other in zip(found, expected, strict=True):
        assert [score for _, score in nbest] == pytest.approx([score for _, score in other], rel=1e-4)


def test_translates_as_fairseqs_generator(translation, sounds, small_batches):
    slam = Slam.load(translation.path)
    expected_of = {beam: [generated(translation, batch_of(path), beam) for path in sounds] for beam in (1, 5)}
    assert expected_of[1] != expected_of[5] and any(nbest[0][0] for nbest in expected_of[5])
    for beam, expected in expected_of.items():
        assert slam.translate(sounds, beam=beam) == [nbest[0][0] for nbest in expected]
        agree(list(slam.generate_stream("translate", "speech", sounds, beam, nbest=beam)), expected)
        agree(list(slam.generate_stream("translate", "speech", sounds, beam)), [nbest[:1] for nbest in expected])
    assert slam.translate(sounds[0]) == expected_of[5][0][0][0]


def test_transcribes_by_the_search_of_a_transducer(tmp_path, sounds, small_batches):
    saved = save(tmp_path / "transducer", *TRANSDUCER)
    slam, short = Slam.load(saved.path), [sounds[i] for i in (0, 2, 3)]  # untrained, it writes without end
    assert slam.abilities == {"transcribe", "encode"}
    for beam in (1, 3):
        expected = [generated(saved, batch_of(path), beam) for path in short]
        agree(list(slam.generate_stream("transcribe", "speech", short, beam, nbest=beam)), expected)


def text_batch_of(saved, text):
    """``<s>``, the characters and ``</s>`` as the models read them."""
    symbols = ["<s>", *("▁" + text.replace(" ", "▁")), "</s>"]
    tokens = torch.tensor([[saved.task.source_vocabulary.dictionary.index(symbol) for symbol in symbols]])
    return {"src_tokens": tokens, "src_lengths": torch.tensor([tokens.size(1)])}


def test_translates_speech_and_text_into_the_language_asked_for(joint, sounds, small_batches):
    slam = Slam.load(joint.path)
    assert joint.task.source_vocabulary.hash != joint.task.vocabulary.hash
    expected_of = {}
    for language in ("de", "ca"):
        start = f"<lang:{language}>"
        expected = expected_of[language] = [generated(joint, batch_of(path), 3, start) for path in sounds]
        agree(list(slam.generate_stream("translate", "speech", sounds, 3, 3, language)), expected)
        expected = [generated(joint, text_batch_of(joint, text), 3, start) for text in TEXTS]
        assert len({nbest[0] for nbest in expected}) > 1
        agree(list(slam.generate_stream("translate", "text", TEXTS, 3, 3, language)), expected)
        assert slam.translate(text=TEXTS[0], target=language, beam=3) == expected[0][0][0]
    assert expected_of["de"] != expected_of["ca"]


@pytest.mark.parametrize(("target", "found"), [(None, "no language"), ("fr", "the language 'fr'")])
def test_a_language_that_is_not_there_is_named(joint, sounds, target, found):
    with pytest.raises(DataError, match=f"model.pt .*: found {found}, expected one of de, ca"):
        Slam.load(joint.path).translate(sounds[0], target=target)


def test_a_model_of_one_language_takes_no_other(translation, ctc, sounds):
    for ask in (Slam.load(translation.path).translate, Slam.load(ctc.path).transcribe):
        with pytest.raises(
            DataError, match="model.pt.*: found the language 'de', expected none: this model writes one"
        ):
            ask(sounds[0], target="de")


def test_normalizes_as_fairseqs_generator(normalizer, small_batches):
    slam = Slam.load(normalizer.path)
    expected = [generated(normalizer, text_batch_of(normalizer, text), 5) for text in TEXTS]
    assert len({nbest[0] for nbest in expected}) > 1
    agree(list(slam.generate_stream("normalize", "text", TEXTS, 5, 5)), expected)
    assert slam.normalize(TEXTS) == [nbest[0][0] for nbest in expected]
    assert slam.normalize(TEXTS[1]) == expected[1][0][0]


def test_text_beyond_the_models_limit_is_named(joint, normalizer, classifier):
    """<s>, a blank, 21 letters and </s> are 24 tokens."""
    fits, long = "a" * 21, "a" * 22
    asked = [
        lambda text: Slam.load(joint.path).translate(text=text, target="de"),
        Slam.load(normalizer.path).normalize,
        Slam.load(classifier.path).classify,
    ]
    for ask in asked:
        ask(fits)
        with pytest.raises(DataError, match="input 1: found 25 tokens, expected 1 to 24, as in the model's training"):
            ask(["a", long])


def test_no_more_hypotheses_than_the_search_keeps(translation, sounds):
    for nbest in (0, 3):
        with pytest.raises(DataError, match=f"nbest: found {nbest}, expected 1 to 2"):
            Slam.load(translation.path).generate_stream("translate", "speech", sounds, beam=2, nbest=nbest)


def test_a_stream_goes_on_after_a_bad_input(ctc, sounds, small_batches):
    slam = Slam.load(ctc.path)
    mixed = [sounds[0], "nowhere.wav", *sounds[1:], b""]
    results = list(slam.generate_stream("transcribe", "speech", iter(mixed), beam=1))
    assert [i for i, result in enumerate(results) if isinstance(result, DataError)] == [1, len(mixed) - 1]
    assert [r[0].text for r in results if not isinstance(r, DataError)] == slam.transcribe(sounds)
