"""Alignment of transcripts with hand-made posteriors, and posteriors of pieces against the model itself."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from slam_plugin.data.errors import DataError
from slam_plugin.data.text.normalization import AS_WRITTEN
from slam_plugin.hub import Slam
from slam_plugin.inference import alignment, recordings
from slam_plugin.inference.posteriors import Posteriors, posteriors
from slam_plugin.inference.recordings import Cutting
from slam_plugin.recordings.detector import SpeechActivity
from tests.support.checkpoints import batch_of

STATE = 0.04  # s


class Characters:
    """A vocabulary of letters and the blank between words."""

    dictionary = SimpleNamespace(unk=lambda: 3)

    def encode(self, text):
        return torch.tensor([ord(letter) if letter.isalpha() else 3 for letter in text])


@pytest.fixture
def recognizer(monkeypatch):
    """A recognizer that hears ``spoken``: (letter or "", number of states), with gaps of silence."""
    checkpoint = SimpleNamespace(vocabulary=Characters(), normalization=AS_WRITTEN, model=SimpleNamespace(blank=0))
    checkpoint.spoken = []

    @contextmanager
    def hear(checkpoint, source, symbols, cutting, report):
        rows = [letter for letter, count in checkpoint.spoken for _ in range(count)]
        found = np.full((len(rows), len(symbols) + 2), np.log(0.001), np.float32)
        for place, letter in enumerate(rows):
            symbol = ord(letter) if letter else 0
            if symbol in symbols:
                found[place, list(symbols).index(symbol)] = np.log(0.9)
            found[place, -2:] = np.log(0.9) - (0.5 if letter else 0.1), np.log(0.9)
        times = np.arange(len(rows)) * STATE
        yield Posteriors(found, times, times + STATE, len(rows) * STATE)

    monkeypatch.setattr(alignment, "posteriors", hear)
    monkeypatch.setattr(alignment, "require_ctc", lambda checkpoint: None)
    return checkpoint


def spoken(text, pause=5):
    """Return each letter of a text in two states with one of silence after it, and a pause after the last."""
    return [part for letter in text if letter != " " for part in ((letter, 2), ("", 1))] + [("", pause)]


def test_sentences_stand_where_they_are_spoken(recognizer):
    recognizer.spoken = [("", 10), *spoken("abc de"), *spoken("fgh", 20), *spoken("ab", 3)]
    found = alignment.align(recognizer, "talk.wav", "abc de\nfgh\nab\n")
    starts = [10, 10 + 15 + 5, 10 + 20 + 9 + 20]
    assert [sentence.text for sentence in found.sentences] == ["abc de", "fgh", "ab"]
    assert [sentence.start for sentence in found.sentences] == pytest.approx([STATE * start for start in starts])
    ends = [starts[0] + 14, starts[1] + 8, starts[2] + 5]
    assert [sentence.end for sentence in found.sentences] == pytest.approx([STATE * end for end in ends])
    assert all(sentence.confidence == pytest.approx(1.0) for sentence in found.sentences)
    assert [(word.text, round(word.start / STATE)) for word in found.sentences[0].words] == [("abc", 10), ("de", 19)]
    # Margins of 0.2 s, or half of the pause.
    assert found.sentences[0].begin == pytest.approx(10 * STATE - 0.2)
    assert found.sentences[0].finish == pytest.approx(found.sentences[1].begin)


def test_other_speech_is_left_out_and_absent_sentences_have_no_confidence(recognizer):
    recognizer.spoken = [*spoken("xyxyxyxyxy"), *spoken("abcd"), *spoken("zzyyxx"), *spoken("efgh")]
    found = alignment.align(recognizer, "talk.wav", ["abcd", "lmno", "efgh"])
    first, absent, last = found.sentences
    assert first.start == pytest.approx(35 * STATE) and last.start == pytest.approx((35 + 17 + 23) * STATE)
    assert min(first.confidence, last.confidence) > 0.9 and absent.confidence < 0.05
    assert [sentence.number for sentence in found.kept()] == [1, 3]


def test_words_that_the_vocabulary_lacks_stand_for_any_speech(recognizer):
    recognizer.spoken = [*spoken("ab", 2), *spoken("xyz", 2), *spoken("cd", 30), *spoken("xx", 1), *spoken("ef")]
    found = alignment.align(recognizer, "talk.wav", ["ab 1994 cd", "42 ef", "1 2 3"])
    first, second, unknown = found.sentences
    assert [word.text for word in first.words] == ["ab", "1994", "cd"] and first.confidence > 0.9
    assert first.words[1].start >= first.words[0].end and first.words[2].start == pytest.approx(STATE * (8 + 11))
    assert second.end == pytest.approx(STATE * (8 + 11 + 36 + 7 + 5)) and second.words[0].text == "42"
    assert second.start >= second.words[1].start - alignment.MAX_UNKNOWN
    assert unknown.confidence == 0.0 and unknown.words == ()


def test_long_sentences_are_split_at_their_longest_pause(recognizer):
    recognizer.spoken = [*spoken("abc", 40), *spoken("def", 10), *spoken("ghi")]
    (whole,) = alignment.align(recognizer, "talk.wav", ["abc def ghi"]).sentences
    parts = alignment.align(recognizer, "talk.wav", ["abc def ghi"], max_seconds=2.0).sentences
    assert [part.text for part in parts] == ["abc", "def ghi"]
    assert all(part.end - part.start <= 2.0 for part in parts) and parts[-1].end == whole.end


def test_texts_that_cannot_be_aligned_are_named(recognizer):
    recognizer.spoken = spoken("ab")
    with pytest.raises(DataError, match="talk.wav: its transcript has no words that the model's vocabulary knows"):
        alignment.align(recognizer, "talk.wav", "1 2 3")
    with pytest.raises(DataError, match=r"talk.wav: lasts 0.4 s, which is too short for its transcript"):
        alignment.align(recognizer, "talk.wav", "abcdefghijklmnop")


def test_a_translator_is_refused(translation, sounds):
    with pytest.raises(DataError, match="expected slam_ctc: alignment needs a recognizer trained with CTC"):
        alignment.align(Slam.load(translation.path), sounds[0], "ryby")


@torch.no_grad()
def test_posteriors_of_pieces_are_those_of_the_model(ctc, sounds, monkeypatch):
    slam, sound = Slam.load(ctc.path), max(sounds, key=lambda path: Path(path).stat().st_size)
    with posteriors(slam, sound, [0, 5, 7]) as found:
        expected = ctc.model(**batch_of(sound))["logits"][0].log_softmax(-1)
        assert found.log_probs[:, :3] == pytest.approx(expected[:, [0, 5, 7]].numpy(), abs=1e-4)
        assert found.log_probs[:, 4] == pytest.approx(expected.amax(-1).numpy(), abs=1e-4)
        wildcard = torch.maximum(expected.amax(-1) - 0.5, expected[:, 0] - 0.1)
        assert found.log_probs[:, 3] == pytest.approx(wildcard.numpy(), abs=1e-4)
        assert found.begins == pytest.approx(np.arange(len(expected)) * STATE)
        states = len(expected)
    silent = lambda blocks, detector: SpeechActivity(np.zeros(1), sum(map(len, blocks)))  # noqa: E731
    monkeypatch.setattr(recordings.Planner, "detector", None)
    monkeypatch.setattr(recordings, "detect", silent)
    with pytest.raises(DataError, match="found no speech in"), posteriors(slam, sound, [0], Cutting(True)):
        pass

    def halves(blocks, detector):
        samples = sum(map(len, blocks))
        probabilities = np.full(-(-samples // 512), 0.9)
        probabilities[len(probabilities) // 2 - 3 : len(probabilities) // 2 + 3] = 0.0
        return SpeechActivity(probabilities, samples)

    monkeypatch.setattr(recordings, "detect", halves)
    with posteriors(slam, sound, [0, 5], Cutting(True, joined_pause=0.0)) as found:
        (gap,) = np.flatnonzero(found.log_probs[:, 0] == 0.0)
        assert 0 < gap < len(found.begins) - 1 and len(found.begins) <= states + 2
        assert found.begins[gap] <= found.ends[gap] <= found.begins[gap + 1] and np.all(np.diff(found.begins) >= 0)
