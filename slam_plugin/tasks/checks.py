"""What every task refuses in the same words."""

from typing import Any

_CASTING = ("fp16", "bf16", "amp")


def refuse_casting(cfg: Any) -> None:
    """Raise ValueError where ``cfg`` has fairseq's ``fp16``, ``bf16`` or ``amp`` set."""
    asked = [f"--{flag}" for flag in _CASTING if getattr(cfg, flag)]
    if asked:
        raise ValueError(
            f"{', '.join(asked)}: found on, expected off; fairseq casts norms, losses and the quantiser with the rest "
            "and switches autocast off around the criterion. Use the model's --autocast bf16, which keeps those in fp32"
        )
