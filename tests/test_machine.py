"""The description of the machine, also with a broken torch."""

from pathlib import Path

import pytest
import torch

from slam_plugin import machine


@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n", {"fpu", "avx512_bf16"}),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", {"fp", "asimd", "bf16"}),
        ("processor\t: 0\n", set()),
    ],
)
def test_processor_flags(tmp_path, cpuinfo, flags):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert machine.processor_flags(tmp_path / "cpuinfo") == flags
    assert machine.processor_flags(tmp_path / "none") == set()


@pytest.mark.parametrize(("flags", "expected"), [({"avx512_bf16"}, True), ({"amx_bf16"}, True), ({"avx2"}, False)])
def test_bf16_follows_the_processor_where_there_is_no_gpu(monkeypatch, flags, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "NVIDIA_DRIVER", Path(__file__))  # a driver without a GPU that torch can use
    monkeypatch.setattr(machine, "processor_flags", lambda path: flags)
    assert machine.bf16_supported() is expected
    assert machine.machine()["bf16"] == ("yes" if expected else "no")
