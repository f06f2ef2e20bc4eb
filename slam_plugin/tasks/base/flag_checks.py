"""Checks of fairseq's flags that tasks share: combinations that are refused, each with its reason."""

import logging
from pathlib import Path
from typing import Any

import torch.distributed
from omegaconf import OmegaConf

from slam_plugin.criterions.with_ctc import NAME as WITH_CTC
from slam_plugin.data.errors import DataError
from slam_plugin.saved.newest import LAST

logger = logging.getLogger(__name__)

_CASTING = ("fp16", "bf16", "amp")
_WHOLE_EXCHANGE = ("legacy_ddp", "no_c10d")
_OVERLAPPING = ("pytorch_ddp", "c10d")  # torch's own DDP: it sends gradients during the backward pass
_GROUPED = ("slam_adamw", "slam_muon")  # optimizers with a learning rate for each parameter group


def refuse_casting(cfg: Any) -> None:
    """Raise ValueError if fairseq's ``fp16``, ``bf16`` or ``amp`` is on in ``cfg``."""
    asked = [f"--{flag}" for flag in _CASTING if getattr(cfg, flag)]
    if asked:
        raise ValueError(
            f"{', '.join(asked)}: found on, expected off; fairseq casts norms, losses and the quantizer too, and "
            "switches autocast off around the criterion. Use --autocast bf16, which keeps those in fp32"
        )


def refuse_asynchronous_saves(task: Any) -> None:
    """Raise ValueError if checkpoints would be written behind the training's back.

    ``task`` is the task's section of a run's whole configuration.
    """
    checkpoint = _checkpoint_section(task)
    if checkpoint is not None and checkpoint.write_checkpoints_asynchronously:
        raise ValueError(
            "--write-checkpoints-asynchronously: found on, expected off; fairseq then writes into the file under its "
            "final name, and neither reads it back nor hears of a failed write, and it saves no checkpoint_last.pt to "
            "resume from"
        )


def warn_of_restarted_plan(task: Any) -> None:
    """Log a warning if a run resumes from its own last checkpoint and begins its corpus plan anew.

    ``task`` is the task's section of a run's whole configuration.
    """
    checkpoint = _checkpoint_section(task)
    if checkpoint is None or not checkpoint.reset_dataloader:
        return
    last = Path(checkpoint.save_dir, LAST)
    if checkpoint.restore_file == LAST and last.exists():
        logger.warning(
            "%s: --reset-dataloader restarts the corpus plan and its stages at step 0, now and at every "
            "later start of this command, such as that of a job that is queued again",
            last,
        )


def _checkpoint_section(task: Any) -> Any:
    """Return the section ``checkpoint`` of the configuration that ``task`` is a section of, None if there is none."""
    whole = task._get_parent() if OmegaConf.is_config(task) else None
    return whole.checkpoint if whole is not None and "checkpoint" in whole else None


def refuse_partial_exchange(cfg: Any) -> None:
    """Raise ValueError if several ranks would wait for gradients that a plan step does not compute.

    A backend that is not supported is refused on one rank as well: fairseq would ask for a package that does not help.
    A micro-batch reaches only some of the parameters. Torch's own DDP waits for the others unless it looks for them.
    """
    met = torch.distributed.is_initialized()  # as many ranks as torchrun started, whatever the flag says
    ranks = torch.distributed.get_world_size() if met else cfg.distributed_world_size
    if cfg.ddp_backend not in (*_WHOLE_EXCHANGE, *_OVERLAPPING):
        raise ValueError(
            f"--ddp-backend {cfg.ddp_backend}: found with {ranks} ranks, expected pytorch_ddp or legacy_ddp"
        )
    if ranks < 2 or cfg.ddp_backend in _WHOLE_EXCHANGE:
        return
    if not cfg.find_unused_parameters:
        raise ValueError(
            f"--ddp-backend {cfg.ddp_backend}: found with {ranks} ranks and without --find-unused-parameters, expected "
            "legacy_ddp, or --find-unused-parameters with it; a micro-batch reaches only some of the parameters"
        )


def check_trunk_schedule(model: Any) -> None:
    """Raise ValueError if the trunk's schedule is invalid or would be ignored, or if torch's DDP would wait for it.

    ``model`` is the model's section of a run's whole configuration, which names optimizer, scheduler and exchange.
    """
    _refuse_ignored_rates(model)
    _refuse_waiting_exchange(model)


def _refuse_ignored_rates(model: Any) -> None:
    scale, warmup, whole = model.encoder_lr_scale, model.encoder_warmup_updates, model._get_parent()
    if warmup is not None and warmup < 1:
        raise ValueError(f"--encoder-warmup-updates: found {warmup}, expected 1 or more")
    asked = [f"--encoder-lr-scale {scale}"] if scale != 1.0 else []
    asked += [f"--encoder-warmup-updates {warmup}"] if warmup is not None else []
    if not asked or whole is None:
        return
    if whole.optimizer._name not in _GROUPED:
        raise ValueError(
            f"{', '.join(asked)}: found --optimizer {whole.optimizer._name}, expected {' or '.join(_GROUPED)}, the "
            "only ones with a learning rate per parameter group"
        )
    if warmup is not None and whole.lr_scheduler._name != "slam_inverse_sqrt":
        raise ValueError(
            f"{asked[-1]}: found --lr-scheduler {whole.lr_scheduler._name}, expected slam_inverse_sqrt, the only one "
            "with a warm-up per parameter group"
        )


def _refuse_waiting_exchange(model: Any) -> None:
    whole = model._get_parent()
    if model.freeze_encoder_updates < 1 or whole is None:
        return
    how = whole.distributed_training
    if how.distributed_world_size > 1 and how.ddp_backend not in _WHOLE_EXCHANGE and not how.find_unused_parameters:
        raise ValueError(
            f"--ddp-backend {how.ddp_backend}: found with {how.distributed_world_size} ranks and "
            f"--freeze-encoder-updates {model.freeze_encoder_updates}, expected legacy_ddp or "
            "--find-unused-parameters; torch's DDP would wait for gradients, and a frozen encoder has none"
        )


def refuse_freezing_new_weights(model: Any, has_source: bool) -> None:
    """Raise ValueError if a trunk that comes from no checkpoint would be frozen.

    Args:
        model: the model's section of the configuration.
        has_source: whether the run starts or resumes from a checkpoint.
    """
    if model.freeze_encoder_updates > 0 and not has_source:
        raise ValueError(
            f"--freeze-encoder-updates {model.freeze_encoder_updates}: found without --pretrained, expected a "
            "checkpoint to start from; a new trunk would stay random"
        )


def check_adapters(model: Any, source: Any | None, resumes: bool) -> None:
    """Raise an error if low-rank adapters would not learn, or would not save anything.

    Args:
        model: the model's section of a run's whole configuration, with the trunk's sizes filled in.
        source: configuration of the model in the checkpoint that the run starts or resumes from; None if there is none.
        resumes: whether the run resumes, and so has the adapters of that checkpoint.
    Raises:
        ValueError for flags that are senseless, :class:`DataError` if the run resumes with another rank.
    """
    rank, frozen, whole = model.lora_rank, model.freeze_encoder_updates, model._get_parent()
    theirs = (getattr(source, "lora_rank", None) or 0) if resumes else rank
    if rank != theirs:
        raise DataError(f"--lora-rank: found {rank}, expected {theirs}, as in the checkpoint that the run resumes from")
    if not rank:
        return
    half = model.encoder_dim // 2
    if not 0 < rank < half:
        raise ValueError(
            f"--lora-rank: found {rank} with an encoder of dimension {model.encoder_dim}, expected 0, or 1 to "
            f"{half - 1}; adapters of a higher rank hold more numbers than the matrices that they adapt"
        )
    if source is None:
        raise ValueError(
            f"--lora-rank {rank}: found without --pretrained, expected a checkpoint to start from; the trunk's own "
            "weights do not learn beside adapters, and new ones would stay random"
        )
    last = 0 if whole is None else whole.optimization.max_update
    if 0 < last <= frozen:
        raise ValueError(
            f"--freeze-encoder-updates {frozen}: found with --lora-rank {rank} and --max-update {last}, expected fewer "
            "than that; the adapters would never learn"
        )


def refuse_half_ctc(model: Any) -> None:
    """Raise ValueError if only one of the two is set: a CTC head beside a decoder, a criterion that trains it.

    ``model`` is the model's section of a run's whole configuration.
    """
    whole = model._get_parent()
    head = bool(model.get("ctc_head"))
    if whole is not None and "criterion" in whole and head != (whole.criterion._name == WITH_CTC):
        found = "with" if head else "without"
        raise ValueError(
            f"--criterion {whole.criterion._name}: found {found} --ctc-head, expected both of --ctc-head and "
            f"--criterion {WITH_CTC}, or neither"
        )
