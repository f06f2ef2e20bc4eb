"""Batches made in worker processes, which reach the training through shared memory."""

from collections.abc import Callable, Sequence
from typing import Any

from fairseq.utils import apply_to_sample
from torch.utils.data import get_worker_info

from slam_plugin.data.errors import DataError

SHARED_MEMORY = "/dev/shm"


class SharedBatches:
    """A collate function that puts a worker's batches into shared memory itself.

    ``DataLoader`` does so in a thread of the worker, which loses its errors: if the memory is full, the training waits
    for the batch without end. Containers often have 64 MB of it.

    Args:
        collate: the collate function of the batches.
    """

    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Return the batch. Raises :class:`DataError` if it does not fit into shared memory."""
        batch = self.collate(samples)
        if get_worker_info() is None:
            return batch
        try:
            apply_to_sample(lambda tensor: tensor.share_memory_(), batch)
        except RuntimeError as error:
            raise DataError(
                f"{SHARED_MEMORY}: found no room for a batch of a worker ({error}), expected more of it (docker run "
                "--shm-size 8g) or no workers (--num-workers 0)"
            ) from error
        return batch
