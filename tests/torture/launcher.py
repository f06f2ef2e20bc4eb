"""Starts fairseq-train on one rank or two, as forks of this process or as fresh ones, and waits for its end.

Importing takes longer than training the toy, and so does hydra's way to a configuration. A fork has both behind it.
"""

import contextlib
import copy
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import fairseq_cli.train
import torch
import torch._dynamo  # (torch's optimizers would import it in every fork)
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed import utils as distributed_utils
from omegaconf import open_dict

import slam_plugin.tasks.pretraining  # noqa: F401
from slam_plugin import compat
from tests.torture import hooks, toy
from tests.torture.disturbance import Disturbance

ROOT = Path(__file__).resolve().parents[2]
GRACE = 30.0  # seconds in which the other rank may end by itself
LIMIT = 1800.0  # seconds after which a run hangs


class End(NamedTuple):
    """How a start of the run ended.

    Attributes:
        codes: exit codes by rank, negative for a signal.
        fired: it was disturbed.
        stuck: ranks that did not end by themselves after another one had died.
        log: the end of what the ranks wrote.
    """

    codes: list[int]
    fired: bool
    stuck: list[int]
    log: str


def start(
    folder: Path, of: toy.Training, port: int, disturbance: Disturbance | None = None, fresh: bool = False
) -> End:
    """Train in ``folder``, which holds the data, until the run ends.

    Args:
        fresh: start new processes, as a user does. A disturbance of the imports does so on its rank in any case.
    """
    (folder / hooks.FIRED).unlink(missing_ok=True)
    for rank in range(of.ranks):  # those of the start before
        hooks.pid_file(folder, rank).unlink(missing_ok=True)
    processes: dict[int, int] = {}
    for rank in range(of.ranks):
        importing = disturbance is not None and disturbance.phase == "importing" and disturbance.rank == rank
        run = _fresh if fresh or importing else _fork
        process = run(folder, of, rank, port, disturbance)
        processes[process] = rank
        hooks.pid_file(folder, rank).write_text(str(process))
    return _wait(folder, processes)


def _wait(folder: Path, processes: dict[int, int]) -> End:
    codes: dict[int, int] = {}
    stuck: list[int] = []
    end = time.monotonic() + LIMIT
    while len(codes) < len(processes):
        process, status = _poll(processes, codes)
        if process in processes:
            codes[processes[process]] = os.waitstatus_to_exitcode(status)
            if codes[processes[process]] != 0:
                end = min(end, time.monotonic() + GRACE)
        elif time.monotonic() > end:
            stuck = [rank for rank in processes.values() if rank not in codes]
            for process, rank in processes.items():
                if rank in stuck:
                    os.kill(process, signal.SIGKILL)
            end += LIMIT
        else:
            time.sleep(0.01)
    logs = [folder / f"rank{rank}.log" for rank in processes.values()]
    tail = "\n".join(f"--- {log}\n{log.read_text()[-3000:]}" for log in logs if log.exists())
    return End([codes[rank] for rank in sorted(codes)], (folder / hooks.FIRED).exists(), stuck, tail)


def _poll(processes: dict[int, int], codes: dict[int, int]) -> tuple[int, int]:
    """Return the next process that has ended and its status, (0, 0) if none has."""
    for process, rank in processes.items():
        if rank not in codes:
            found = os.waitpid(process, os.WNOHANG)
            if found[0]:
                return found
    return 0, 0


def _fresh(folder: Path, of: toy.Training, rank: int, port: int, disturbance: Disturbance | None) -> int:
    command = [sys.executable, "-m", "tests.torture.fresh", str(folder), str(rank), str(disturbance or "")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(folder / f"rank{rank}.log", "wb") as log:
        return subprocess.Popen(
            [*command, *toy.arguments(of, rank, port)], cwd=folder, env=environment, stdout=log, stderr=log
        ).pid


def _fork(folder: Path, of: toy.Training, rank: int, port: int, disturbance: Disturbance | None) -> int:
    base = _configuration(of)  # in this process, for all later forks
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.chdir(folder)
        with open(f"rank{rank}.log", "wb") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        multiprocessing.set_start_method("fork", force=True)  # of a loader's workers, as under the shell
        torch.set_num_threads(1)
        if disturbance is not None and disturbance.rank == rank:
            hooks.install(hooks.Trigger(disturbance, folder, rank))
        cfg = copy.deepcopy(base)
        if of.ranks > 1:
            with open_dict(cfg):
                cfg.distributed_training.distributed_rank = rank
                cfg.distributed_training.distributed_init_method = f"tcp://127.0.0.1:{port}"
        distributed_utils.call_main(cfg, fairseq_cli.train.main)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


@functools.cache
def _configuration(of: toy.Training) -> Any:
    """Return fairseq's configuration of rank 0."""
    compat.register()
    parsed = options.parse_args_and_arch(options.get_training_parser(), toy.arguments(of, 0, port=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hydra's warnings about fairseq
        return convert_namespace_to_omegaconf(parsed)
