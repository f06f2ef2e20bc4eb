import math

import numpy as np
import pytest
import torch
from torchaudio.functional import resample

from slam_plugin.data.audio import log_mel, normalize
from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.perturbation import Perturbation, add_noise, change_speed, frames_at
from slam_plugin.modules.front_end import DEFAULT_FRONT_END

SECONDS = 3


@pytest.fixture(scope="module")
def waveform():
    """Return voice-like sound: harmonics of a gliding pitch, two moving resonances, pauses and a little noise."""
    time = torch.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    phase = 2 * math.pi * torch.cumsum(130 + 40 * torch.sin(2 * math.pi * 0.7 * time), 0) / SAMPLE_RATE
    first, second = 500 + 250 * torch.sin(2 * math.pi * 2 * time), 1800 + 700 * torch.cos(2 * math.pi * 3 * time)
    pitch = 130 + 40 * torch.sin(2 * math.pi * 0.7 * time)
    wave = torch.zeros(len(time))
    for number in range(1, 41):
        hertz = number * pitch
        height = torch.exp(-(((hertz - first) / 200) ** 2)) + 0.5 * torch.exp(-(((hertz - second) / 300) ** 2))
        wave += height * torch.sin(number * phase)
    loudness = 0.1 * torch.clamp(torch.sin(2 * math.pi * 2.5 * time) + 0.6, min=0)
    return loudness * wave + 0.001 * torch.randn(len(time), generator=torch.Generator().manual_seed(0))


def difference(one, other):
    """Return the root mean square difference of normalized features (whose own is 1) up to 7 kHz.

    A slower recording is empty above that.
    """
    length = min(len(one), len(other))
    return float(
        (normalize(one, DEFAULT_FRONT_END)[:length, :76] - normalize(other, DEFAULT_FRONT_END)[:length, :76])
        .square()
        .mean()
        .sqrt()
    )


@pytest.mark.parametrize(("speed", "ratio"), [(0.9, (9, 10)), (1.1, (11, 10)), (1.25, (5, 4))])
def test_features_are_those_of_the_resampled_waveform(waveform, speed, ratio):
    """Both time and pitch change: without the change, features differ much more."""
    features = log_mel(waveform)
    expected = log_mel(resample(waveform, *ratio, lowpass_filter_width=64))
    found = change_speed(features, speed)
    assert abs(len(found) - len(expected)) <= 2, "a frame and a bit of samples behind the last frame are not known"
    assert difference(found, expected) < 0.3
    times = torch.nn.functional.interpolate(features.T[None], size=len(expected), mode="linear")[0].T
    assert difference(times, expected) > 2 * difference(found, expected), "as if only time had changed"


def test_a_speed_of_one_changes_nothing(waveform):
    features = log_mel(waveform)
    assert change_speed(features, 1.0) is features
    assert frames_at(1.0, np.arange(1, 50)).tolist() == list(range(1, 50))


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.1, 2.0])
def test_frames_are_counted_as_they_are_made(speed):
    for frames in (1, 2, 7, 100, 1501):
        assert len(change_speed(torch.randn(frames, 80), speed)) == frames_at(speed, frames) >= 1


@pytest.mark.parametrize("snr", [-5.0, 0.0, 10.0, 30.0])
def test_noise_has_the_ratio_asked_for(waveform, snr):
    features = log_mel(waveform)
    noisy = add_noise(features, snr, np.random.default_rng(0))
    energy, added = features.double().exp(), noisy.double().exp() - features.double().exp()
    assert float(10 * torch.log10(energy.mean() / added.mean())) == pytest.approx(snr, abs=0.02)
    assert (added > -1e-3 * energy).all()


def test_noise_is_stationary_and_of_many_colors(waveform):
    """Compared with white noise: the same in each second, rising or falling over the frequencies."""
    silence = torch.full((600, 80), -5.0)
    slopes = []
    for seed in range(40):
        noise = (add_noise(silence, -60.0, np.random.default_rng(seed))).double()
        thirds = noise.view(3, 200, 80).mean((1, 2))
        assert (thirds - thirds.mean()).abs().max() < 0.1
        slopes.append(float(noise[:, 60:].mean() - noise[:, 10:20].mean()))
    white = log_mel(torch.randn(10 * SAMPLE_RATE, generator=torch.Generator().manual_seed(1)))
    assert max(slopes) == pytest.approx(float(white[:, 60:].mean() - white[:, 10:20].mean()), abs=0.6)
    assert min(slopes) < max(slopes) - 4


def test_noise_goes_on_longer_than_the_minute_that_is_kept():
    assert add_noise(torch.zeros(7000, 80), 0.0, np.random.default_rng(3)).isfinite().all()


def lengths_drawn(perturbation, frames, bounds, count=300):
    random, features = np.random.default_rng(0), torch.zeros(frames, 80)
    return [len(perturbation(features, *bounds, random)) for _ in range(count)]


def test_every_speed_is_drawn_as_often():
    found = lengths_drawn(Perturbation((0.9, 1.0, 1.1)), 200, (1, 1000), 900)
    counts = {length: found.count(length) for length in set(found)}
    assert counts.keys() == {frames_at(speed, 200) for speed in (0.9, 1.0, 1.1)}
    assert all(abs(count - 300) < 4.5 * math.sqrt(900 * 2 / 9) for count in counts.values())


@pytest.mark.parametrize(
    ("bounds", "lengths"), [((195, 1000), {200, 222}), ((1, 210), {181, 200}), ((195, 210), {200})]
)
def test_a_speed_beyond_the_limits_is_not_drawn(bounds, lengths):
    assert set(lengths_drawn(Perturbation((0.9, 1.0, 1.1)), 200, bounds)) == lengths


def test_without_a_speed_that_fits_the_utterance_stays():
    assert set(lengths_drawn(Perturbation((0.9, 1.1)), 200, (195, 210))) == {200}


def test_the_longest_that_is_drawn_is_what_batches_are_made_by():
    perturbation = Perturbation((0.9, 1.0, 1.1))
    frames = np.array([5, 60, 180, 181, 199, 200])
    found = perturbation.longest(frames, 200)
    expected = [max(lengths_drawn(perturbation, int(n), (1, 200), 60)) for n in frames]
    assert found.tolist() == expected and expected[2:] == [200, 181, 199, 200]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"speeds": ()}, r"--speeds: found \[\], expected factors from 0.5 to 2.0"),
        ({"speeds": (1.0, 3.0)}, r"--speeds: found \[1.0, 3.0\]"),
        ({"snr": (30.0, 10.0)}, r"--noise-snr: found \[30.0, 10.0\], expected the lowest and the highest"),
        ({"snr": (10.0,)}, r"--noise-snr: found \[10.0\]"),
    ],
)
def test_what_is_no_speed_or_ratio_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Perturbation(**fields)
