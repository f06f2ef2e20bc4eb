"""Signals that ask a training to stop, and ranks that end before or while the others start."""

import datetime
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from slam_plugin.compat import meeting
from slam_plugin.program import STOPPED
from tests.support import training

ROOT = Path(__file__).resolve().parents[2]


def until(is_so: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def family(pid: int) -> list[int]:
    """Return a process and its children, which are the workers of its loader."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, tasks)]


def sending(number: int, rank: int, update: int) -> Callable[[Sequence[BaseProcess], Path], None]:
    """Return what sends a signal to a rank and its workers, once rank 0 has logged an update."""

    def disturb(processes: Sequence[BaseProcess], log: Path) -> None:
        until(lambda: log.exists() and f'"num_updates": "{update}"' in log.read_text())
        for pid in family(processes[rank].pid):
            os.kill(pid, number)

    return disturb


@pytest.mark.parametrize(
    ("number", "ranks", "workers", "update"),
    [(signal.SIGTERM, 1, 2, 1), (signal.SIGUSR1, 1, 0, 4), (signal.SIGUSR1, 2, 2, 2)],
)
def test_a_signal_saves_and_ends_with_a_code_of_its_own_and_the_same_command_resumes(
    request, toy, tmp_path, number, ranks, workers, update
):
    reference = request.getfixturevalue("reference" if ranks == 1 else "reference_of_two")
    flags = {"num_workers": workers, "no_epoch_checkpoints": True}
    stopped = training.train(toy, tmp_path, ranks, sending(number, ranks - 1, update), **flags)
    assert stopped.code == STOPPED, stopped.output[-3000:]
    reached = stopped.checkpoint()["optimizer_history"][-1]["num_updates"]
    assert update <= reached < training.UPDATES
    assert f"after update {reached}, saved in {tmp_path}, the same command resumes" in stopped.output
    resumed = training.train(toy, tmp_path, ranks, **flags, disable_validation=True)
    assert resumed.code == 0, resumed.output[-3000:]
    for part in ("model", "last_optimizer_state"):
        assert training.differing(resumed.checkpoint()[part], reference.checkpoint()[part]) == []


def test_a_run_that_may_not_save_says_so(toy, tmp_path):
    run = training.train(toy, tmp_path, 1, sending(signal.SIGTERM, 0, 1), no_save=True)
    assert run.code == STOPPED and not list(tmp_path.glob("*.pt"))
    assert "without checkpoint_last.pt (--no-save" in run.output


def test_a_rank_that_fails_while_it_loads_ends_the_other(toy, tmp_path):
    """Rank 1 ends after the ranks have met, and before fairseq needs its group of all ranks."""

    def kill_one(processes: Sequence[BaseProcess], log: Path) -> None:
        until(lambda: log.exists() and "all 2 ranks have met" in log.read_text())
        processes[1].kill()
        processes[0].join(timeout=60)
        assert processes[0].exitcode not in (0, None)

    training.train(toy, tmp_path, 2, kill_one)


def lonely(rank: int, method: str, port: int, told: multiprocessing.Queue) -> None:
    meeting.MEETING = datetime.timedelta(seconds=2)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        meeting.meet(method, rank, 2)
    except meeting.RankMissingError as error:
        told.put(str(error))


@pytest.mark.parametrize(
    ("rank", "method", "named"),
    [(0, "tcp://127.0.0.1:{}", "tcp://127.0.0.1:{}"), (1, "env://", "127.0.0.1:{} (MASTER_ADDR, MASTER_PORT)")],
)
def test_a_rank_does_not_wait_for_ever_for_one_that_never_starts(rank, method, named):
    context = multiprocessing.get_context("forkserver")
    told, port = context.Queue(), training.free_port()
    waiting = context.Process(target=lonely, args=(rank, method.format(port), port, told))
    waiting.start()
    message = told.get(timeout=300)
    expected = f"rank {rank} of 2 at {named.format(port)}: waited 0:00:02 for the others, found some missing"
    assert message.startswith(expected)
    waiting.join()


SPAWNING = """
import os, signal, sys, time
import torch
from fairseq.dataclass.configs import FairseqConfig
from fairseq.distributed import utils
from omegaconf import OmegaConf
from slam_plugin.program import STOPPED

def rank(cfg):
    signal.signal(signal.SIGUSR1, lambda *heard: sys.exit(STOPPED))
    os.write(1, b"ready\\n")  # in one piece: two ranks write
    time.sleep(60)

if __name__ == "__main__":
    from slam_plugin import compat
    compat.apply()
    torch.cuda.device_count = lambda: 2
    plain = OmegaConf.to_container(OmegaConf.structured(FairseqConfig), enum_to_str=True)
    cfg = OmegaConf.create({**plain, "model": {}})
    cfg.distributed_training.distributed_world_size = 2
    cfg.distributed_training.distributed_backend = "gloo"
    utils.call_main(cfg, rank)
"""


def test_a_process_that_starts_a_rank_for_each_gpu_passes_signals_on(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(SPAWNING)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen([sys.executable, str(program)], env=environment, stdout=subprocess.PIPE, text=True)
    assert [run.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    run.send_signal(signal.SIGUSR1)
    assert run.wait(timeout=60) == STOPPED
    run.stdout.close()
