"""Posteriors of CTC over a whole recording: computed by pieces, kept in a temporary file."""

import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slam_plugin.data.constants import FRAMES_PER_SECOND, SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.inference.batches import in_batches
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.inference.inputs import Speech
from slam_plugin.inference.recordings import Cutting, Planner, RecordingState, Report
from slam_plugin.models.ctc import SlamCtc
from slam_plugin.recordings.cutting import Piece, Span

# Log-probability of the wildcard relative to that of the likeliest symbol, and to that of the blank: the larger one
# counts. A free wildcard would take speech from tokens. In silence it costs less, so that it takes no state of a token.
_WILDCARD_COST, _SILENT_WILDCARD_COST = 0.5, 0.1
# Log-probability of a token between two pieces, where there is no speech.
_NO_SPEECH = -30.0


class Posteriors(NamedTuple):
    """Log-probabilities of some symbols in all states of a recording's pieces.

    Attributes:
        log_probs: (states, symbols + 2) of the chosen symbols, of the wildcard, which stands for any speech, and of the
            likeliest of all symbols. Between two pieces there is one state of silence.
        begins, ends: (states,) in seconds.
        duration: of the recording, in seconds.
    """

    log_probs: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    duration: float


@contextmanager
def posteriors(
    checkpoint: Checkpoint,
    source: Speech,
    symbols: Sequence[int],
    cutting: Cutting | None = None,
    report: Report = lambda what, name, share: None,
) -> Iterator[Posteriors]:
    """Compute the posteriors of ``symbols`` in a recording of any length, for as long as the block lasts.

    Args:
        symbols: the blank first.

    Raises :class:`DataError` if the checkpoint is no CTC model, the recording cannot be used, or it has no speech.
    """
    require_ctc(checkpoint)
    planner = Planner(checkpoint, cutting or Cutting(), report)
    with tempfile.TemporaryFile() as file:
        order: deque = deque()
        recordings: deque[RecordingState] = deque()
        spans: list[np.ndarray] = []
        chosen = torch.tensor(list(symbols))

        def compute(padded: Tensor, padding_mask: Tensor) -> list[np.ndarray]:
            rows = _log_probs(checkpoint, padded, padding_mask, chosen)
            planner.decoded(int((~padding_mask).sum()))
            return rows

        side = checkpoint.side("speech")._replace(read=lambda excerpt, number: excerpt.read())
        for found in in_batches(planner.excerpts([source], recordings, order), side, compute):
            if isinstance(found, DataError):
                raise found
            if spans:
                file.write(_silence(len(symbols)).tobytes())
                spans.append(np.array([[spans[-1][-1, 1], order[0][1].audio.begin / SAMPLE_RATE]]))
            spans.append(_times(order.popleft()[1], len(found), checkpoint.trunk.front_end.frames_per_state))
            file.write(found.tobytes())
        (recording,) = recordings
        if recording.error:
            raise recording.error
        if not spans:
            raise DataError(f"{source}: found no speech in {recording.samples / SAMPLE_RATE:.1f} s")
        file.flush()
        times = np.concatenate(spans)
        log_probs = np.memmap(file, np.float32, "r", shape=(len(times), len(symbols) + 2))
        yield Posteriors(log_probs, times[:, 0], times[:, 1], recording.samples / SAMPLE_RATE)


def require_ctc(checkpoint: Checkpoint) -> None:
    """Raise :class:`DataError` unless the checkpoint is a CTC recognizer: other models give no posteriors of states."""
    if not isinstance(checkpoint.model, SlamCtc):
        raise DataError(
            f"{checkpoint.path}: found a model of {checkpoint.architecture}, expected slam_ctc: alignment needs a "
            "recognizer trained with CTC"
        )


def _log_probs(checkpoint: Checkpoint, padded: Tensor, padding_mask: Tensor, chosen: Tensor) -> list[np.ndarray]:
    """Return the log-probabilities (states, symbols + 2) of each row of a batch."""
    with torch.no_grad(), torch.autocast(checkpoint.device.type, torch.bfloat16, enabled=checkpoint.bf16):
        output = checkpoint.model(padded.to(checkpoint.device), padding_mask.to(checkpoint.device))
    lengths = (~output["padding_mask"]).sum(1).tolist()
    found = []
    for logits, length in zip(output["logits"], lengths, strict=True):
        log_probs = logits[:length].float().log_softmax(-1)
        best, of_chosen = log_probs.amax(-1, keepdim=True), log_probs[:, chosen.to(log_probs.device)]
        wildcard = torch.maximum(best - _WILDCARD_COST, of_chosen[:, :1] - _SILENT_WILDCARD_COST)
        found.append(torch.cat((of_chosen, wildcard, best), dim=-1).cpu().numpy())
    return found


def _silence(symbols: int) -> np.ndarray:
    """Return a state between two pieces (1, symbols + 2), in which only the blank is likely."""
    row = np.full((1, symbols + 2), _NO_SPEECH, np.float32)
    row[0, 0], row[0, -2], row[0, -1] = 0.0, -_SILENT_WILDCARD_COST, 0.0
    return row


def _times(piece: Piece, states: int, frames_per_state: int) -> np.ndarray:
    """Return begin and end of each state of a piece (states, 2), in seconds. The last may be longer than the piece."""
    span: Span = piece.audio
    seconds = frames_per_state / FRAMES_PER_SECOND
    edges = np.minimum(span.begin / SAMPLE_RATE + np.arange(states + 1) * seconds, span.end / SAMPLE_RATE)
    return np.stack((edges[:-1], edges[1:]), axis=1)
