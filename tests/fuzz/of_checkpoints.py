"""Checkpoints: the file, its pickle, its configuration."""

import copy
import shutil
from pathlib import Path
from random import Random
from typing import Any

import torch

from slam_plugin import compat
from slam_plugin.checkpoints import read_checkpoint
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.saved.newest import sound_checkpoint
from tests.fuzz.mutations import NUMBERS, PATHS, SIGNS
from tests.fuzz.reader import Reader
from tests.support.hostile import SOUND

_NAMES = ("ctc.pt", "speech_translation.pt")


def _write(folder: Path) -> None:
    for name in _NAMES:
        shutil.copy(SOUND / name, folder / name)


def _read(folder: Path) -> None:
    """Read both files as every door does, and the vocabularies in them."""
    for name in _NAMES:
        state = read_checkpoint(folder / name)
        for key, value in state["task_state"].items():
            if key.endswith("vocabulary"):
                Vocabulary.from_state(value, str(folder / name))


def _write_folder(folder: Path) -> None:
    for name in ("checkpoint_last.pt", "checkpoint_1_10.pt"):
        shutil.copy(SOUND / "ctc.pt", folder / name)


def _newest(folder: Path) -> None:
    sound_checkpoint(folder / "checkpoint_last.pt")


def _write_values(folder: Path) -> None:
    shutil.copy(SOUND / "ctc.pt", folder / "ctc.pt")
    (folder / "seed.txt").write_text("1\n")


def _changed_values(folder: Path) -> None:
    """Replace values anywhere in a checkpoint's state, by the choices that the bytes of ``seed.txt`` make."""
    compat.apply()
    random = Random((folder / "seed.txt").read_bytes())
    state = copy.deepcopy(torch.load(folder / "ctc.pt", weights_only=True))
    unchanged = (folder / "seed.txt").read_bytes() == b"1\n"
    for _ in range(0 if unchanged else random.randint(1, 3)):
        _change(state, random)
    torch.save(state, "changed.pt")
    read_checkpoint("changed.pt")


def _change(state: Any, random: Random) -> None:
    """Replace, add or remove one value of nested dictionaries and lists."""
    place = state
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = random.choice(keys)
        inner = place[key]
        if isinstance(inner, dict | list) and inner and random.random() < 0.9:
            place = inner
            continue
        if isinstance(place, dict) and random.random() < 0.3:
            place.pop(key)
        else:
            place[key] = _value(random)
        return


def _value(random: Random) -> Any:
    return random.choice(
        (
            None,
            True,
            -1,
            10**9,
            10**30,
            float("nan"),
            float("inf"),
            [],
            {},
            [[[[]]]],
            (),
            "${oc.env:HOME}",
            "???",
            torch.zeros(2),
            torch.zeros(2, dtype=torch.uint8),
            torch.empty(0),
            {1: 2},
            "x" * 2_000_000,
            b"bytes",
            1 + 2j,
            *NUMBERS[:12],
            *SIGNS[:6],
            *PATHS[:6],
        )  # fmt: skip
    )


READERS = (
    Reader("checkpoint.file", _write, _read, ("*.pt",), weight=1),
    Reader("checkpoint.newest", _write_folder, _newest, ("*.pt",), weight=1),
    Reader("checkpoint.values", _write_values, _changed_values, ("seed.txt",), ("changed.pt",), 0.7),
)
