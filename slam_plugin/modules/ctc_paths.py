"""Which utterances of a batch have a CTC path that spells their transcript: a question of lengths alone."""

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


def find_paths(targets: Tensor, valid: Tensor, states: Tensor, true_pairs: Tensor) -> Paths:
    """Return the true pairs that have a path.

    A path has a state for each token, and one for a blank between two equal tokens.

    Args:
        targets: (batch, U) tokens of the transcripts.
        valid: (batch, U), False at padding.
        states: (batch,) number of valid states.
        true_pairs: (batch,).
    """
    tokens = valid.sum(1)
    repeats = ((targets[:, 1:] == targets[:, :-1]) & valid[:, 1:]).sum(1)
    possible = tokens + repeats <= states
    rows = (true_pairs & possible).nonzero()[:, 0]
    kept = torch.stack((states, tokens)).index_select(1, rows).tolist()
    return Paths(rows, *kept, left_out=int((true_pairs & ~possible).sum()))
