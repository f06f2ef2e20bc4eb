"""Workarounds for ranks that torchrun, or srun with torchrun's variables, has started, and for ranks without GPUs."""

import functools
import os

import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.models import distributed_fairseq_model

from slam_plugin.compat.workaround import Workaround

VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")  # by which fairseq knows such a rank


def _take_launched_ranks() -> None:
    infer = distributed_utils.infer_init_method

    @functools.wraps(infer)
    def infer_init_method(cfg, force_distributed=False):
        is_launched = all(name in os.environ for name in VARIABLES)
        if is_launched and cfg.distributed_init_method is None and not cfg.tpu:
            cfg.distributed_world_size = int(os.environ["WORLD_SIZE"])
        return infer(cfg, force_distributed)

    distributed_utils.infer_init_method = infer_init_method
    distributed_utils._infer_torch_distributed_launch_init = _read_variables


def _read_variables(cfg) -> None:
    cfg.distributed_init_method = "env://"
    cfg.distributed_world_size, cfg.distributed_rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    # A rank that sees one GPU alone, as SLURM can arrange it, takes that one.
    on_this_machine = int(os.environ.get("LOCAL_RANK", cfg.distributed_rank))
    cfg.device_id = on_this_machine % max(1, torch.cuda.device_count())
    cfg.distributed_no_spawn = True


def _exchange_on_processors() -> None:
    original = distributed_fairseq_model.DistributedDataParallel

    @functools.wraps(original, updated=())
    def DistributedDataParallel(module, device_ids=None, output_device=None, **options):
        if all(parameter.device.type == "cpu" for parameter in module.parameters()):
            device_ids = output_device = None
        return original(module, device_ids=device_ids, output_device=output_device, **options)

    distributed_fairseq_model.DistributedDataParallel = DistributedDataParallel


WORKAROUNDS = (
    Workaround(
        "launched ranks",
        "torchrun's variables make fairseq divide by the number of GPUs, which is zero on processors. A rank that sees "
        "one GPU or none does not read them without --distributed-world-size, and trains alone. Its GPU follows from "
        "its number among all ranks, which is wrong if machines have different numbers of ranks",
        _take_launched_ranks,
    ),
    Workaround(
        "exchange on processors",
        "fairseq gives torch's DDP the number of a GPU also if the model is on a processor, which torch refuses",
        _exchange_on_processors,
    ),
)
