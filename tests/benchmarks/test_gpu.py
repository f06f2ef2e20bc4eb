"""The GPU benchmark on a CPU: everything except the device's clock and kernels."""

import pytest
import torch

from benchmarks import corpus, flops, gpu, joint, loading
from benchmarks.figures import SCALES

CPU = torch.device("cpu")
ITEMS = (2, 2, 2)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(gpu, "WARM", 0)
    monkeypatch.setattr(gpu, "STEPS", 1)
    monkeypatch.setattr(gpu, "FRAMES", 200)
    monkeypatch.setattr(gpu, "BLOCK", 64)
    monkeypatch.setattr(gpu, "VOCABULARY", 300)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L4", 121),
    ],
)
def test_known_peaks(device, expected):
    assert gpu.peak_of(device) == expected * 1e12


@pytest.mark.parametrize(
    "device", ["NVIDIA L40", "NVIDIA GH200 480GB", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "Tesla T4"]
)
def test_an_unknown_peak_names_the_device(device):
    with pytest.raises(ValueError, match=f"found {device}, whose bf16 peak is unknown: set --peak"):
        gpu.peak_of(device)


def test_without_a_device_one_line_and_an_exit_code_of_1(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("found no CUDA device") and captured.err.count("\n") == 1


def test_a_step_counts_what_its_batches_hold():
    batches = gpu.batches_of((3, 5, 7), "base")
    sizes = flops.sizes_of("base")
    expected = [
        3 * sum(flops.speech(sizes, 300).values()),
        5 * sum(flops.text(sizes, 512).values()),
        7 * sum(flops.pair(sizes, 300, 48).values()),
    ]
    assert [gpu.flops_of("base", batch) for batch in batches] == pytest.approx(expected)
    assert [batch.seconds for batch in batches] == [36, 0, 84]


def test_utilisation_is_operations_over_time_and_peak():
    row = gpu.Measured("whole step", 0.5, gpu.Step(lambda: None, flops=2e14, seconds=600, tokens=5000))
    assert row.cells(peak=1e15) == ("whole step", "500.0", "1,200", "10,000", "400.0", "40.0 %")
    optimizer = gpu.Measured("clipping and optimizer", 0.25, gpu.Step(lambda: None))
    assert optimizer.cells(peak=1e15) == ("clipping and optimizer", "250.0", "", "", "", "")


def test_wall_is_the_median_without_warming_up(monkeypatch):
    now, costs = 0.0, iter([9.0, 9.0, 1.0, 3.0, 2.0])

    def run():
        nonlocal now
        now += next(costs)

    monkeypatch.setattr(gpu.time, "perf_counter", lambda: now)
    assert gpu.wall(run, CPU, warm=2, steps=3) == 2.0


def test_a_section_measures_every_part_and_names_the_attention(quick):
    text, audio_rate = gpu.section("tiny", ITEMS, False, CPU, 1e15)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    parts = [row[0].removeprefix("| ") for row in rows]
    whole = rows[parts.index("whole step")]
    assert parts[2:7] == ["speech", "text", "pairs", "clipping and optimizer", "whole step"]
    assert float(whole[2].replace(",", "")) == pytest.approx(audio_rate, abs=1) and audio_rate > 0
    kernels = rows[parts.index("kernel") + 2 :]
    assert len(kernels) == gpu.KERNELS
    spent = [float(row[1]) for row in kernels]
    assert spent == sorted(spent, reverse=True) and spent[0] > 0
    assert "A step: 2 of speech (each 2 s), 2 of text (each 64 tokens), 2 of pairs (each 2 s and 48 tokens)." in text


def test_an_update_moves_parameters_and_keeps_gradients_at_zero(quick):
    training = gpu.Training("tiny", gpu.batches_of(ITEMS, "tiny"), False, CPU)
    before = [parameter.detach().clone() for parameter in training.model.parameters()]
    training.steps["whole step"].run()
    for parameter, old in zip(training.model.parameters(), before, strict=True):
        assert parameter.grad is not None and not parameter.grad.any()
        assert not torch.equal(parameter, old)


def test_attention_backends_are_told_by_their_operators():
    query = torch.randn(1, 2, 8, 16, requires_grad=True)

    def run():
        torch.nn.functional.scaled_dot_product_attention(query, query, query).sum().backward()

    events, backends = gpu.profiled(run, CPU)
    assert backends == ["flash_attention_for_cpu"]
    assert {"aten::sum", "aten::_scaled_dot_product_flash_attention_for_cpu"} <= {event.name for event in events}


def test_a_batch_that_does_not_fit_is_named(quick, monkeypatch):
    def full(batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmuch")

    monkeypatch.setattr(joint.SlamPretraining, "forward", lambda self, batch: full(batch))
    text, audio_rate = gpu.section("tiny", ITEMS, True, CPU, 1e15)
    assert audio_rate == 0
    assert "### tiny, --compile" in text
    assert "Not measured: a batch of 2 of speech (each 2 s) does not fit" in text


def test_workers_are_held_against_what_a_step_takes(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(loading, "audio_seconds_per_second", lambda *given: asked.append(given) or 1234.0)
    text = gpu.workers_section(tmp_path, {"xl": 3500.0, "base": 0.0}, 16, 5)
    assert "| a step of xl takes | 3,500 |" in text and "base" not in text
    assert text.count("| 1,234 |") == 2 and "FLAC" in text and "stored zip" in text
    assert [(workers, batches) for _, workers, batches in asked] == [(gpu.WORKERS, 5)] * 2


def test_workers_deliver_audio(tmp_path):
    source = corpus.sound_corpus(tmp_path, SCALES["smoke"].batch * 8)
    assert loading.audio_seconds_per_second(source, 1, 3) > 0
