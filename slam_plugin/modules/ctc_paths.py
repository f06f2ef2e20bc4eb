"""Which utterances have a CTC path that spells their text: a question of the number of states alone."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

PATHS, PATH_ROWS = "paths", "path_rows"  # keys of a batch


class Paths(NamedTuple):
    """The P true pairs of a batch that have a path, in order.

    Attributes:
        rows: (P,) their rows in the batch.
        states: P numbers of valid states. These lists stay on the host, where torch's CTC loss wants them.
        tokens: P numbers of tokens.
        left_out: number of true pairs without a path.
    """

    rows: Tensor
    states: list[int]
    tokens: list[int]
    left_out: int

    def entries(self) -> dict[str, Any]:
        """Return the entries of a batch that hold them."""
        return {PATH_ROWS: self.rows, PATHS: [self.states, self.tokens, self.left_out]}

    @classmethod
    def of_batch(cls, batch: Mapping[str, Any]) -> "Paths":
        """Return the paths that a batch holds."""
        return cls(batch[PATH_ROWS], *batch[PATHS])


def states_needed(targets: Tensor, counted: Tensor) -> Tensor:
    """Return the minimum number of states (batch,) of a CTC path: one per token, and a blank between two equal tokens.

    Args:
        targets: (batch, U) tokens.
        counted: (batch, U) which of them the path spells: those of a row are consecutive.
    """
    repeats = (targets[:, 1:] == targets[:, :-1]) & counted[:, 1:] & counted[:, :-1]
    return counted.sum(1) + repeats.sum(1)


def find_paths(targets: Tensor, valid: Tensor, states: Tensor, true_pairs: Tensor) -> Paths:
    """Return the true pairs that have a path: at least as many states as :func:`states_needed` counts.

    Args:
        targets: (batch, U) tokens of the transcripts.
        valid: (batch, U), False at padding.
        states: (batch,) number of valid states.
        true_pairs: (batch,).
    """
    possible = states_needed(targets, valid) <= states
    rows = (true_pairs & possible).nonzero()[:, 0]
    kept = torch.stack((states, valid.sum(1))).index_select(1, rows).tolist()
    return Paths(rows, *kept, left_out=int((true_pairs & ~possible).sum()))
