"""What fails in fairseq's training loop without the workarounds of slam_plugin.compat. See compat_scenarios.py."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch._dynamo  # the optimizers would import it in every fork
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.tasks.translation import TranslationTask
from fairseq.trainer import Trainer

from slam_plugin.data.errors import DataError
from slam_plugin.program import STOPPED
from tests.support.compat_running import SENTENCES, expect, finish, start, train
from tests.support.training import free_port


def train_twice_at_once(folder: Path) -> None:
    """A second run starts while the first is in its first update."""

    def first() -> None:
        def train_step(*arguments, **options):
            (folder / "training").touch()
            time.sleep(60)

        TranslationTask.train_step = train_step
        train(f"--save-dir={folder / 'saved'}", "--max-epoch=1")

    running = start(first, log=folder / "first")
    while not (folder / "training").exists():
        time.sleep(0.02)
    try:
        train(f"--save-dir={folder / 'saved'}", "--max-epoch=1")
    except DataError as error:
        expect(f"another run that saves here (process {running[0]} on " in str(error), f"unclear: {error}")
    else:
        raise AssertionError("both train")
    finally:
        os.kill(running[0], signal.SIGKILL)
        finish(running)
    train(f"--save-dir={folder / 'saved'}", "--max-epoch=1")  # the dead one holds nothing


def stop_at_a_signal(folder: Path) -> None:
    """SIGTERM comes in the second of three updates."""
    step = TranslationTask.train_step

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        if update_num == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, sample, model, criterion, optimizer, update_num, ignore_grad)

    TranslationTask.train_step = train_step
    try:
        train(f"--save-dir={folder / 'saved'}", "--max-update=3")
    except SystemExit as end:
        expect(end.code == STOPPED, f"exit code {end.code}")
    state = checkpoint_utils.load_checkpoint_to_cpu(str(folder / "saved/checkpoint_last.pt"))
    updates = state["optimizer_history"][-1]["num_updates"]
    expect(updates == 2, f"saved after update {updates}")


def lose_a_rank(folder: Path) -> None:
    """Rank 1 dies before rank 0 makes fairseq's group of all ranks, which has 15 seconds to notice that."""
    address = f"tcp://127.0.0.1:{free_port()}"

    def rank(number: int) -> None:
        training = SimpleNamespace(distributed_rank=number, distributed_init_method=address, distributed_world_size=2,
                                   distributed_backend="gloo")  # fmt: skip
        common = SimpleNamespace(tpu=False, model_parallel_size=1)
        distributed_utils.distributed_init(SimpleNamespace(distributed_training=training, common=common))
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        signal.alarm(15)
        distributed_utils.all_reduce(torch.ones(1), distributed_utils.get_global_group())

    ranks = [start(rank, number, log=folder / f"rank{number}") for number in range(2)]
    error, killed = map(finish, ranks)
    expect(killed == "killed" and "RuntimeError" in error, f"the other rank {error}")


def skip_a_bad_update(folder: Path) -> None:
    """The gradients of the second update are infinite. The task's guard lets one such update pass."""
    from slam_plugin.tasks.base.bad_updates import UpdateGuard  # its package applies the workarounds

    step = TranslationTask.train_step

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        result = step(self, sample, model, criterion, optimizer, update_num, ignore_grad)
        if update_num == 1:
            next(model.parameters()).grad.fill_(np.inf)
        return result

    TranslationTask.train_step, TranslationTask.guard = train_step, UpdateGuard(limit=1)
    train(f"--save-dir={folder / 'saved'}", "--max-update=3")
    state = checkpoint_utils.load_checkpoint_to_cpu(str(folder / "saved/checkpoint_last.pt"))
    expect(all(value.isfinite().all() for value in state["model"].values()), "weights are not finite")


def log_at_an_interval(folder: Path) -> None:
    """The first of three updates in a log interval is logged at once, for the clocks. The others are at its end."""
    from slam_plugin.tasks.base.bad_updates import UpdateGuard

    step, reduce, done = TranslationTask.train_step, TranslationTask.reduce_metrics, []

    def train_step(self, *arguments, **options):
        done.append("update")
        return step(self, *arguments, **options)

    def reduce_metrics(self, logging_outputs, criterion):
        done.append("log")
        reduce(self, logging_outputs, criterion)

    TranslationTask.train_step, TranslationTask.reduce_metrics = train_step, reduce_metrics
    TranslationTask.guard = UpdateGuard(limit=0)
    train(f"--save-dir={folder}", "--max-tokens=12", "--max-update=3", "--log-interval=3", "--disable-validation")
    expected = ["update", "log", "update", "update", "log", "log"]
    expect(done == expected, f"it does {' '.join(done)}")


def add_ranks_without_numbers_of_the_host(folder: Path) -> None:
    """The numbers that two ranks add up are on the device when fairseq gets them, so it copies nothing."""
    from slam_plugin.tasks.base.bad_updates import UpdateGuard

    add = distributed_utils.all_reduce_dict

    def all_reduce_dict(data, device, group):
        numbers = [name for name, value in data.items() if not torch.is_tensor(value)]
        expect(not numbers, f"it copies {', '.join(numbers)}")
        return add(data, device, group)

    distributed_utils.all_reduce_dict, TranslationTask.guard = all_reduce_dict, UpdateGuard(limit=0)
    expect_ranks_to_train(folder, "--max-epoch=1", "--disable-validation")


def count_each_batch(folder: Path) -> None:
    """Three batches for two ranks and ``--update-freq 2``: the second rank has a batch and a dummy."""
    aggregate = Trainer._aggregate_logging_outputs

    def _aggregate_logging_outputs(self, *arguments, **options):
        outputs, sums = aggregate(self, *arguments, **options)
        tokens = sum(len(sentence.split()) + 1 for sentence in SENTENCES)
        expect(float(sums[0]) == tokens, f"gradients of {tokens} tokens are divided by {float(sums[0]):.0f}")
        return outputs, sums

    Trainer._aggregate_logging_outputs = _aggregate_logging_outputs
    sizes = ("--batch-size=4", "--required-batch-size-multiple=1", "--update-freq=2")
    expect_ranks_to_train(folder, *sizes, "--max-epoch=1", "--disable-validation")


def draw_other_noise_on_each_rank(folder: Path) -> None:
    """The first rank draws what one rank alone draws."""
    step = TranslationTask.train_step

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        rank = distributed_utils.get_global_rank()
        (folder / f"drawn{rank}-{update_num}").write_text(f"{torch.rand(2).tolist()}")
        return step(self, sample, model, criterion, optimizer, update_num, ignore_grad)

    TranslationTask.train_step = train_step
    expect_ranks_to_train(folder, "--max-tokens=12", "--max-update=2", "--disable-validation", "--seed=1")
    drawn = {path.name: path.read_text() for path in folder.glob("drawn*")}
    expect(len(drawn) == 4, f"{sorted(drawn)} were drawn")
    expect(len(set(drawn.values())) == 4, f"{len(set(drawn.values()))} draws differ in two updates on two ranks")
    torch.manual_seed(1)
    expect(drawn["drawn0-0"] == f"{torch.rand(2).tolist()}", "the first rank does not draw as one rank does")


def stop_after_interruptions(folder: Path) -> None:
    """Nothing is learned at rate 0, so patience 2 ends training in the third epoch, interrupted or not."""

    def epochs(last: int) -> None:
        train(f"--save-dir={folder / 'saved'}", "--lr=0", "--dropout=0", "--patience=2", f"--max-epoch={last}")

    for last in (1, 2, 9):
        error = finish(start(epochs, last, log=folder / "log"))
        expect(error is None, f"training failed: {error}")
    state = checkpoint_utils.load_checkpoint_to_cpu(str(folder / "saved/checkpoint_last.pt"))
    epoch = state["extra_state"]["train_iterator"]["epoch"]
    expect(epoch == 4, f"it stopped after epoch {epoch - 1} instead of 3")


def start_a_finished_run_again(folder: Path) -> None:
    """A run that has reached --max-update, or its patience, changes nothing if it is started again."""
    last = folder / "saved/checkpoint_last.pt"
    for limit in ("--max-update=2", "--patience=1"):
        for _ in range(2):
            content = last.read_bytes() if last.exists() else None
            arguments = f"--save-dir={last.parent}", "--lr=0", "--dropout=0", limit
            error = finish(start(train, *arguments, log=folder / "log"))
            expect(error is None, f"training failed: {error}")
        updates = checkpoint_utils.load_checkpoint_to_cpu(str(last))["optimizer_history"][-1]["num_updates"]
        expect(last.read_bytes() == content, f"{limit}: it was trained further, to update {updates}")


def resume_on_two_ranks(folder: Path) -> None:
    """Rank 0 sends the configuration, an omegaconf object, to rank 1."""
    expect_ranks_to_train(folder, "--restore-file=once/checkpoint_last.pt", "--max-epoch=2")


def expect_ranks_to_train(folder: Path, *arguments: str) -> None:
    def rank(number: int) -> None:
        train(*arguments, f"--save-dir={folder / 'resumed'}",
              f"--distributed-init-method=file://{folder / 'store'}", "--distributed-world-size=2", "--device-id=0",
              f"--distributed-rank={number}", "--distributed-no-spawn", "--distributed-backend=gloo",
              "--ddp-backend=legacy_ddp")  # fmt: skip

    children = [start(rank, number, log=folder / f"rank{number}.log") for number in (0, 1)]
    # Rank 1 reports the error; rank 0 only that rank 1 has gone.
    errors = [finish(child) for child in children][::-1]
    expect(not any(errors), "\n".join(error or "" for error in errors))
