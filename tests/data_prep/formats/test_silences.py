"""Cuts of recordings: at silences, and at the quietest moments if there are none."""

import numpy as np
import pytest

from data_prep.formats.silences import Energies, stretches

RATE = 1000  # so that samples are milliseconds, and a frame has 10


def energies_of(samples, rate=RATE, block=777):
    energies = Energies()
    for begin in range(0, len(samples), block):
        energies.add(samples[begin : begin + block], rate)
    return energies


def cut(segments, samples=60_000, limit=10_000):
    return stretches(segments, samples, RATE, limit, energies_of(np.ones(samples, np.float32)))


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        pytest.param([], [], id="no voice"),
        pytest.param([(1000, 3000)], [(800, 3200)], id="margins"),
        pytest.param([(100, 3000)], [(0, 3200)], id="no margin before the beginning"),
        pytest.param([(57000, 59950)], [(56800, 60000)], id="nor behind the end"),
        pytest.param([(1000, 3000), (5000, 6000)], [(800, 6200)], id="a silence of two seconds is within"),
        pytest.param([(1000, 3000), (5001, 6000)], [(800, 3200), (4801, 6200)], id="a longer one is not"),
        pytest.param([(1000, 9000), (9100, 11000)], [(1000, 11000)], id="as long as the limit"),
        pytest.param([(1000, 9000), (9100, 11001)], [(800, 9050), (9050, 11201)], id="longer: half the silence each"),
        pytest.param([(1000, 10900)], [(950, 10950)], id="margins leave the limit"),
        pytest.param([(4000, 5000), (1000, 3000), (2500, 3500)], [(800, 5200)], id="in any order, overlapping"),
        pytest.param([(1000, 5000), (2000, 3000)], [(800, 5200)], id="one within another"),
    ],
)
def test_where_silences_are(segments, expected):
    assert cut(segments) == expected


def test_unbroken_speech_is_cut_where_it_is_quietest():
    samples = np.ones(40_000, np.float32)
    samples[2000:2100] = 0  # too early: pieces would be shorter than half the limit
    samples[7500:7510] = 0.5
    samples[9000:9010] = -0.1
    samples[9010:9020] = 0.5
    samples[15000:15010] = 0.8
    samples[18000:18004] = 0  # the frame has less energy than that one
    found = stretches([(1000, 25_000)], len(samples), RATE, 10_000, energies_of(samples))
    assert found == [(800, 9005), (9005, 18005), (18005, 25200)]


def test_what_is_left_of_a_cut_segment_is_not_too_short():
    samples = np.ones(20_000, np.float32)
    samples[10_500:10_600] = 0  # would leave half a second
    samples[8000:8010] = 0.5
    assert stretches([(1000, 11_050)], 20_000, RATE, 10_000, energies_of(samples)) == [(800, 8005), (8005, 11_250)]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_segments(seed):
    """Check that stretches are within the limit and the recording, ordered and disjoint, and hold all voice."""
    random = np.random.default_rng(seed)
    samples = random.normal(size=120_000).astype(np.float32)
    edges = np.sort(random.choice(120_000, 2 * int(random.integers(1, 12)), replace=False)).tolist()
    segments = list(zip(edges[::2], edges[1::2], strict=True))
    found = stretches(segments, len(samples), RATE, 7_001, energies_of(samples))
    covered = np.zeros(len(samples), int)
    for begin, end in found:
        assert 0 <= begin < end <= len(samples) and end - begin <= 7_001
        covered[begin:end] += 1
    assert covered.max() == 1 and found == sorted(found)
    assert all(covered[begin:end].all() for begin, end in segments)


@pytest.mark.parametrize(("rate", "frame"), [(16_000, 160), (22_050, 221), (8_000, 80)])
def test_frames_across_blocks_and_channels(rate, frame):
    samples = np.random.default_rng(rate).normal(size=(rate, 2)).astype(np.float32)
    sums = [(samples[at : at + frame].mean(axis=1) ** 2).sum() for at in range(0, rate - frame + 1, frame)]
    expected = 10 + int(np.argmin(sums[10:40]))
    for block in (777, rate):
        energies = energies_of(samples, rate, block)
        assert energies.quietest(10 * frame - 3, 40 * frame + 3) == expected * frame + frame // 2
