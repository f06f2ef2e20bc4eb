"""What every task refuses in the same words."""

from typing import Any

_CASTING = ("fp16", "bf16", "amp")
_WHOLE_EXCHANGE = ("legacy_ddp", "no_c10d")


def refuse_casting(cfg: Any) -> None:
    """Raise ValueError where ``cfg`` has fairseq's ``fp16``, ``bf16`` or ``amp`` set."""
    asked = [f"--{flag}" for flag in _CASTING if getattr(cfg, flag)]
    if asked:
        raise ValueError(
            f"{', '.join(asked)}: found on, expected off; fairseq casts norms, losses and the quantiser with the rest "
            "and switches autocast off around the criterion. Use the model's --autocast bf16, which keeps those in fp32"
        )


def refuse_partial_exchange(cfg: Any) -> None:
    """Raise ValueError where several ranks would exchange gradients in another way than all at once before the step.

    A micro-batch reaches only some of the parameters; torch's own DDP waits for the others, or needs to be told.
    """
    if cfg.distributed_world_size > 1 and cfg.ddp_backend not in _WHOLE_EXCHANGE:
        raise ValueError(
            f"--ddp-backend {cfg.ddp_backend}: found with {cfg.distributed_world_size} ranks, expected legacy_ddp; "
            "a micro-batch reaches only some of the parameters"
        )
