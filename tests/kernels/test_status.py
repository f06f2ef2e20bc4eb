"""The reported fused paths are those that run, on machines of each kind."""

import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import fairseq
import pytest
import torch
from fairseq import ngram_repeat_block
from fairseq.modules import layer_norm
from omegaconf import OmegaConf
from torch.nn import functional as F

from slam_plugin.commands import doctor
from slam_plugin.kernels import attention, status
from slam_plugin.kernels.ngrams import MODULE
from slam_plugin.kernels.status import BUILD
from slam_plugin.optim.adamw import SlamAdamW, SlamAdamWConfig

KERNEL = f"fairseq.{MODULE}"


@pytest.fixture(params=[False, True], ids=["CPU", "GPU"])
def gpu(monkeypatch, request) -> bool:
    """Set whether torch reports a CUDA device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    return request.param


@pytest.fixture
def beside_fairseq(monkeypatch, tmp_path) -> Iterator[Path]:
    """Make an empty folder from which Python imports submodules of fairseq first."""
    monkeypatch.setattr(fairseq, "__path__", [str(tmp_path), *fairseq.__path__])
    built = sys.modules.pop(KERNEL, None)
    yield tmp_path
    sys.modules.pop(KERNEL, None)
    vars(fairseq).pop(MODULE, None)
    if built is not None:
        sys.modules[KERNEL] = built
        setattr(fairseq, MODULE, built)


def found(piece: str) -> str:
    return status.fused_paths()[piece].found


@pytest.mark.parametrize("triton", [False, True])
def test_the_layer_runs_by_our_kernels_on_a_gpu_with_triton(monkeypatch, gpu, triton):
    spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec(name) if triton or name != "triton" else None)
    expected = {(True, True): "our Triton kernels, unless --plain-kernels"}
    without = {True: "torch's operations (Triton is not installed)", False: "torch's operations (no CUDA device)"}
    assert found("Conformer layer") == expected.get((gpu, triton), without[gpu])


@pytest.mark.parametrize("apex", [False, True])
def test_layer_norm_is_apexs_where_fairseq_takes_it(monkeypatch, gpu, apex):
    monkeypatch.setattr(layer_norm, "has_fused_layernorm", apex)
    expected = {(True, True): "apex FusedLayerNorm, through fairseq", (True, False): "torch native"}
    assert found("layer norm") == expected.get((gpu, apex), "torch native (no CUDA device)")


def test_layer_norm_of_fairseq_is_torchs_here():
    if torch.cuda.is_available() and layer_norm.has_fused_layernorm:
        pytest.skip("apex is there")
    assert type(layer_norm.LayerNorm(4)) is torch.nn.LayerNorm
    assert "torch native" in found("layer norm")


def test_attention_on_a_cpu_is_fused_in_fp32_and_plain_in_short_bf16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fused = []
    original = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: fused.append(a[0].dtype) or original(*a, **k)
    )
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(1, 2, 8, 4, dtype=dtype)
        attention.attend(x, x, x, None)
    assert fused == [torch.float32]
    assert found("attention") == "torch SDPA in fp32, plain products for short bf16 (no CUDA device)"


@pytest.mark.parametrize("flash", [False, True])
def test_attention_on_a_gpu_names_the_switches_that_are_on(monkeypatch, flash):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    backends = torch.backends.cuda
    for name, value in {
        "flash_sdp_enabled": True,
        "is_flash_attention_available": flash,
        "mem_efficient_sdp_enabled": True,
        "cudnn_sdp_enabled": False,
        "math_sdp_enabled": True,
    }.items():
        monkeypatch.setattr(backends, name, lambda value=value: value)
    assert found("attention") == f"torch SDPA ({'flash, ' if flash else ''}memory-efficient, math)"


def test_the_optimizer_is_fused(gpu):
    config = OmegaConf.structured(SlamAdamWConfig())
    OmegaConf.update(config, "lr", [0.1], force_add=True)
    assert SlamAdamW(config, [torch.nn.Parameter(torch.zeros(1))]).optimizer.defaults["fused"]
    assert found("optimizer") == f"torch AdamW(fused=True) on {'CUDA' if gpu else 'the CPU'}"


# ---- fairseq's kernel, if built


def test_a_kernel_that_is_not_built_is_advised_where_it_would_serve(monkeypatch, gpu):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    path = status.fused_paths()["n-gram blocking"]
    assert path.found.startswith("torch (fairseq's CUDA kernel is not built")
    assert ("no CUDA device" in path.found) is not gpu
    assert (BUILD in path.cure) is gpu


def test_a_kernel_that_does_not_import_is_said_with_the_reason_and_the_cure(gpu, beside_fairseq):
    (beside_fairseq / f"{MODULE}.py").write_text("raise ImportError('undefined symbol: _ZN3c10')")
    path = status.fused_paths()["n-gram blocking"]
    assert path.found == "torch (fairseq's CUDA kernel is built, but does not import: undefined symbol: _ZN3c10)"
    assert BUILD in path.cure


def test_a_kernel_waits_for_a_device(monkeypatch, beside_fairseq):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (beside_fairseq / f"{MODULE}.py").touch()
    path = status.fused_paths()["n-gram blocking"]
    assert path == ("torch (fairseq's CUDA kernel is built, but there is no CUDA device)", "")


def test_a_kernel_that_works_is_taken(monkeypatch, beside_fairseq):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ngram_repeat_block, "is_cuda_extension_usable", lambda: True)
    (beside_fairseq / f"{MODULE}.py").touch()
    assert status.fused_paths()["n-gram blocking"] == ("fairseq's CUDA kernel", "")


@pytest.fixture
def failing_kernel(monkeypatch, beside_fairseq) -> None:
    """A kernel for another GPU: its launch fails, which fairseq notices but does not report."""
    (beside_fairseq / f"{MODULE}.py").write_text(
        "def forward(*arguments):\n    raise RuntimeError('CUDA error: no kernel image is available\\nCompile with')\n"
    )

    def usable() -> bool:
        warnings.warn("NGramRepeatBlock extension must be rebuilt", stacklevel=1)
        return False

    zeros = torch.zeros
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ngram_repeat_block, "is_cuda_extension_usable", usable)
    monkeypatch.setattr(torch, "zeros", lambda *sizes, device=None, **options: zeros(*sizes, **options))


def test_a_kernel_that_fails_is_said_with_what_cuda_says(failing_kernel, recwarn):
    path = status.fused_paths()["n-gram blocking"]
    said = "torch (fairseq's CUDA kernel is built, but fails here: CUDA error: no kernel image is available)"
    assert path == (said, f"`{BUILD}` rebuilds it")
    assert not [warning for warning in recwarn if "must be rebuilt" in str(warning.message)]


def test_the_doctor_gives_the_cure_as_a_note(failing_kernel):
    (finding,) = [finding for finding in doctor.check_fused_paths() if finding.subject == "n-gram blocking"]
    assert "fails here" in finding.found and BUILD in finding.cure and not finding.fatal
