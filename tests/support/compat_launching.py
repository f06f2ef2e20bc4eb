"""Scenarios that fail in fairseq without the workarounds for launched ranks and for trackers: see compat_scenarios."""

import os
from pathlib import Path
from types import SimpleNamespace

import torch
from fairseq.dataclass.configs import DistributedTrainingConfig
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import progress_bar
from fairseq.models import DistributedFairseqModel

from tests.support.compat_running import expect, train


def launched(gpus: int, rank: int, local_rank: int, world_size: int, **flags: int) -> DistributedTrainingConfig:
    """Return the configuration that fairseq infers from torchrun's variables, in a rank that sees ``gpus`` GPUs."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": str(world_size)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(local_rank)}
    torch.cuda.device_count, torch.cuda.set_device = lambda: gpus, lambda device: None
    cfg = DistributedTrainingConfig(distributed_world_size=max(1, gpus), tpu=False)
    for name, value in flags.items():
        setattr(cfg, name, value)
    distributed_utils.infer_init_method(cfg)
    return cfg


def expect_launched(cfg: DistributedTrainingConfig, rank: int, world_size: int, device: int) -> None:
    found = cfg.distributed_init_method, cfg.distributed_world_size, cfg.distributed_rank, cfg.device_id
    expect(found == ("env://", world_size, rank, device), f"found {found}")
    expect(cfg.distributed_no_spawn, "it would start ranks of its own")


def launch_on_processors(folder: Path) -> None:
    del folder
    expect_launched(launched(0, 1, 1, 2, distributed_world_size=2), 1, 2, 0)


def exchange_on_processors(folder: Path) -> None:
    """One rank wraps a model on a processor as fairseq's trainer does on several ranks."""
    torch.distributed.init_process_group("gloo", f"file://{folder / 'store'}", rank=0, world_size=1)
    cfg = DistributedTrainingConfig(ddp_backend="pytorch_ddp", device_id=0, tpu=False)
    model = torch.nn.Linear(2, 1)
    wrapped = DistributedFairseqModel(cfg, model, torch.distributed.group.WORLD, torch.device("cpu"))
    wrapped(torch.ones(1, 2)).sum().backward()
    expect(bool((model.weight.grad == 1).all()), "the gradient is not that of the model")


def launch_with_a_gpu_each(folder: Path) -> None:
    """Four ranks, of which each sees one GPU, without a flag."""
    del folder
    expect_launched(launched(1, 3, 3, 4), 3, 4, 0)


def launch_on_unequal_machines(folder: Path) -> None:
    """The first of four ranks on a machine with four GPUs, behind a machine with two ranks."""
    del folder
    expect_launched(launched(4, 2, 0, 6), 2, 6, 0)


class Tracker(SimpleNamespace):
    """In place of the package wandb: keeps what it is given, and refuses a changed value as the package does."""

    def __init__(self) -> None:
        super().__init__(run=None, starts=[], logged={}, values={}, config=SimpleNamespace(update=self.update))

    def init(self, project: str, name: str, reinit: bool | None = None) -> None:
        self.starts.append((project, name))
        self.run = self.run or object()

    def log(self, values: dict[str, float], step: int) -> None:
        for key, value in values.items():
            self.logged.setdefault(key, []).append((step, value))

    def update(self, values: dict, allow_val_change: bool = False) -> None:
        changed = [key for key in values if key in self.values and self.values[key] != values[key]]
        if changed and not allow_val_change:
            raise RuntimeError(f"Attempted to change value of key {changed[0]}")
        self.values |= values


def track_two_epochs(folder: Path) -> None:
    """One run, with all losses of two epochs and their validations at their updates."""
    progress_bar.wandb = tracker = Tracker()
    train(f"--save-dir={folder / 'saved'}", "--max-epoch=2", "--wandb-project=toys")
    expect(tracker.starts == [("toys", "saved")], f"started {len(tracker.starts)} times")
    for tag in ("train", "valid"):
        steps = [step for step, _ in tracker.logged[f"{tag}/loss"]]
        expect(len(steps) == 2 and 0 < steps[0] < steps[1], f"{tag}: logged at {steps}")


def track_a_resumed_run(folder: Path) -> None:
    """The service hands a run that resumes the configuration of before, which another flag changes."""
    progress_bar.wandb = tracker = Tracker()
    for last in (1, 2):
        tracker.run = None
        train(f"--save-dir={folder / 'saved'}", f"--max-epoch={last}", "--wandb-project=toys")
    expect(tracker.values["optimization"]["max_epoch"] == 2, f"found {tracker.values}")
    expect(len(tracker.logged["valid/loss"]) == 2, f"logged {tracker.logged['valid/loss']}")
