"""Resampling to 16 kHz: a Hann-windowed sinc of six zero crossings, as in ``torchaudio.functional.resample``."""

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache

import torch
from torch import FloatTensor, Tensor
from torchaudio.transforms import Resample

from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.lengths import resampled_length

# torchaudio's filter bank has as many elements.
_MAX_FILTERS = 10_000_000
# Parameters of torchaudio's filter.
_ZERO_CROSSINGS, _ROLLOFF = 6, 0.99
# Elements of the filters that are computed at once.
_CHUNK = 1 << 20
# Seconds that resample_blocks filters at once: shorter recordings are filtered whole.
_SECONDS_AT_ONCE = 64


def resample(waveform: Tensor, rate: int) -> FloatTensor:
    """Return a waveform (samples,) of ``rate`` Hz at 16 kHz: ``resampled_length(samples, rate)`` samples."""
    if rate == SAMPLE_RATE:
        return waveform
    # torchaudio computes the filters of all phases, of which there are few if the ratio of the rates is small.
    if rate * SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE) ** 2 > _MAX_FILTERS:
        return _by_sample(waveform, rate)
    length = resampled_length(len(waveform), rate)
    resampled = _resampler(rate)(waveform)[:length]
    # torchaudio computes the length in fp32, which is too short by a few samples after 17 minutes.
    return torch.nn.functional.pad(resampled, (0, length - len(resampled)))


def resample_blocks(blocks: Iterable[Tensor], rate: int) -> Iterator[FloatTensor]:
    """Yield what :func:`resample` returns for the concatenated ``blocks`` (samples,), in parts.

    Memory holds a minute of sound and one block.
    """
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    divisor = math.gcd(rate, SAMPLE_RATE)
    # A part begins where an input sample and an output sample coincide, which is so after every ``unit`` samples.
    unit, resampled_unit = rate // divisor, SAMPLE_RATE // divisor
    width = math.ceil(_ZERO_CROSSINGS * rate / (_ROLLOFF * min(rate, SAMPLE_RATE)))
    context = unit * math.ceil((width + unit) / unit)
    size = max(context, unit * math.ceil(_SECONDS_AT_ONCE * rate / unit))
    held, before = torch.empty(0), 0  # the first ``before`` samples were resampled already: they are context
    for block in blocks:
        held = torch.cat((held, block))
        while len(held) >= (end := before + size) + context:
            part = resample(held[: end + context], rate)
            yield part[before // unit * resampled_unit : end // unit * resampled_unit]
            held, before = held[end - context :], context
    yield resample(held, rate)[before // unit * resampled_unit :]


@lru_cache(maxsize=16)
def _resampler(rate: int) -> Resample:
    """Return torchaudio's resampler to 16 kHz. Cached: making its filters costs more than filtering an utterance."""
    return Resample(rate, SAMPLE_RATE)


def _by_sample(waveform: Tensor, rate: int) -> FloatTensor:
    """Resample with a filter for each sample of the result, so that any ratio takes the same memory."""
    cutoff = _ROLLOFF * min(rate, SAMPLE_RATE) / rate  # as a share of the Nyquist frequency of the input
    width = math.ceil(_ZERO_CROSSINGS / cutoff)
    taps = torch.arange(-width, width + 1)
    padded = torch.nn.functional.pad(waveform, (width, width + 1))
    length = resampled_length(len(waveform), rate)
    size = max(1, _CHUNK // len(taps))
    parts = [
        _filtered(padded, torch.arange(begin, min(begin + size, length)), taps, rate, cutoff)
        for begin in range(0, length, size)
    ]
    return torch.cat(parts)


def _filtered(padded: Tensor, numbers: Tensor, taps: Tensor, rate: int, cutoff: float) -> FloatTensor:
    """Return the samples of the result with these ``numbers``. ``padded`` has zeros for the taps at both ends."""
    places = numbers * rate  # in units of 1 / SAMPLE_RATE of an input sample: exact, unlike their quotients
    whole, phases = places // SAMPLE_RATE, (places % SAMPLE_RATE).double() / SAMPLE_RATE
    times = ((taps - phases[:, None]) * cutoff).clamp(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    filters = torch.sinc(times) * torch.cos(times * math.pi / (2 * _ZERO_CROSSINGS)).square() * cutoff
    excerpts = padded[(whole[:, None] + taps + taps[-1])]
    return (excerpts * filters.float()).sum(dim=1)
