"""Lists of the masked positions of a batch.

The worker that collates a batch makes them from the masks it has drawn. Counts and shapes are then known on the host,
and no pass over the batch waits for the device, as boolean indexing would.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

MASKED_SPEECH, UNMASKED_SPEECH, MASKED_TEXT, REMATCHED = "masked_speech", "unmasked_speech", "masked_text", "rematched"
LISTS, SIZES = "index_lists", "index_sizes"  # keys of a batch


class Selection(NamedTuple):
    """Positions selected from (batch, length): N in order, row by row, of which no row has more than M.

    Attributes:
        flat: (N,) indices into the batch * length positions.
        slots: (N,) indices into batch * M: the n-th position of a row is at column n of (batch, M).
        counts: (batch,) number of positions per row.
        true: indices into the N, of the positions in true pairs. All N if the batch has no false pairs.
        largest: M.

    Example:
        >>> select(torch.tensor([[False, True, True], [True, False, False]])).flat
        tensor([1, 2, 3])
    """

    flat: Tensor
    slots: Tensor
    counts: Tensor
    true: Tensor
    largest: int

    def take(self, values: Tensor) -> Tensor:
        """Return the values (N, ...) at the selected positions of ``values`` (batch, length, ...)."""
        return values.flatten(0, 1).index_select(0, self.flat)

    def spread(self, values: Tensor) -> Tensor:
        """Return values (N, ...) as (batch, M, ...), filled from the left, zeros elsewhere."""
        shape = len(self.counts), self.largest, *values.shape[1:]
        return values.new_zeros(shape).flatten(0, 1).index_copy_(0, self.slots, values).view(shape)

    def of_true_pairs(self) -> "Selection":
        """Return the positions in true pairs. Their slots stay those among all positions."""
        return self._replace(flat=self.flat.index_select(0, self.true), slots=self.slots.index_select(0, self.true))


def select(mask: Tensor, true_pairs: Tensor | None = None) -> Selection:
    """Return the positions that are True in ``mask`` (batch, length).

    Args:
        true_pairs: (batch,), True at the rows that are true pairs; None if all are.
    """
    counts = mask.sum(1)
    largest = int(counts.max())
    flat = mask.flatten().nonzero()[:, 0]
    slots = (torch.arange(largest, device=mask.device) < counts[:, None]).flatten().nonzero()[:, 0]
    if true_pairs is None:
        true = torch.arange(len(flat), device=mask.device)
    else:
        true = true_pairs.repeat_interleave(counts).nonzero()[:, 0]
    return Selection(flat, slots, counts, true, largest)


def select_positions(batch: Mapping[str, Any], state_padding: Tensor | None) -> dict[str, Selection]:
    """Return the selections, by name, that the masks of a batch imply.

    Args:
        batch: of any kind. A batch without masks has no selections.
        state_padding: (batch, T), True at padding of the states of speech; None without padding.
    """
    found, true_pairs = {}, batch.get("matches")
    if "mask_indices" in batch:
        masked = batch["mask_indices"]
        unmasked = ~masked
        if state_padding is not None:
            masked, unmasked = masked & ~state_padding, unmasked & ~state_padding
        found[MASKED_SPEECH], found[UNMASKED_SPEECH] = select(masked, true_pairs), select(unmasked, true_pairs)
    if "token_mask_indices" in batch:
        found[MASKED_TEXT] = select(batch["token_mask_indices"], true_pairs)
    if "false_partners" in batch:
        found[REMATCHED] = select(batch["false_partners"][:, None] >= 0)
    return found


def pack(selections: Mapping[str, Selection]) -> dict[str, Any]:
    """Return the entries of a batch that hold ``selections``: all lists as one tensor, so that one copy moves them."""
    if not selections:
        return {}
    parts = [part for selection in selections.values() for part in selection[:-1]]
    sizes = {name: [*map(len, selection[:-1]), selection.largest] for name, selection in selections.items()}
    return {LISTS: torch.cat(parts), SIZES: sizes}


def unpack(batch: Mapping[str, Any]) -> dict[str, Selection]:
    """Return the selections of :func:`pack`, on the device of the batch."""
    sizes = batch[SIZES]
    parts = iter(batch[LISTS].split([length for *lengths, _ in sizes.values() for length in lengths]))
    return {name: Selection(*islice(parts, len(lengths)), largest) for name, (*lengths, largest) in sizes.items()}
