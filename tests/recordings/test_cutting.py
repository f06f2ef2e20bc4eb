"""Cutting by hand-made probabilities, against Silero VAD's own rules and against the samples themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slam_plugin.data.errors import DataError
from slam_plugin.recordings.cutting import MIN_PAUSE, MIN_SPEECH, Piece, Span, cut, excerpts, speech_spans
from slam_plugin.recordings.detector import WINDOW

SECOND = 16_000


def probabilities(*runs):
    """Runs of (windows, probability)."""
    return np.concatenate([np.full(windows, value, np.float32) for windows, value in runs])


def test_speech_ends_before_a_pause():
    found = speech_spans(probabilities((10, 0.1), (20, 0.9), (MIN_PAUSE, 0.1), (30, 0.8), (10, 0.0)))
    assert found == [Span(10, 30), Span(30 + MIN_PAUSE, 60 + MIN_PAUSE)]


def test_a_short_pause_or_a_doubtful_one_does_not_end_speech():
    short = probabilities((5, 0.1), (20, 0.9), (MIN_PAUSE - 1, 0.1), (20, 0.9), (9, 0.1))
    doubtful = probabilities((5, 0.1), (20, 0.9), (30, 0.4), (20, 0.9), (9, 0.1))
    assert speech_spans(short) == [Span(5, 44 + MIN_PAUSE)]
    assert speech_spans(doubtful) == [Span(5, 75)]


def test_a_click_is_no_speech_and_the_end_of_the_recording_ends_speech():
    assert speech_spans(probabilities((5, 0.1), (MIN_SPEECH - 1, 0.9), (20, 0.1))) == []
    assert speech_spans(probabilities((5, 0.1), (20, 0.9), (2, 0.1))) == [Span(5, 27)]
    assert speech_spans(np.zeros(0, np.float32)) == []


def test_spans_are_those_of_silero_vad():
    utils = pytest.importorskip("silero_vad.utils_vad")
    rng = np.random.default_rng(1)
    compared = 0
    for _ in range(50):
        smooth = np.convolve(rng.random(400), np.ones(5) / 5, "same")
        values = np.clip((smooth - 0.5) * 4 + 0.5, 0, 1)
        expected = utils.get_speech_timestamps_from_probs(
            values.tolist(),
            threshold=0.5,
            min_speech_duration_ms=(MIN_SPEECH - 1) * 32,  # longer than it
            min_silence_duration_ms=(MIN_PAUSE - 1) * 32,  # windows after the first
            speech_pad_ms=0,
            audio_length_samples=400 * WINDOW,
        )
        found = [(span.begin * WINDOW, span.end * WINDOW) for span in speech_spans(values)]
        assert found == [(span["start"], span["end"]) for span in expected]
        compared += len(found)
    assert compared > 200


def test_a_long_passage_is_cut_where_speech_is_least_probable():
    values = probabilities((40, 0.9), (1, 0.6), (20, 0.9), (1, 0.7), (40, 0.9))
    pieces = cut(values, len(values) * WINDOW, 2 * SECOND, margin=0.0)
    # 62 windows fit; the lowest probability is in the second half of them.
    assert [piece.speech for piece in pieces] == [Span(0, 40 * WINDOW), Span(40 * WINDOW, 102 * WINDOW)]


def test_pieces_with_a_short_pause_between_are_joined_if_they_fit():
    values = probabilities((31, 0.9), (8, 0.1), (31, 0.9), (8, 0.1), (62, 0.9), (40, 0.1), (31, 0.9))
    samples = len(values) * WINDOW
    found = [piece.speech for piece in cut(values, samples, 4 * SECOND, joined_pause=0.3, margin=0.1)]
    assert found == [Span(0, 70 * WINDOW), Span(78 * WINDOW, 140 * WINDOW), Span(180 * WINDOW, samples)]
    assert len(cut(values, samples, 4 * SECOND, joined_pause=0.2)) == 4
    assert len(cut(values, samples, 8 * SECOND, joined_pause=2.0)) == 1


def test_margins_meet_in_the_middle_of_a_pause_and_stay_within_the_recording():
    values = probabilities((2, 0.1), (31, 0.9), (4, 0.1), (31, 0.9), (100, 0.1))
    first, second = cut(values, len(values) * WINDOW, 8 * SECOND, joined_pause=0.0, margin=0.2)
    assert first == Piece(Span(0, 35 * WINDOW), Span(2 * WINDOW, 33 * WINDOW))
    assert second == Piece(Span(35 * WINDOW, 68 * WINDOW + 3200), Span(37 * WINDOW, 68 * WINDOW))


def test_pieces_shorter_than_a_second_are_refused():
    with pytest.raises(ValueError, match="longest: found 15999 samples, expected at least a second"):
        cut(np.ones(10), 10 * WINDOW, SECOND - 1)


@given(
    st.lists(st.tuples(st.integers(1, 200), st.sampled_from((0.0, 0.3, 0.45, 0.6, 1.0))), max_size=12),
    st.integers(1, WINDOW),
    st.integers(SECOND, 4 * SECOND),
    st.sampled_from((0.0, 0.3, 1.0)),
    st.sampled_from((0.0, 0.2, 5.0)),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_sample_of_speech_is_lost_or_doubled(runs, rest, longest, joined_pause, margin):
    values = probabilities((1, 0.0), *runs)
    samples = (len(values) - 1) * WINDOW + rest
    pieces = cut(values, samples, longest, joined_pause, margin)
    times = np.zeros(samples, int)
    for piece in pieces:
        assert 0 < piece.audio.length <= longest
        assert piece.audio.begin <= piece.speech.begin < piece.speech.end <= piece.audio.end <= samples
        times[piece.audio.begin : piece.audio.end] += 1
    assert times.max(initial=0) <= 1
    for span in speech_spans(values):
        assert (times[span.begin * WINDOW : span.end * WINDOW] == 1).all()
    assert [piece.audio for piece in pieces] == sorted(piece.audio for piece in pieces)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_excerpts_are_slices_whatever_the_blocks(size):
    sound = torch.arange(100.0)
    spans = [Span(0, 3), Span(3, 20), Span(50, 51), Span(60, 100)]
    found = list(excerpts(sound.split(size), spans, "a.wav"))
    assert all(torch.equal(part, sound[span.begin : span.end]) for part, span in zip(found, spans, strict=True))
    assert list(excerpts(sound.split(size), [], "a.wav")) == []


def test_a_recording_that_became_shorter_is_named():
    with pytest.raises(DataError, match="^a.wav: ends after 10 samples, expected 12"):
        list(excerpts(torch.arange(10.0).split(4), [Span(0, 3), Span(5, 12)], "a.wav"))
