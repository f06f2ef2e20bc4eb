"""Texts given to a model are normalized as its training text was: the checkpoint says how."""

import logging

import pytest
import torch

from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from slam_plugin.inference import checkpoints


def saying(path, name, tmp_path):
    """Return a copy of a checkpoint whose text was normalized as ``name``."""
    state = torch.load(path, weights_only=False)
    state["task_state"]["text_normalization"] = name
    torch.save(state, tmp_path / "said.pt")
    return tmp_path / "said.pt"


@pytest.mark.parametrize("kind", ["normalizer", "classifier", "pretraining"])
def test_capitals_and_punctuation_are_those_of_the_training_text(kind, request, tmp_path):
    slam = Slam.load(saying(request.getfixturevalue(kind).path, "words", tmp_path), "cpu")

    def result(text):
        if kind == "normalizer":
            return list(slam.generate_stream("normalize", "text", [text], 5))  # with scores
        return slam.classify(text) if kind == "classifier" else slam.encode(text=text).tolist()

    assert result("AHOJ, Ryby!") == result("ahoj ryby") != result("kapitan cte")
    if kind == "classifier":
        assert slam.classify(("AHOJ!", "Lod’")) == slam.classify(("ahoj", "lod"))
    with pytest.raises(DataError, match=r"found no words in '\.\.\.'"):
        slam.normalize("...") if kind == "normalizer" else result("...")


def test_a_checkpoint_that_does_not_say_is_read_as_written(normalizer, tmp_path, caplog):
    checkpoints._warn_of_unknown.cache_clear()
    slam = Slam.load(normalizer.path, "cpu")
    with caplog.at_level(logging.WARNING):
        assert slam.normalize("Ahoj") == slam.normalize("\N{SNOWMAN}hoj"), "a capital is unknown"
    assert [record.message for record in caplog.records] == [caplog.records[0].message]
    assert "does not say how its text was normalized" in caplog.records[0].message
    written = Slam.load(saying(normalizer.path, "as written", tmp_path), "cpu")
    caplog.clear()
    assert written.normalize("Ahoj") == slam.normalize("Ahoj") and not caplog.records


def test_a_normalization_of_a_later_version_is_refused(normalizer, tmp_path):
    with pytest.raises(DataError, match="its text was normalized as 'magic', expected one of english words, "):
        Slam.load(saying(normalizer.path, "magic", tmp_path))
