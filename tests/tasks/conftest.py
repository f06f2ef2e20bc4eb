"""Data of the tests of tasks."""

import shutil

import pytest


@pytest.fixture
def recordings(toy, tmp_path):
    """Return a data folder of recognition."""
    data = shutil.copytree(toy, tmp_path / "data", ignore=shutil.ignore_patterns("*.arrow", "*.checked"))
    for split in ("train", "valid"):
        shutil.copy(toy / f"pairs/{split}.tsv", data / f"{split}.tsv")
    return data
