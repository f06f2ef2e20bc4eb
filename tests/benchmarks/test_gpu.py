"""The GPU benchmark on a processor: everything except the device's clock and kernels."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import flops
from benchmarks.gpu import __main__ as program
from benchmarks.gpu import attention, data, kernels, machine, products, records, stages, training, updates
from benchmarks.gpu.scale import Job, Scale, paper, tiny
from benchmarks.share import PLUGIN
from slam_plugin.modules.front_end import DEFAULT_FRONT_END

CPU = torch.device("cpu")


class Figures(dict):
    """Keeps figures by name."""

    def __call__(self, name, value, unit, **notes):
        assert name not in self
        self[name] = (value, unit, notes)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A tiny job whose data are written."""
    job = Job(tiny(), tmp_path_factory.mktemp("data"))
    data.run(Figures(), job)
    return job


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
    assert machine.peak_of(device) == expected * 1e12


@pytest.mark.parametrize(
    "device", ["NVIDIA L40", "NVIDIA GH200 480GB", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "Tesla T4"]
)
def test_an_unknown_peak_names_the_device(device):
    with pytest.raises(ValueError, match=f"found {device}, whose bf16 peak is unknown: set --peak"):
        machine.peak_of(device)


def test_without_a_device_one_line_and_an_exit_code_of_1(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert program.main([]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("found no CUDA device") and captured.err.count("\n") == 1


def test_a_scale_comes_back_from_json():
    for scale in (tiny(), paper("NVIDIA H100", 989e12, "base")):
        back = Scale.from_json(scale.to_json())
        assert back == scale._replace(rows=list(scale.rows)) and back.sizes == scale.sizes


# ---------------------------------------------------------------------------------------------------------------------
# stages in processes of their own


def follow(log, code, limit=60.0):
    log.follow("stage", [sys.executable, "-c", code], {}, limit)


def test_figures_are_kept_and_other_lines_passed_on(tmp_path, capsys):
    log = records.Log(tmp_path / "gpu.json", seconds=100)
    follow(log, 'print("words"); print(5); print(\'{"name": "one", "value": 2.0, "unit": "ms", "calls": 3}\')')
    assert log.figures == [{"stage": "stage", "name": "one", "value": 2.0, "unit": "ms", "calls": 3}]
    assert not log.failed and json.loads((tmp_path / "gpu.json").read_text()) == log.figures
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["words", "5"] and out[2].endswith("stage: one: 2 ms, calls 3")


FIGURE = 'print(\'{"name": "one", "value": 1, "unit": ""}\', flush=True);'


def test_a_stage_that_fails_keeps_what_it_printed():
    log = records.Log(None, seconds=100)
    follow(log, FIGURE + "import os; os.abort()")
    follow(log, FIGURE)
    assert log.failed == ["stage"]
    assert [figure.get("failed") for figure in log.figures] == [None, "exit status -6", None]


def test_a_stage_that_hangs_is_ended_with_what_it_started():
    log = records.Log(None, seconds=100)
    start = time.monotonic()
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(300)'])"
    follow(log, FIGURE + code, limit=2)
    assert time.monotonic() - start < 60
    assert [figure.get("failed") for figure in log.figures] == [None, "ended after 2 s"]


def test_stages_after_the_end_of_the_time_do_not_start():
    log = records.Log(None, seconds=0)
    follow(log, FIGURE)
    assert log.failed == ["stage"] and log.figures == [{"stage": "stage", "failed": "no time: 0 s of 0 have passed"}]


def test_the_script_runs_its_stages(tmp_path):
    script = PLUGIN.parent / "benchmarks/h200.sh"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # the script calls `python`
    environment = {**os.environ, "OUT": str(tmp_path), "PATH": path}
    subprocess.run([script, "--tiny", "--stages", "products", "updates-compiled"], env=environment, check=True)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {figure["stage"] for figure in found} == {"products"}  # a processor does not compile
    assert len(found) == 3 * (5 * 3 + 1)


def test_every_stage_has_a_module():
    assert len(set(stages.NAMES)) == len(stages.NAMES)
    assert all(importlib.util.find_spec(f"benchmarks.gpu.{stage.module}") for stage in stages.STAGES)


# ---------------------------------------------------------------------------------------------------------------------
# the recipe's data and updates


def test_the_recipe_has_every_kind_in_its_first_step(job):
    trainer = updates._trainer(job._replace(way="fused"))
    sample = next(iter(trainer.get_train_iterator(1).next_epoch_itr(shuffle=False)))
    kinds = sorted(batch["kind"] for batch in sample["batches"])
    assert kinds == ["pairs", "speech", "text", "text"]
    # The operations of a step, by a loop over its rows.
    expected, sizes = 0.0, job.scale.sizes
    for batch in sample["batches"]:
        for row in range(len(batch["tokens"] if batch["kind"] == "text" else batch["features"])):
            frames, tokens = (valid(batch, row, *names) for names in (AUDIO, TEXT))
            states = DEFAULT_FRONT_END.states_of(frames) if frames else 0
            if not tokens:
                parts = flops.speech(sizes, states)
            else:
                parts = flops.pair(sizes, states, tokens) if states else flops.text(sizes, tokens)
            expected += sum(parts.values())
    assert updates.flops_of(sizes, sample) == pytest.approx(expected)
    assert updates.audio_seconds(sample) == sum(batch["n_frames"] for batch in sample["batches"]) / 100


AUDIO, TEXT = ("features", "feature_padding_mask"), ("tokens", "token_padding_mask")


def valid(batch, row, name, mask):
    """The length of a row without padding."""
    if name not in batch:
        return 0
    length = len(batch[name][row])
    return length if batch[mask] is None else length - sum(batch[mask][row].tolist())


def test_updates_are_timed_and_profiled(job, monkeypatch):
    monkeypatch.setattr(updates, "WARM", 1)
    figures = Figures()
    updates.run(figures, job._replace(way="plain"))
    assert {"first update", "one shape", "new shapes"} <= set(figures)
    assert figures["one shape"][2]["share_of_peak"] > 0
    spent = [value for name, (value, _, _) in figures.items() if name.startswith("kernel ")]
    assert len(spent) == updates.KERNELS and spent == sorted(spent, reverse=True) and spent[0] > 0


def test_only_the_plain_way_leaves_our_kernels_out(job):
    assert updates._trainer(job._replace(way="plain")).model.config.plain_kernels
    assert not updates._trainer(job._replace(way="fused")).model.config.plain_kernels


def test_the_log_of_a_run_is_read():
    line = '2026 | INFO | train_inner | {"epoch": 1, "ups": "%s", "data_wait": "0"}'
    found = training.last_log("\n".join((line % "1.5", "words", line % "2.5", '{"train_ups": "9"}')))
    assert found["ups"] == "2.5"


def test_products_are_those_of_a_layer():
    figures = Figures()
    scale = tiny()
    products.run(figures, Job(scale, None))
    rates = [name for name in figures if name.startswith("forward, 48 x")]
    assert len(rates) == 5 and all(figures[name][0] > 0 for name in rates)


def test_backends_that_refuse_are_left_out(capsys):
    figures = Figures()
    attention.run(figures, Job(tiny(), None))
    assert "flash, no mask" in figures and "cuDNN, mask" not in figures
    assert "cuDNN, mask: refused" in capsys.readouterr().out


def test_kernels_equal_torchs_operations():
    figures = Figures()
    kernels.run(figures, Job(tiny()._replace(items=2, states=6), None))
    differences = [value for name, (value, _, _) in figures.items() if "difference" in name]
    assert len(differences) == 3 and max(differences) < 0.1


def test_a_twentieth_of_the_batch_is_padding():
    padding = kernels.padding_of(paper("", 1.0)._replace(on_gpu=False))
    assert padding.shape == (32, 375) and not padding[-1].any()
    assert padding.float().mean() == pytest.approx(0.05, abs=0.003)


def test_milliseconds_of_one_call_on_a_processor():
    calls = []
    assert records.milliseconds(lambda: calls.append(1), CPU) >= 0
    assert calls == [1]
