"""Batches of workers reach the training, or an error that says why not."""

import pytest
import torch
from torch.utils.data import DataLoader

from slam_plugin.data.errors import DataError
from slam_plugin.data.workers import SHARED_MEMORY, SharedBatches
from tests.support.full_disk import files_of_at_most

ITEMS = [{"net_input": {"features": torch.full((1000,), float(i))}, "ids": [i]} for i in range(4)]


def collate(items: list[dict]) -> dict:
    (item,) = items
    return item


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_arrive_as_they_are(workers):
    found = list(DataLoader(ITEMS, collate_fn=SharedBatches(collate), num_workers=workers))
    for item, expected in zip(found, ITEMS, strict=True):
        assert torch.equal(item["net_input"]["features"], expected["net_input"]["features"])
        assert item["ids"] == expected["ids"] and item["net_input"]["features"].is_shared() == bool(workers)


def test_full_shared_memory_is_an_error_and_no_wait():
    with files_of_at_most(2000):  # a file of shared memory is a file
        loader = DataLoader(ITEMS, collate_fn=SharedBatches(collate), num_workers=1, timeout=60)
        with pytest.raises(DataError, match=f"{SHARED_MEMORY}: found no room for a batch"):
            next(iter(loader))
