"""One rank works for all, for longer than torch lets the others wait by default."""

import datetime
import multiprocessing
import time
from pathlib import Path

import torch

from slam_plugin.tasks.base.ranks import first_rank_first

PATIENCE = 2.0  # seconds that the run's own group waits


def rank_of_two(rank: int, folder: Path, told) -> None:
    """Put the rank, and whether it found each file that rank 0 makes or the error, into the queue."""
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    store.set(str(rank), "here")
    store.wait(["0", "1"])  # processes start at their own pace
    limit = datetime.timedelta(seconds=PATIENCE)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=limit)
    found = []
    try:
        for name in ("first", "second"):
            with first_rank_first():
                found.append((folder / name).exists())
                if rank == 0:
                    time.sleep(1.5 * PATIENCE)
                    (folder / name).touch()
        told.put((rank, found))
    except RuntimeError as error:
        told.put((rank, str(error)))


def test_the_others_wait_for_as_long_as_it_takes(tmp_path):
    context = multiprocessing.get_context("forkserver")
    told = context.Queue()
    ranks = [context.Process(target=rank_of_two, args=(rank, tmp_path, told)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    try:
        assert sorted(told.get(timeout=120) for _ in ranks) == [(0, [False, False]), (1, [True, True])]
    finally:
        for rank in ranks:
            rank.join(timeout=20)
            rank.kill()
