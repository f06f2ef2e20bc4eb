"""Recordings of any length: joined clips against the clips alone, times, and what is no use."""

import numpy as np
import pytest
import soundfile
import torch

from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from slam_plugin.inference import batches, checkpoints, recordings
from slam_plugin.inference.recordings import Cutting
from slam_plugin.recordings.detector import WINDOW
from tests.support.checkpoints import TRANSDUCER, save
from tests.support.recordings import detect_by_loudness, noise

RATE = 16_000
LIMIT = 400  # frames that the models take here, so that short recordings are long ones
PAUSE = 24  # windows


def load(saved):
    slam = Slam.load(saved.path)
    slam.config.max_source_positions = LIMIT
    return slam


@pytest.fixture
def by_loudness(monkeypatch):
    """Speech is what is loud: so the test knows where the cuts are, and needs no package."""
    detect_by_loudness(monkeypatch)
    monkeypatch.setattr(batches, "POOL", 3)
    monkeypatch.setattr(checkpoints, "BATCH_FRAMES", 300)


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """A recording of 16 s of clips with pauses, and for each clip (begin, end) in windows and its samples."""
    parts, clips, place = [], [], 0
    for number, windows in enumerate((20, 40, 12, 45, 31, 50, 10, 28, 44)):
        pause = PAUSE if number else 20
        clip = noise(windows, number)
        parts += [np.zeros(pause * WINDOW, np.float32), clip]
        clips.append((place + pause, place + pause + windows, clip))
        place += pause + windows
    path = tmp_path_factory.mktemp("joined") / "joined.wav"
    soundfile.write(path, np.concatenate(parts), RATE, subtype="FLOAT")
    return path, clips


@pytest.fixture(scope="module")
def transducer(tmp_path_factory):
    return save(tmp_path_factory.mktemp("transducer"), *TRANSDUCER)


def as_cut(clip, first, last):
    """A clip with the margins that it has in the joined recording: silence of 0.2 s, none at the recording's end."""
    margin = np.zeros(3200, np.float32)
    return np.concatenate([margin, clip] if last else [margin, clip, margin])


@pytest.mark.parametrize("kind", ["ctc", "transducer", "translation"])
def test_joined_clips_give_the_texts_of_the_clips(kind, request, joined, by_loudness):
    path, clips = joined
    slam = load(request.getfixturevalue(kind))
    ability = "translate" if kind == "translation" else "transcribe"
    alone = [(as_cut(clip, n == 0, n == len(clips) - 1), RATE) for n, (_, _, clip) in enumerate(clips)]
    best = [nbest[0] for nbest in slam.generate_stream(ability, "speech", alone, beam=1)]
    expected = [each.text for each in best]
    assert len({round(each.score, 4) for each in best}) > 5
    reports = []
    sources = [path, alone[0], path]
    found = list(
        slam.recordings_stream(ability, sources, beam=1, report=lambda what, name, share: reports.append((what, share)))
    )
    assert [each.pieces for each in found] == [9, 1, 9]
    assert found[0].text == found[2].text == " ".join(text for text in expected if text)
    assert found[1].text == expected[0]
    decoded = [segment.score for segment in found[0].segments]
    assert decoded == pytest.approx([each.score for each in best if each.text], rel=1e-4)
    assert found[0].duration == pytest.approx(sum(len(clip) for _, _, clip in clips) / RATE + (20 + 8 * PAUSE) * 0.032)
    assert {what for what, _ in reports} == {"finding speech", "decoding"}
    assert all(0 <= share <= 1 for _, share in reports) and reports[-1] == ("decoding", 1.0)
    texts = slam.translate(path, beam=1) if kind == "translation" else slam.transcribe(path)
    assert texts == found[0].text


@pytest.mark.parametrize("kind", ["ctc", "transducer"])
def test_times_of_words_are_in_order_and_inside(kind, request, joined, by_loudness):
    path, clips = joined
    slam = load(request.getfixturevalue(kind))
    for beam in (1, 3):
        (found,) = slam.recordings([path], beam=beam)
        words = [word for segment in found.segments for word in segment.words]
        assert [word.text for word in words] == found.text.split()
        times = [time for word in words for time in (word.start, word.end)]
        assert times == sorted(times) and times[0] >= 0 and times[-1] <= found.duration
        assert all(0 <= word.confidence <= 1 for word in words)
        for segment in found.segments:
            assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
            assert segment.confidence == pytest.approx(np.mean([word.confidence for word in segment.words]))
            # Within one clip and its margins.
            assert any(b * 0.032 - 0.201 <= segment.start and segment.end <= e * 0.032 + 0.201 for b, e, _ in clips)


def test_a_decoder_gives_the_times_of_speech(translation, joined, by_loudness):
    path, clips = joined
    found = load(translation).recordings(path, ability="translate")
    spans = [(begin * 0.032, end * 0.032) for begin, end, _ in clips]
    for segment in found.segments:
        assert any((segment.start, segment.end) == pytest.approx(span) for span in spans)
        assert segment.words == () and segment.confidence == pytest.approx(np.exp(segment.score))


def test_batches_do_not_change_a_result(ctc, joined, by_loudness, monkeypatch):
    slam = load(ctc)
    several = slam.recordings(joined[0])
    monkeypatch.setattr(checkpoints, "BATCH_FRAMES", 1)
    alone = slam.recordings(joined[0])
    assert several.text == alone.text
    assert several.score == pytest.approx(alone.score, rel=1e-4)
    for one, other in zip(several.segments, alone.segments, strict=True):
        assert (one.start, one.end) == (other.start, other.end)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_what_the_model_takes_whole_is_not_cut(ctc, joined, sounds, by_loudness, monkeypatch):
    slam = load(ctc)
    silence = np.zeros(31 * WINDOW, np.float32)
    begin = (np.concatenate([silence, joined[1][0][2], silence]), RATE)
    (always,) = slam.recordings([begin], cutting=Cutting(always=True))
    monkeypatch.setattr(recordings, "SpeechDetector", None)  # not used
    for whole in (sounds[0], begin):
        (expected,) = slam.generate_stream("transcribe", "speech", [whole], beam=1)
        (found,) = slam.recordings([whole])
        assert (found.text, found.score) == (expected[0].text, pytest.approx(expected[0].score, rel=1e-5))
    (clip,) = slam.recordings([(as_cut(joined[1][0][2], True, False), RATE)])
    assert always.text == clip.text
    assert always.segments[0].start == pytest.approx(clip.segments[0].start + 0.792)


def test_pieces_are_as_long_as_asked_for(ctc, joined, by_loudness):
    slam = load(ctc)
    assert slam.recordings(joined[0], cutting=Cutting(longest=1.0)).pieces > 12
    assert slam.recordings(joined[0], cutting=Cutting(joined_pause=2.0)).pieces == 5
    for seconds in (0.5, 5.0):
        with pytest.raises(DataError, match=f"longest piece: found {seconds} s, expected 1 to 4 s"):
            slam.recordings(joined[0], cutting=Cutting(longest=seconds))


def test_a_recording_without_speech_is_empty(ctc, by_loudness):
    found = load(ctc).recordings((np.zeros(10 * RATE, np.float32), RATE))
    assert (found.text, found.segments, found.pieces, found.duration) == ("", (), 0, 10.0)


def test_a_click_shorter_than_the_model_takes_is_filled_up(ctc, by_loudness):
    samples = np.zeros(10 * RATE, np.float32)
    samples[: 4 * WINDOW] = noise(4, 0)
    slam = load(ctc)
    slam.config.min_source_positions = 50
    assert slam.recordings((samples, RATE)).pieces == 1


def test_bad_recordings_are_named_and_the_others_decoded(ctc, joined, by_loudness, tmp_path):
    whole = joined[0].read_bytes()
    (tmp_path / "empty.wav").write_bytes(b"")
    stereo = np.stack([noise(100, 3), noise(100, 4)], axis=1)
    soundfile.write(tmp_path / "stereo.flac", stereo, 8000)
    soundfile.write(tmp_path / "cut.flac", noise(400, 5), RATE)
    flac = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(flac[: len(flac) // 2])
    broken = soundfile.read(joined[0])[0]
    broken[-1] = np.nan
    soundfile.write(tmp_path / "nan.wav", broken, RATE, subtype="FLOAT")
    names = ["empty.wav", "stereo.flac", "cut.flac", "nan.wav", "absent.wav"]
    found = list(load(ctc).recordings_stream("transcribe", [*(tmp_path / name for name in names), whole], beam=1))
    assert [isinstance(each, DataError) for each in found] == [True, False, True, True, True, False]
    for number, message in ((0, "empty.wav: "), (2, "cut.flac: "), (3, "nan.wav: holds samples that"), (4, "no such")):
        assert message in str(found[number])
    assert found[1].duration == pytest.approx(100 * WINDOW / 8000)


def test_a_missing_package_is_named_if_a_recording_is_cut(ctc, joined, sounds, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    slam = load(ctc)
    assert isinstance(slam.recordings(sounds[0]).text, str)
    with pytest.raises(DataError, match=r"needs silero-vad, onnxruntime: pip install .* \(the extra \[recordings\]\)"):
        slam.recordings(joined[0])


@torch.no_grad()
def test_the_states_of_a_transducer_are_those_of_its_emissions(transducer, sounds):
    """The best path again, step by step: each token at the state that the search says, a blank otherwise."""
    from slam_plugin.decoding.transducer import TransducerGenerator
    from tests.support.checkpoints import batch_of

    model, dictionary = transducer.model, transducer.task.target_dictionary
    inputs = {**batch_of(sounds[0]), "prev_output_tokens": torch.tensor([[dictionary.eos()]])}
    ((found,),) = TransducerGenerator(dictionary, 1, model.blank).search([model], inputs)
    assert len(found.token_states) == len(found.tokens) > 0
    states, _ = model.encode(inputs["features"], inputs["padding_mask"])
    predicted, memory = model.predict(torch.tensor([[dictionary.eos()]]))
    for token, state, score in zip(found.tokens, found.token_states, found.token_scores, strict=True):
        log_probs = model.join(states[:, state], predicted[:, 0]).log_softmax(-1)
        assert float(log_probs[0, token]) == pytest.approx(score, abs=1e-4)
        predicted, memory = model.predict(torch.tensor([[token]]), memory)
