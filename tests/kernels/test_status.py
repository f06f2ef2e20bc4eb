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
from fairseq.data import Dictionary
from fairseq.modules import layer_norm
from omegaconf import OmegaConf
from torch.nn import functional as F

from slam_plugin.commands import doctor
from slam_plugin.kernels import attention, status
from slam_plugin.kernels.ngrams import MODULE
from slam_plugin.kernels.status import BUILD
from slam_plugin.models.base.decoder import DecodedTrunkConfig, Decoder
from slam_plugin.models.base.trunk import TrunkConfig, autocast, build_trunk
from slam_plugin.optim.adamw import SlamAdamW, SlamAdamWConfig

KERNEL = f"fairseq.{MODULE}"


class FakeApex(torch.nn.Module):
    """Stands in for apex's layer norm."""

    def __init__(self, *arguments):
        super().__init__()


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
def test_layer_norm_is_torchs_unless_a_flag_asks_for_apex(monkeypatch, gpu, apex):
    monkeypatch.setattr(layer_norm, "has_fused_layernorm", apex)
    monkeypatch.setattr(layer_norm, "FusedLayerNorm", FakeApex, raising=False)
    assert type(build_trunk(TrunkConfig(), None, 0).multimodal_layers[0].final_norm) is torch.nn.LayerNorm
    notes = {(True, True): " (--apex-norm uses apex, which is installed)", (True, False): ""}
    assert found("layer norm") == "torch native" + notes.get((gpu, apex), " (no CUDA device)")
    if gpu and apex:
        norms = [type(m) for m in build_trunk(TrunkConfig(apex_norm=True), None, 0).speech_layers.modules()]
        assert FakeApex in norms
        return
    with pytest.raises(ValueError, match="--apex-norm: found no (apex|CUDA device); leave the flag out"):
        build_trunk(TrunkConfig(apex_norm=True), None, 0)


@pytest.mark.parametrize("asked", [False, True])
def test_the_decoders_norms_follow_the_flag(monkeypatch, asked):
    """fairseq builds them, and takes apex by itself if it is installed."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(layer_norm, "has_fused_layernorm", True)
    monkeypatch.setattr(layer_norm, "FusedLayerNorm", FakeApex, raising=False)
    decoder = Decoder.build(DecodedTrunkConfig(apex_norm=asked), Dictionary(), 16)
    assert {type(m) for m in decoder.modules() if "Norm" in type(m).__name__ or isinstance(m, FakeApex)} == {
        FakeApex if asked else torch.nn.LayerNorm
    }


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
def test_attention_on_a_gpu_names_the_order_in_which_torch_tries_what_is_on(monkeypatch, flash):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch._C, "_get_sdp_priority_order", lambda: [3, 1, 2, 0, 4])  # as on Hopper
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: flash)
    monkeypatch.setattr(torch.backends.cuda, "mem_efficient_sdp_enabled", lambda: False)
    order = f"cuDNN (only with --cudnn-attention), {'flash, ' if flash else ''}math"
    assert found("attention") == f"varlen flash without bias, else torch SDPA, tried in this order: {order}"


@pytest.mark.parametrize("asked", [False, True])
def test_cudnns_attention_is_off_unless_a_flag_asks_for_it(monkeypatch, asked):
    state = {"on": True}
    monkeypatch.setattr(torch.backends.cuda, "cudnn_sdp_enabled", lambda: state["on"])
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", lambda on: state.update(on=on))
    autocast(TrunkConfig(cudnn_attention=asked), torch.device("cpu"))
    assert state["on"], "only a GPU's model changes it"
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: None)
    autocast(TrunkConfig(cudnn_attention=asked), torch.device("cuda"))
    assert state["on"] == asked


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
