import numpy as np
import pytest
import scipy.fft
import torch

from slam_plugin.modules.cepstra import COEFFICIENTS, cepstra, dct

BINS = 20
FRAMES = [37, 32, 41, 5]


def features():
    return [torch.randn(frames, BINS, generator=torch.Generator().manual_seed(frames)) for frames in FRAMES]


def reference(utterance):
    """Compute cepstra by scipy's DCT, numpy's least-squares line of each state, and numpy's mean and deviation."""
    coefficients = scipy.fft.dct(utterance.double().numpy(), type=2, norm="ortho", axis=1)[:, :COEFFICIENTS]
    states = []
    for begin in range(0, len(coefficients), 4):
        part = coefficients[begin : begin + 4]
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


@pytest.mark.parametrize("number", range(len(FRAMES)))
def test_they_are_means_and_slopes_of_the_dct_normalized_over_the_utterance(number):
    utterance = features()[number]
    found = cepstra(utterance[None], None)[0]
    assert found.dtype == torch.float32 and found.shape == (-(-len(utterance) // 4), 2 * COEFFICIENTS)
    np.testing.assert_allclose(found.numpy(), reference(utterance), atol=1e-4)


@pytest.mark.parametrize(("longest", "fill"), [(41, 0.0), (41, 7.0), (48, -3.0), (43, float("nan"))])
def test_padding_changes_nothing(longest, fill):
    utterances = features()
    found = cepstra(*padded(utterances, longest, fill))
    for row, utterance in zip(found, utterances, strict=True):
        alone = cepstra(utterance[None], None)[0]
        torch.testing.assert_close(row[: len(alone)], alone, rtol=1e-4, atol=1e-5)
        assert not row[len(alone) :].any()


def test_autocast_does_not_round_them():
    utterance = features()[0][None]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cepstra(utterance, None), cepstra(utterance, None).float())
        rounded = cepstra(utterance, None)
    assert torch.equal(rounded, cepstra(utterance, None))


def test_the_dct_is_orthonormal():
    matrix = dct(BINS, BINS, torch.device("cpu"))
    torch.testing.assert_close(matrix.T @ matrix, torch.eye(BINS), rtol=0, atol=1e-5)
