"""Classes and numbers against the model itself, one text at a time."""

import pytest
import torch

from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from slam_plugin.inference import batches, checkpoints
from tests.support.checkpoints import CLASSIFIER, save

INPUTS = ["ryby", ("lod cte", "ryby"), "a", ("ahoj", "kapitan jede"), ("kapitan jede", "ahoj")]


@pytest.fixture
def small_batches(monkeypatch):
    """Several pools of several batches, of several texts each."""
    monkeypatch.setattr(batches, "POOL", 3)
    monkeypatch.setattr(checkpoints, "BATCH_TOKENS", 35)


@torch.no_grad()
def outputs(saved, sentences):
    """Return the head's outputs (classes,) for ``<s> a </s>`` or ``<s> a </s> </s> b </s>``, built by hand."""
    texts = ["▁" + text.replace(" ", "▁") for text in (sentences if isinstance(sentences, tuple) else (sentences,))]
    symbols = ["<s>", *texts[0], "</s>"] + [symbol for text in texts[1:] for symbol in ("</s>", *text, "</s>")]
    tokens = torch.tensor([[saved.task.source_vocabulary.dictionary.index(symbol) for symbol in symbols]])
    states = saved.model.encoder.trunk.encode_text(tokens, torch.zeros(tokens.shape, dtype=torch.bool))[0]
    (head,) = saved.model.classification_heads.values()
    return head.out_proj(torch.tanh(head.dense(states[:, 0])))[0]


def test_classifies_as_the_model_itself(classifier, small_batches):
    slam = Slam.load(classifier.path)
    expected = [outputs(classifier, sentences).softmax(0) for sentences in INPUTS]
    names = ["bad", "good", "ugly"]
    found = slam.classify(INPUTS)
    assert [label for label, _ in found] == [names[int(each.argmax())] for each in expected]
    assert [label.probability for label in found] == pytest.approx([float(each.max()) for each in expected], rel=1e-4)
    assert len({label.probability for label in found}) == len(INPUTS)
    assert slam.classify(INPUTS[1]).label == found[1].label


def test_a_regression_gives_numbers(tmp_path):
    saved = save(tmp_path / "regression", *CLASSIFIER, "--regression-target", "--num-classes=1")
    slam = Slam.load(saved.path)
    found = slam.classify(INPUTS)
    assert found == pytest.approx([float(outputs(saved, sentences)) for sentences in INPUTS], rel=1e-4)
    assert isinstance(slam.classify("a"), float)


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ("", "input 1: found an empty text"),
        (("ahoj", " "), "input 1: found an empty text"),
        (("東京", "ahoj"), "input 1: the model's vocabulary knows no piece of '東京'"),
        (("a", "b", "c"), "input 1: found 3 sentences, expected one or a pair"),
        ((), "input 1: found 0 sentences, expected one or a pair"),
    ],
)
def test_bad_text_is_named(classifier, sentences, message):
    with pytest.raises(DataError, match=message):
        Slam.load(classifier.path).classify(["ahoj", sentences])
