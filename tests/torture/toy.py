"""The training that is tortured: three epochs of a tiny model, in which shards and stages change.

An epoch has three updates of two plan steps. Text joins in the middle of the second update, pairs in the second epoch.
Each epoch visits another shard of speech and text than the one before. The run validates and saves within epochs and at
their ends, and removes old checkpoints.
"""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import training

DATA, SAVED = "data", "saved"  # both below the folder of a run
STEPS_PER_EPOCH, UPDATE_FREQ, UPDATES = 6, 2, 9
STAGES = {0: ["speech"], 3: ["speech", "text"], 8: ["speech", "text", "pairs"]}
FLAGS = {
    "steps_per_epoch": STEPS_PER_EPOCH,
    "update_freq": UPDATE_FREQ,
    "save_interval_updates": 2,
    "keep_interval_updates": 1,
    "patience": 100,  # never reached; its counters are saved
    "autocast": "none",
}


class Training(NamedTuple):
    """A number of ranks, and of updates."""

    ranks: int
    updates: int = UPDATES


# Of several ranks on one machine without GPUs.
JOINT = {
    "distributed_no_spawn": True,
    "distributed_backend": "gloo",
    "ddp_backend": "legacy_ddp",
    "device_id": 0,
}


def build(folder: Path, source: Path | None = None) -> None:
    """Make the folder of the corpora: from ``source``, which ``build_toy`` made, if there is one."""
    if source is None:
        folder.mkdir()
        training.build_toy(folder)
    else:
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.checked", "*.arrow"))
    training.write_corpora(folder, _change)


def _change(corpora: dict[str, Any]) -> None:
    corpora["stages"] = STAGES
    corpora["quota"] = {"speech": 1, "text": 1, "pairs": 1}
    for corpus in corpora["corpora"].values():
        corpus["budget"] //= 2
        corpus["max_length"] = min(corpus["max_length"], corpus["budget"])


def arguments(of: Training, rank: int, port: int) -> list[str]:
    """Return the arguments of fairseq-train, with folders relative to that of the run."""
    flags: dict[str, Any] = {**FLAGS, "max_update": of.updates}
    if of.ranks > 1:
        address = f"tcp://127.0.0.1:{port}"
        flags |= {
            **JOINT,
            "distributed_init_method": address,
            "distributed_world_size": of.ranks,
            "distributed_rank": rank,
        }
    return training.command(Path(DATA), Path(SAVED), **flags)
