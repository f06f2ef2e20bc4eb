"""The checkpoint that a run resumes from if its last one is damaged."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from slam_plugin.data.errors import DataError
from slam_plugin.saved.configuration import RefusedError
from slam_plugin.saved.newest import sound_checkpoint

NAMES = {"checkpoint_last.pt": 90, "checkpoint3.pt": 60, "checkpoint_4_80.pt": 80, "checkpoint_best.pt": 60}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of which the oldest files are those of most updates, as after a copy of the folder."""
    for age, (name, updates) in enumerate({**NAMES, "checkpoint_average.pt": 95, "other.pt": 99}.items()):
        torch.save({"optimizer_history": [{"num_updates": updates}], "model": torch.rand(50)}, tmp_path / name)
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    return tmp_path


def flip(path: Path) -> None:
    """Change one bit of the weights."""
    content = bytearray(path.read_bytes())
    content[content.index(b"data/0") + 100] ^= 4
    path.write_bytes(content)


def test_a_sound_one_is_taken_without_a_word(folder, caplog):
    assert sound_checkpoint(folder / "checkpoint_last.pt") == folder / "checkpoint_last.pt"
    assert caplog.text == ""


def test_the_newest_is_that_of_most_updates(folder, caplog):
    last = folder / "checkpoint_last.pt"
    flip(last)
    for _ in range(2):
        assert sound_checkpoint(last) == folder / "checkpoint_4_80.pt"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    message = record.getMessage()
    assert message.startswith(f"{last}: is damaged: the checksum of its part") and "(update 80)" in message
    assert str(folder / "checkpoint_4_80.pt") in message


@pytest.mark.parametrize("content", [b"", bytes(3000), b"ahoj"])
def test_damage_of_any_kind(folder, content, caplog):
    (folder / "checkpoint_last.pt").write_bytes(content)
    flip(folder / "checkpoint_4_80.pt")
    found = sound_checkpoint(folder / "checkpoint_last.pt")
    # Two of the same update: the file that was written later.
    assert found == folder / "checkpoint_best.pt"
    assert f"not sound either: {folder / 'checkpoint_4_80.pt'}: is damaged" in caplog.text


def test_a_foreign_checkpoint(folder):
    torch.save({"weight": torch.zeros(2)}, folder / "checkpoint_last.pt")
    assert sound_checkpoint(folder / "checkpoint_last.pt") == folder / "checkpoint_4_80.pt"


def test_none_that_is_sound(folder):
    for name in NAMES:
        (folder / name).write_bytes(bytes(99))
    with pytest.raises(DataError) as error:
        sound_checkpoint(folder / "checkpoint_last.pt")
    message = str(error.value)
    assert "found no sound checkpoint beside it" in message and "weights_only" not in message
    assert all(str(folder / name) in message for name in NAMES)


def test_a_folder_in_its_place(folder):
    last = folder / "checkpoint_last.pt"
    last.unlink()
    last.mkdir()
    with pytest.raises(DataError, match=r"checkpoint_last\.pt: is a folder, expected a checkpoint file"):
        sound_checkpoint(last)
    shutil.rmtree(last)


class Code:
    def __reduce__(self) -> tuple:
        return print, ("ran",)


def test_code_is_no_accident(folder):
    torch.save({"model": Code()}, folder / "checkpoint_last.pt")
    with pytest.raises(RefusedError, match="nothing in it was run"):
        sound_checkpoint(folder / "checkpoint_last.pt")
