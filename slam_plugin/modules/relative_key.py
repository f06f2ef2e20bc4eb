"""Relative positions on keys (Shaw et al. 2018, equation 4, without values), as in w2v-BERT 2.0."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.kernels.distances import by_distance

# Distances beyond these count as these: 64 states before a query, 8 after it.
MAX_LEFT, MAX_RIGHT = 64, 8
DISTANCES = MAX_LEFT + MAX_RIGHT + 1

Columns = Tensor  # (time, time) integers: row of the table for each query and key


def distance_columns(lengths: Sequence[int], device: torch.device) -> Columns:
    """Return the row of the table for each pair of query and key, made once for all layers of a stack.

    Positions of another part count as far away: ``MAX_LEFT`` if that part stands before, ``MAX_RIGHT`` if after. So the
    padding between text and speech changes nothing.

    Example:
        >>> distance_columns([2, 1], torch.device("cpu"))[0].tolist()
        [64, 65, 72]

    Args:
        lengths: lengths of the parts, which stand one after the other in a sequence of ``time`` positions.
    """
    part = torch.cat([torch.full((length,), number, device=device) for number, length in enumerate(lengths)])
    place = torch.arange(part.size(0), device=device)  # not len: an export would fix the length
    distance = (place[None, :] - place[:, None]).clamp(-MAX_LEFT, MAX_RIGHT)
    distance = distance.masked_fill(part[None, :] < part[:, None], -MAX_LEFT)
    return distance.masked_fill(part[None, :] > part[:, None], MAX_RIGHT) + MAX_LEFT


class RelativeKey(nn.Module):
    """A learned vector for each distance, whose product with the query is added to the attention scores.

    Args:
        head_dim: size of a head; all heads share the vectors.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.distances = nn.Parameter(torch.empty(DISTANCES, head_dim))
        nn.init.normal_(self.distances, std=0.02)

    def forward(self, query: Tensor, columns: Columns) -> Tensor:
        """Return the bias (batch, heads, time, time), ``query . vector / sqrt(head_dim)``.

        Args:
            query: (batch, heads, time, head_dim).
            columns: from :func:`distance_columns`.
        """
        # First all distances of each query, then the spread: no (time, time, head_dim) tensor.
        scores = F.linear(query, self.distances) * query.size(-1) ** -0.5
        return by_distance(scores, columns)
