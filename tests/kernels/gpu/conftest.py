"""On a processor Triton's interpreter runs the kernels: ``tests/conftest.py`` turns it on."""

import pytest
import torch

pytest.importorskip("triton")


@pytest.fixture(scope="session")
def device():
    """Return the device on which the kernels run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
