"""Audio against torchaudio's Kaldi front end, numpy and soundfile itself. Every kind of bad input by name."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from torchaudio.compliance import kaldi

from slam_plugin.data import audio, resampling
from slam_plugin.data.constants import SAMPLE_RATE, SOUND_SUFFIXES
from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import parse_location
from slam_plugin.modules.front_end import FrontEnd

RATE = SAMPLE_RATE


def tone(seconds: float, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    """Return a chirp-like tone with harmonics and a little noise, so that no mel bin is empty."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(time))
    waves = sum(np.sin(2 * np.pi * hertz * k * time * (1 + 0.1 * time)) / k for k in range(1, 8))
    return (0.2 * waves + 0.01 * noise).astype(np.float32)


def encode(samples: np.ndarray, rate: int, kind: str, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def real_clips() -> list[Path]:
    folder = os.environ.get("SLAM_TEST_DATA")
    if not folder:
        pytest.skip("SLAM_TEST_DATA does not name a folder with recorded speech")
    clips = sorted(path for path in Path(folder).rglob("*") if path.suffix in {".wav", ".flac", ".ogg", ".mp3"})
    if not clips:
        pytest.skip(f"SLAM_TEST_DATA={folder} holds no sound files")
    return clips[:10]


def reference(waveform: torch.Tensor) -> torch.Tensor:
    return kaldi.fbank(waveform[None] * 32768, dither=0.0, num_mel_bins=80, sample_frequency=16000.0)


def naive_log_mel(waveform: np.ndarray) -> np.ndarray:
    """Compute Kaldi's features by its documentation, frame by frame in fp64. Only the filters are torchaudio's."""
    filters, _ = kaldi.get_mel_banks(80, 512, 16000.0, 20.0, 0.0, 100.0, -500.0, 1.0)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    rows = []
    for start in range(0, len(waveform) - 399, 160):
        frame = waveform[start : start + 400].astype(np.float64) * 32768
        frame = frame - frame.mean()
        frame = frame - 0.97 * np.concatenate((frame[:1], frame[:-1]))
        power = np.abs(np.fft.rfft(frame * window, 512)) ** 2
        rows.append(np.log(np.maximum(filters.double().numpy() @ power[:256], np.finfo(np.float32).eps)))
    return np.array(rows)


@pytest.mark.parametrize("samples", [0, 399, 400, 559, 560, 16000, 9_600_000])
def test_frames_in_counts_whole_windows(samples):
    assert audio.frames_in(samples) == len(range(0, samples - 399, 160))


@pytest.mark.parametrize("seconds", [0.025, 0.0351, 1.0, 3.217])
def test_log_mel_equals_kaldi(seconds):
    waveform = torch.from_numpy(tone(seconds))
    features = audio.log_mel(waveform)
    assert features.shape == (audio.frames_in(len(waveform)), 80) and features.dtype == torch.float32
    torch.testing.assert_close(features, reference(waveform), atol=2e-3, rtol=0)


@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_log_mel_equals_naive_fp64(offset):
    waveform = tone(0.5) * 0.5 + np.float32(offset)
    expected = naive_log_mel(waveform)
    ours = np.abs(audio.log_mel(torch.from_numpy(waveform)).numpy() - expected)
    theirs = np.abs(reference(torch.from_numpy(waveform)).numpy() - expected)
    # Quiet bins beside an offset carry fp32 rounding, in torchaudio's features as much as in these.
    assert ours.max() < 2e-3 and ours.max() < 2 * theirs.max() and ours.mean() < 1e-4


def test_log_mel_of_silence_is_kaldis_floor():
    features = audio.log_mel(torch.zeros(1000))
    assert torch.equal(features, reference(torch.zeros(1000)))
    assert torch.isfinite(features).all()
    assert torch.equal(audio.normalize(features, FrontEnd()), torch.zeros(4, 80))


def test_log_mel_equals_kaldi_on_recorded_speech():
    for clip in real_clips():
        waveform = audio.read_audio(clip)
        difference = (audio.log_mel(waveform) - reference(waveform)).abs()
        assert difference.max() < 5e-3 and difference.mean() < 1e-5, clip


def test_log_mel_refuses_less_than_a_window():
    with pytest.raises(DataError, match="399 samples .* 25 ms"):
        audio.log_mel(torch.zeros(399))


def test_normalize_equals_numpy():
    features = audio.log_mel(torch.from_numpy(tone(1.0)))
    expected = (features.double() - features.double().mean(0)) / features.double().std(0, correction=0)
    torch.testing.assert_close(audio.normalize(features, FrontEnd()).double(), expected, atol=1e-3, rtol=0)
    assert torch.equal(audio.normalize(features[:1], FrontEnd()), torch.zeros(1, 80))


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "FLOAT", 0),
        ("FLAC", "PCM_24", 1e-6),
        ("OGG", "VORBIS", 0.1),
        ("MP3", None, 0.1),
    ],
)
def test_read_audio_from_path_bytes_and_file(tmp_path, kind, subtype, tolerance):
    samples = tone(1.0)
    data = encode(samples, RATE, kind, subtype)
    path = tmp_path / f"clip.{kind.lower()}"
    path.write_bytes(data)
    from_path = audio.read_audio(path)
    assert from_path.shape == samples.shape and from_path.dtype == torch.float32
    assert np.abs(from_path.numpy() - samples).max() <= tolerance
    assert torch.equal(from_path, audio.read_audio(str(path)))
    assert torch.equal(from_path, audio.read_audio(data))
    with path.open("rb") as file:
        assert torch.equal(from_path, audio.read_audio(file))


def test_stereo_becomes_the_mean_of_its_channels():
    left, right = tone(0.5), tone(0.5, hertz=150.0)
    stereo = audio.read_audio(encode(np.stack((left, right), 1), RATE, "WAV", "FLOAT"))
    np.testing.assert_allclose(stereo.numpy(), (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_equals_torchaudios_function(rate):
    samples = tone(0.7, rate)
    ours = audio.read_audio(encode(samples, rate, "WAV", "FLOAT"))
    theirs = torchaudio.functional.resample(torch.from_numpy(samples), rate, RATE)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


def test_resampling_keeps_a_sine_a_sine():
    samples = np.sin(2 * np.pi * 500 * np.arange(22050) / 22050).astype(np.float32)
    ours = audio.read_audio(encode(samples, 22050, "WAV", "FLOAT"))
    expected = np.sin(2 * np.pi * 500 * np.arange(16000) / 16000)
    assert np.abs(ours.numpy() - expected)[100:-100].max() < 1e-2


@pytest.mark.parametrize("rate", [7919, 11127, 12345, 22051, 44101, 96001])
def test_rates_without_a_small_ratio_are_resampled(rate):
    """A sine stays the same sine, of the same length."""
    sine = np.sin(2 * np.pi * 500 * np.arange(rate) / rate).astype(np.float32)
    ours = audio.read_audio(encode(sine, rate, "WAV", "FLOAT"))
    assert len(ours) == 16000
    assert np.abs(ours.numpy() - np.sin(2 * np.pi * 500 * np.arange(16000) / 16000))[100:-100].max() < 1e-2


@pytest.mark.parametrize("rate", [11025, 12345, 22050, 48000])
def test_both_ways_to_resample_are_one_filter(rate):
    samples = torch.from_numpy(tone(0.3, rate))
    theirs = torchaudio.functional.resample(samples, rate, RATE)
    torch.testing.assert_close(resampling._by_sample(samples, rate), theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("rate", [1, 999, 1_000_001, 2**31 - 1])
def test_a_nonsensical_rate_is_refused(tmp_path, rate):
    data = bytearray(encode(tone(0.5), RATE, "WAV"))
    data[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    for read in (audio.load_features, audio.count_frames):
        with pytest.raises(DataError, match=rf"a\.wav: has a sample rate of {rate} Hz, expected 1,000 to 1,000,000"):
            read("a.wav", tmp_path)


@pytest.mark.parametrize("kind", ["FLAC", "MP3"])
def test_channels_that_cancel_are_named(tmp_path, kind):
    left, right = tone(0.5), tone(0.5, hertz=150.0)
    (tmp_path / "a.flac").write_bytes(encode(np.stack((left, -left), 1), RATE, kind))
    for location in ("a.flac", "a.flac:0:8000"):
        with pytest.raises(DataError, match=rf"{location}: its 2 channels have opposite phase and cancel"):
            audio.load_features(location, tmp_path)
        with pytest.raises(DataError, match="opposite phase"):
            audio.count_frames(location, tmp_path)
    assert audio.read_audio(f"{tmp_path}/a.flac:0:8000:1").abs().max() > 0.1
    for pair in ((left, right), (left, -0.9 * left), (0 * left, 0 * left), (1e-4 * left, -1e-4 * left)):
        assert len(audio.read_audio(encode(np.stack(pair, 1), RATE, "FLAC"))) == 8000


def test_samples_whose_features_would_not_be_finite_are_named():
    with pytest.raises(DataError, match=r"holds samples of up to 1e\+30, expected -1 to 1"):
        audio.read_audio(encode(with_nan(1e30), RATE, "WAV", "FLOAT"))
    assert torch.isfinite(audio.log_mel(audio.read_audio(encode(with_nan(9e8), RATE, "WAV", "FLOAT")))).all()


def with_nan(value: float) -> np.ndarray:
    samples = tone(0.5)
    samples[1234] = value
    return samples


FLAC, MP3 = encode(tone(2.0), RATE, "FLAC"), encode(tone(2.0), RATE, "MP3")
BAD_SOUND = {
    "empty file": (b"", "cannot be decoded"),
    "text": (b"this is no sound file" * 50, "cannot be decoded"),
    "no samples": (encode(np.zeros(0, np.float32), RATE, "WAV"), "holds no samples"),
    "cut flac": (FLAC[: len(FLAC) // 2], "cannot be decoded"),
    "cut mp3": (MP3[: len(MP3) // 2], "is cut short"),
    "damaged flac": (FLAC[:20000] + bytes(3000) + FLAC[23000:], "cannot be decoded"),
    "nan": (encode(with_nan(np.nan), RATE, "WAV", "FLOAT"), "infinite or no number"),
    "inf": (encode(with_nan(np.inf), RATE, "WAV", "FLOAT"), "infinite or no number"),
    "shorter than a window": (encode(tone(0.0249), RATE, "WAV"), "398 samples .* 25 ms"),
}


@pytest.mark.parametrize("case", BAD_SOUND)
@pytest.mark.parametrize("read", [audio.load_features, audio.count_frames])
def test_bad_sound_is_named(tmp_path, case, read):
    data, expected = BAD_SOUND[case]
    (tmp_path / "bad.sound").write_bytes(data)
    with pytest.raises(DataError, match=rf"{tmp_path}/bad\.sound: .*{expected}"):
        read("bad.sound", tmp_path)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


NOT_FINITE = np.zeros((5, 80), np.float16)
NOT_FINITE[3, 7] = np.nan
BAD_FEATURES = {
    "other bins": (npy(np.zeros((5, 40), np.float32)), "shape 5x40, expected floats of shape frames x 80"),
    "one dimension": (npy(np.zeros(80, np.float32)), "shape 80, expected"),
    "integers": (npy(np.zeros((5, 80), np.int16)), "int16 of shape"),
    "objects": (npy(np.array([[{}]], dtype=object)), "cannot be read as a .npy"),
    "no frames": (npy(np.zeros((0, 80), np.float32)), "holds no frames"),
    "cut": (npy(np.zeros((5, 80), np.float32))[:-7], "cannot be read as a .npy"),
    "nan": (npy(NOT_FINITE), "infinite or no number"),
    "too large": (npy(np.full((5, 80), 1e300)), "infinite or no number"),
    "huge claim": (npy(np.zeros((5, 80), np.float32)).replace(b"(5, 80)", b"(9999999999999, 80)"), "cannot be read as"),
    "damaged header": (npy(np.zeros((5, 80), np.float32)).replace(b"'<f4'", b"'<f4\n"), "cannot be read as a .npy"),
    "header alone": (npy(np.zeros((5, 80), np.float32))[:9], "cannot be read as a .npy"),
}


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_features_are_read_as_numpy_reads_them(tmp_path, kind, order):
    features = np.asarray(np.random.default_rng(0).standard_normal((7, 80)), kind, order=order)
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / "a.npy").open("wb") as file:
            np.lib.format.write_array(file, features, version)
        found = audio.load_features("a.npy", tmp_path)
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.numpy(), np.load(tmp_path / "a.npy").astype(np.float32))


@pytest.mark.parametrize("case", BAD_FEATURES)
@pytest.mark.parametrize("read", [audio.load_features, audio.count_frames])
def test_bad_features_are_named(tmp_path, case, read):
    data, expected = BAD_FEATURES[case]
    (tmp_path / "bad.npy").write_bytes(data)
    with pytest.raises(DataError, match=rf"{tmp_path}/bad\.npy: .*{expected}"):
        read("bad.npy", tmp_path)


def test_load_features_reads_every_kind_of_location(tmp_path):
    sound = encode(tone(1.0), RATE, "FLAC")
    features = audio.log_mel(audio.read_audio(sound))
    stored = features.numpy().astype(np.float16)
    (tmp_path / "clip.flac").write_bytes(sound)
    (tmp_path / "clip.npy").write_bytes(npy(stored))
    with zipfile.ZipFile(tmp_path / "pack.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("clip.flac", sound)
        archive.writestr("clip.npy", npy(stored))
    whole = (tmp_path / "pack.zip").read_bytes()
    in_zip = {data: f"pack.zip:{whole.index(data)}:{len(data)}" for data in (sound, npy(stored))}
    for location in ("clip.flac", str(tmp_path / "clip.flac"), in_zip[sound]):
        assert torch.equal(audio.load_features(location, tmp_path), features)
    for location in ("clip.npy", in_zip[npy(stored)]):
        loaded = audio.load_features(location, tmp_path)
        assert loaded.dtype == torch.float32
        assert torch.equal(loaded, torch.from_numpy(stored).float())
        assert audio.count_frames(location, tmp_path) == len(features)


def test_absent_locations_are_named(tmp_path):
    (tmp_path / "pack.zip").write_bytes(bytes(100))
    with pytest.raises(DataError, match=r"gone\.wav: there is no such file"):
        audio.load_features("gone.wav", tmp_path)
    with pytest.raises(DataError, match=r"pack\.zip:90:11: reaches beyond .* 100 bytes"):
        audio.load_features("pack.zip:90:11", tmp_path)
    with pytest.raises(DataError, match=r"pack\.zip:50:20: cannot be decoded"):
        audio.load_features("pack.zip:50:20", tmp_path)


def sphere(coding: str, samples: bytes, channels: int = 2) -> bytes:
    """Return NIST SPHERE as the LDC ships telephone speech: a header of 1024 bytes, then interleaved samples."""
    fields = [f"channel_count -i {channels}", "sample_rate -i 8000", f"sample_coding -s{len(coding)} {coding}"]
    fields += ["sample_n_bytes -i 1", f"sample_count -i {len(samples) // channels}", "end_head", ""]
    return "\n".join(["NIST_1A", "   1024", *fields]).encode().ljust(1024, b"\0") + samples


@pytest.mark.parametrize("kind", ["flac", "wav", "ogg"])
def test_a_part_of_a_sound_file_is_that_excerpt_alone(tmp_path, kind):
    stereo = np.stack([tone(3.0, 22050), tone(3.0, 22050, 300.0)], axis=1)
    (tmp_path / f"talk.{kind}").write_bytes(encode(stereo, 22050, kind))
    decoded, rate = soundfile.read(tmp_path / f"talk.{kind}", dtype="float32")
    for numbers, part in {
        "4000:30000": decoded[4000:34000].mean(axis=1),
        "4000:30000:1": decoded[4000:34000, 1],
        f"0:{len(decoded)}:0": decoded[:, 0],
    }.items():
        expected = torchaudio.functional.resample(torch.from_numpy(part), rate, RATE)
        torch.testing.assert_close(audio.read_audio(f"{tmp_path}/talk.{kind}:{numbers}"), expected, atol=1e-5, rtol=0)
        found = audio.load_features(f"talk.{kind}:{numbers}", tmp_path)
        torch.testing.assert_close(found, audio.log_mel(expected), atol=0.05, rtol=0)
        assert audio.count_frames(f"talk.{kind}:{numbers}", tmp_path) == len(found)


def test_a_side_of_a_telephone_call(tmp_path):
    codes = np.random.default_rng(0).integers(0, 256, (8000, 2)).astype(np.uint8)
    (tmp_path / "sw.sph").write_bytes(sphere("ulaw", codes.tobytes()))
    decoded, rate = soundfile.read(tmp_path / "sw.sph", dtype="float32")
    assert decoded.shape == (8000, 2) and rate == 8000
    for side in (0, 1):
        expected = torchaudio.functional.resample(torch.from_numpy(decoded[800:4800, side].copy()), 8000, RATE)
        found = audio.read_audio(tmp_path / f"sw.sph:800:4000:{side}")
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_parts_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "a.flac").write_bytes(encode(tone(1.0), RATE, "FLAC"))
    whole = encode(tone(3.0), RATE, "FLAC")
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "short.sph").write_bytes(sphere("ulaw,embedded-shorten-v2.00", bytes(4000)))
    for location, expected in {
        "gone.flac:0:400": "there is no such file",
        "a.flac:15000:1001": "reaches beyond the end of the file, which has 16000 samples",
        "a.flac:0:1000:1": "the file has 1 channels",
        "a.flac:0:399": "less than one window",
        "cut.flac:40000:4000": "cut short|cannot be decoded",
        "short.sph": "compressed by shorten.* decompress it with sph2pipe",
        "short.sph:0:800:0": "compressed by shorten",
    }.items():
        with pytest.raises(DataError, match=rf"{location}: .*({expected})"):
            audio.count_frames(location, tmp_path)


def test_names_with_colons_are_names():
    for name in ("talk:1:2", "talk.flac:1", "pack.zip:1:2:3", "a.txt:1:2", f"a.wav:{'9' * 5000}:1"):
        assert parse_location(name, "/data") == (Path("/data", name), None, None, None)
    assert str(parse_location("a.FLAC:1:2:0", "/d")) == "/d/a.FLAC:1:2:0"


@pytest.mark.parametrize("suffix", SOUND_SUFFIXES)
def test_every_suffix_may_be_followed_by_a_part(suffix):
    for written in (suffix, suffix.upper()):
        found = parse_location(f"a b{written}:5:7:1", "/data")
        assert (found.path.name, found.offset, found.length, found.channel) == (f"a b{written}", 5, 7, 1)
