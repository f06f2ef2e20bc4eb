"""Which checkpoint fairseq's trainer will resume from, known before the model is built."""

from pathlib import Path
from typing import Any

from slam_plugin.saved.newest import LAST, sound_checkpoint


def resumed_from(cfg: Any) -> str | None:
    """Return the path of the checkpoint that the trainer will load, None if there is none.

    If ``checkpoint_last.pt`` is damaged, that is the newest sound one beside it.

    Args:
        cfg: has ``save_dir``, ``restore_file`` and ``finetune_from_model`` of fairseq's section ``checkpoint``.
    """
    restore = cfg.restore_file
    if restore == LAST:
        restore = str(Path(cfg.save_dir, restore))
        if not Path(restore).exists():
            return cfg.finetune_from_model
        return str(sound_checkpoint(restore))
    return restore if Path(restore).exists() else None
