import numpy as np
import pytest
import scipy.fft
import torch

from slam_plugin.modules.cepstra import COEFFICIENTS, cepstra, dct
from slam_plugin.modules.front_end import FrontEnd

BINS = 20
FRAMES = [37, 32, 41, 5]
FRONT_ENDS = [FrontEnd("conv", 4), FrontEnd("conv", 2), FrontEnd("stacked", 2)]


def features():
    return [torch.randn(frames, BINS, generator=torch.Generator().manual_seed(frames)) for frames in FRAMES]


def reference(utterance, front_end):
    """Compute cepstra by scipy's DCT, numpy's least-squares line of each state, and numpy's mean and deviation."""
    coefficients = scipy.fft.dct(utterance.double().numpy(), type=2, norm="ortho", axis=1)[:, :COEFFICIENTS]
    states = []
    size = front_end.frames_per_state
    for begin in range(0, size * front_end.states_of(len(coefficients)), size):
        part = coefficients[begin : begin + size]
        slope = np.polyfit(np.arange(len(part)), part, 1)[0] if len(part) > 1 else np.zeros(COEFFICIENTS)
        states.append(np.concatenate((part.mean(0), slope)))
    states = np.array(states)
    return (states - states.mean(0)) / np.sqrt(states.var(0) + 1e-5)


def padded(utterances, longest, fill):
    mask = torch.arange(longest)[None, :] >= torch.tensor([len(each) for each in utterances])[:, None]
    batch = torch.full((len(utterances), longest, BINS), fill)
    for row, each in zip(batch, utterances, strict=True):
        row[: len(each)] = each
    return batch, mask


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=str)
@pytest.mark.parametrize("number", range(len(FRAMES)))
def test_they_are_means_and_slopes_of_the_dct_normalized_over_the_utterance(number, front_end):
    utterance = features()[number]
    found = cepstra(utterance[None], None, front_end)[0]
    assert found.dtype == torch.float32 and found.shape == (front_end.states_of(len(utterance)), 2 * COEFFICIENTS)
    np.testing.assert_allclose(found.numpy(), reference(utterance, front_end), atol=1e-4)


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=str)
@pytest.mark.parametrize(("longest", "fill"), [(41, 0.0), (41, 7.0), (48, -3.0), (43, float("nan"))])
def test_padding_changes_nothing(longest, fill, front_end):
    utterances = features()
    found = cepstra(*padded(utterances, longest, fill), front_end)
    for row, utterance in zip(found, utterances, strict=True):
        alone = cepstra(utterance[None], None, front_end)[0]
        torch.testing.assert_close(row[: len(alone)], alone, rtol=1e-4, atol=1e-5)
        assert not row[len(alone) :].any()


def test_autocast_does_not_round_them():
    utterance = features()[0][None]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cepstra(utterance, None, FrontEnd()), cepstra(utterance, None, FrontEnd()).float())
        rounded = cepstra(utterance, None, FrontEnd())
    assert torch.equal(rounded, cepstra(utterance, None, FrontEnd()))


def test_the_dct_is_orthonormal():
    matrix = dct(BINS, BINS, torch.device("cpu"))
    torch.testing.assert_close(matrix.T @ matrix, torch.eye(BINS), rtol=0, atol=1e-5)
