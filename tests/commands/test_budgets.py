"""Which budgets fit a memory: verdicts by hand, and the table for a small model."""

from dataclasses import replace
from pathlib import Path

import pytest

from slam_plugin.commands import budgets, doctor
from slam_plugin.data.errors import DataError
from slam_plugin.data.plan.config import CorpusConfig
from slam_plugin.instruments.memory import Line

CORPUS = CorpusConfig("blocks", "text", (), None, 32768, 2, 512, 1.0, {})
FILE = """
quota: {text: 2}
corpora:
  text: {kind: text, train: [nowhere], budget: 2048, min_length: 2, max_length: 512, block: 64}
objectives:
  span_mlm: {weight: {0: 0.0, 1000: 1.0}}
"""


def fit(each, constant=0.0, **changes):
    return budgets.Fit(replace(CORPUS, **changes), 2, each, Line(constant, each))


def test_a_budget_that_fits():
    assert fit(2**30 / 32768).verdict(2**30) == "fits (1.0 GiB)"


def test_a_budget_that_does_not_fit_gets_two_that_do():
    verdict = fit(100.0).verdict(1_234_500.0)
    # 12,345 tokens fit. Two micro-batches of 32,768 are six of 10,923: fewer would have more than 12,000 each.
    assert "set its budget to 12,000" in verdict and "to 10,923 with a quota of 6 for text" in verdict
    assert 6 * 10_923 >= 2 * 32_768 > 5 * 12_000
    # The parts would be shorter than one item.
    assert "quota" not in fit(100.0, max_length=11_000).verdict(1_234_500.0)


def test_no_item_fits():
    for room in (40_000.0, -1.0):
        assert fit(100.0).verdict(room) == "does not fit, nor does one item of max_length (512)"
    assert fit(100.0).largest(51_900.0) == 515
    assert fit(100.0, max_length=519).largest(51_900.0) == 519


def test_the_paper_s_recipe_is_read_without_its_data():
    read = budgets.read_plan(budgets.PAPER)
    assert {name: corpus.kind for name, corpus in read.corpora.items()} == {n: n for n in ("speech", "text", "pairs")}
    assert read.quota["text"] == 2 and {"contrastive", "span_mlm", "tlm", "stm"} <= read.objectives.keys()
    assert budgets.shape_of(read.corpora["pairs"]) == ("pairs", 3600, 2)


def test_the_table(tmp_path, capsys):
    path = tmp_path / "corpora.yaml"
    path.write_text(FILE)
    words = ["--size", "tiny", "--autocast", "bf16", "--memory", "1", "--vocabulary", "100", "--corpora", str(path)]
    assert doctor.main(words) == 0
    out, err = capsys.readouterr()
    head, *lines = out.splitlines()
    assert err == "" and head.startswith("tiny in bf16, all activations kept, by ") and "on a GPU" in head
    sizes = [float(line.split()[-2]) for line in lines if line.endswith(" GiB") and "legacy_ddp" not in line]
    assert len(sizes) == 6 and sum(sizes[:-1]) + sizes[-1] == pytest.approx(1.0, abs=0.06 * len(sizes))
    (row,) = [line for line in lines if line.startswith("text ")]
    assert row.split()[3] == "tokens" and " 2,048 " in row and "fits" in row
    # An objective whose weight begins at 0 counts: its logits are most of a position here.
    assert int(row.split()[1].replace(",", "")) > 4 * 160 * 19


def test_faults_are_named(tmp_path, capsys):
    assert doctor.main(["--size", "huge"]) == 1
    assert "--size: found 'huge', expected one of tiny, small" in capsys.readouterr().err
    assert doctor.main(["--size", "tiny", "--corpora", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml" in capsys.readouterr().err
    with pytest.raises(DataError, match="kind: found"):
        (tmp_path / "bad.yaml").write_text(FILE.replace("kind: text", "kind: music"))
        budgets.read_plan(tmp_path / "bad.yaml")


def test_without_torch_the_program_says_so(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "import_error", lambda module: "not installed" if module == "torch" else None)
    assert doctor.main(["--size", "xl"]) == 1
    assert "--size needs torch: not installed" in capsys.readouterr().err


def test_the_memory_to_plan_for(monkeypatch):
    monkeypatch.setattr(budgets.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(budgets, "memory_gib", lambda: 24.0)
    ram = budgets.room_of(None)
    assert (ram.total, ram.gpu) == (24 * 2**30, False) and ram.reserved > 100e6  # Python and torch
    assert budgets.room_of(80.0)[:3] == (80 * 2**30, True, pytest.approx(4 * 2**30))
    assert Path(budgets.PAPER).is_file()
