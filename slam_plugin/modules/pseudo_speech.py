"""Pseudo-speech: text whose units last some frames each, with pauses before some words.

Durations below are in states of 40 ms.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from slam_plugin.modules.front_end import FrontEnd

GAP = -1  # the unit of a frame in a pause
REPEATS = (0.4, 0.4, 0.2)  # shares of units that last 1, 2 and 3 frames; the mean is 1.8
GAP_SHARE = 0.25  # share of words with a pause before them
_FRAMES_PER_DURATION = 4  # log-mel frames of 10 ms in the unit of the durations
MAX_GAP = 4  # frames of a pause, drawn uniformly from 0


class Rows(NamedTuple):
    """Units of text in rows: ``units`` (N,), row by row, and ``row`` (N,), the row of each, from 0."""

    units: Tensor
    row: Tensor


class PseudoSpeech(NamedTuple):
    """Rows of frames and the units that they spell. T and U are the maximum numbers of frames and units in a row."""

    frames: Tensor  # (rows, T) the unit of each frame, GAP in a pause, 0 at padding
    frame_counts: Tensor  # (rows,)
    units: Tensor  # (rows, U), 0 at padding
    unit_counts: Tensor  # (rows,)


def stretch_of(front_end: FrontEnd) -> int:
    """Return the states of a front end in 40 ms."""
    return _FRAMES_PER_DURATION // front_end.frames_per_state


class PseudoSpeechSpec(NamedTuple):
    """Options of pseudo-speech: tokens of a row, share of the rows that is used, and masked spans of frames."""

    length: int
    share: float
    mask_rate: float
    mask_span: int


class Spoken(NamedTuple):
    """Masked pseudo-speech of a batch of text.

    Attributes:
        frames, units: as in :class:`PseudoSpeech`.
        mask, padding: (rows, T), True at masked frames and at padding.
        frame_counts, unit_counts: of each row, on the host, where torch's CTC loss wants them.
    """

    frames: Tensor
    units: Tensor
    mask: Tensor
    padding: Tensor
    frame_counts: list[int]
    unit_counts: list[int]

    def entries(self) -> dict[str, Any]:
        """Return the entries of a batch that hold it."""
        return {f"spoken_{name}": value for name, value in self._asdict().items()}

    @classmethod
    def of_batch(cls, batch: Mapping[str, Any]) -> "Spoken | None":
        """Return what a batch holds, None if it holds no pseudo-speech."""
        return cls(*(batch[f"spoken_{name}"] for name in cls._fields)) if "spoken_frames" in batch else None


def spoken_of(
    tokens: Tensor,
    padding_mask: Tensor | None,
    spec: PseudoSpeechSpec,
    word_starts: Tensor,
    symbols: tuple[int, int],
    stretch: int,
    generator: torch.Generator,
) -> Spoken:
    """Return the masked pseudo-speech of texts. It has no row if there is no unit.

    Args:
        tokens, padding_mask: as in :func:`take_apart`.
        word_starts, stretch: as in :func:`speak`.
        symbols: ``<s>`` and ``</s>``.
    """
    rows = take_apart(tokens, padding_mask, *symbols, spec.length)
    if len(rows.units) and spec.share < 1:
        rows = draw_rows(rows, spec.share, generator)
    spoken = speak(rows, word_starts, generator, stretch)
    counts, length = spoken.frame_counts, spoken.frames.size(1)
    if len(rows.units):
        mask = span_masks(counts, length, spec.mask_rate, spec.mask_span, generator)
    else:
        mask = torch.zeros_like(spoken.frames, dtype=torch.bool)
    padding = torch.arange(length, device=counts.device) >= counts[:, None]
    return Spoken(spoken.frames, spoken.units, mask, padding, counts.tolist(), spoken.unit_counts.tolist())


def take_apart(tokens: Tensor, padding_mask: Tensor | None, bos: int, eos: int, length: int) -> Rows:
    """Cut texts into rows at ``</s>``. A sentence goes to the piece of ``length`` tokens in which it begins.

    Args:
        tokens: (batch, L) texts of one or more sentences, each ended by ``eos``; ``bos`` begins a text.
        padding_mask: (batch, L), True at padding; None without padding.
    """
    ends, begins = tokens == eos, tokens == bos
    place = torch.arange(tokens.size(1), device=tokens.device).expand_as(tokens)
    # The begin of each token's sentence: after the last </s> before it.
    start = torch.where(ends, place + 1, 0).cummax(1).values.roll(1, dims=1)
    start[:, 0] = 0
    text = torch.arange(len(tokens), device=tokens.device)[:, None]
    piece = text * (tokens.size(1) // length + 1) + start // length  # (batch, L)
    kept = ~(ends | begins) if padding_mask is None else ~(ends | begins | padding_mask)
    _, row = piece[kept].unique_consecutive(return_inverse=True)
    return Rows(tokens[kept], row)


def draw_rows(rows: Rows, share: float, generator: torch.Generator) -> Rows:
    """Return a share of the rows, at least one, drawn without replacement."""
    count = int(rows.row[-1]) + 1
    drawn = torch.randperm(count, generator=generator, device=rows.row.device)[: max(1, round(share * count))]
    kept = torch.isin(rows.row, drawn)
    return Rows(rows.units[kept], rows.row[kept].unique_consecutive(return_inverse=True)[1])


def speak(rows: Rows, word_starts: Tensor, generator: torch.Generator, stretch: int = 1) -> PseudoSpeech:
    """Draw the duration of each unit and each pause.

    A unit that equals the previous one lasts at least two frames: a CTC path needs a blank between the two.

    Args:
        word_starts: (vocabulary,) True at the units that begin a word.
        stretch: frames in 40 ms: 1, or 2 for a model with states of 20 ms.
    """
    units, row, device = rows.units, rows.row, rows.units.device
    follows = torch.zeros_like(row, dtype=torch.bool)  # (N,) whether the previous unit is in the same row
    follows[1:] = row[1:] == row[:-1]
    repeats = 1 + torch.bucketize(_uniform(units, generator), _cumulated(device))
    repeats[1:] = torch.where(follows[1:] & (units[1:] == units[:-1]), repeats[1:].clamp(min=2), repeats[1:])
    paused = word_starts[units] & follows & (_uniform(units, generator) < GAP_SHARE)
    gaps = (_uniform(units, generator) * (MAX_GAP + 1)).long() * paused
    lengths = stretch * torch.stack((gaps, repeats), dim=1)  # (N, 2): a pause, then its unit
    both = torch.stack((torch.full_like(units, GAP), units), dim=1)
    frames, of_frames = both.flatten().repeat_interleave(lengths.flatten()), row.repeat_interleave(lengths.sum(1))
    return PseudoSpeech(*_in_rows(frames, of_frames), *_in_rows(units, row))


def span_masks(counts: Tensor, length: int, rate: float, span: int, generator: torch.Generator) -> Tensor:
    """Return masks (rows, length): spans that may overlap, as in :func:`slam_plugin.data.masks.span_mask`.

    A row may have no mask, or be masked completely.

    Args:
        counts: (rows,) number of valid positions. Nothing after them is masked.
    """
    probability = 1.0 - (1.0 - rate) ** (1.0 / span)
    shape = len(counts), length + span - 1  # spans may begin before the first position
    starts = torch.rand(shape, generator=generator, device=counts.device) < probability
    covered = F.max_pool1d(starts.float()[:, None], span, stride=1)[:, 0] > 0
    return covered & (torch.arange(length, device=counts.device) < counts[:, None])


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device)


def _cumulated(device: torch.device) -> Tensor:
    """Return the bounds of a uniform number between 1, 2, ... frames."""
    return torch.tensor(REPEATS[:-1], device=device).cumsum(0)


def _in_rows(values: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Return values (N,) of the rows (N,), in order, as (rows, longest) filled with 0, and the count of each row."""
    counts = torch.bincount(row)
    first = counts.cumsum(0) - counts
    place = torch.arange(len(row), device=row.device) - first[row]
    out = values.new_zeros(len(counts), int(counts.max()) if len(counts) else 0)
    out[row, place] = values
    return out, counts
