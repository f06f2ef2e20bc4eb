"""Triton's kernels run by its interpreter on a processor, which ``tests/conftest.py`` turns on, and as such on a GPU."""

import pytest
import torch

pytest.importorskip("triton")


@pytest.fixture(scope="session")
def device():
    """Return the device on which the kernels run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
