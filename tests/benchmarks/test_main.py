"""A whole run, on a scale that measures nothing."""

import json

import torch

from benchmarks import __main__, layer, padding, step, targets

PARTS = {"layer": layer, "targets": targets, "step": step, "padding": padding}  # the others take long to begin


def test_a_run_writes_every_figure_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(layer, "FP32_GOALS", {(64, 20): 1.15})  # one small shape: the whole test takes seconds
    monkeypatch.setattr(layer, "BF16_GOALS", {(64, 20): 1.5})
    threads = torch.get_num_threads()
    try:
        found = __main__.main(["--scale", "smoke", "--out", str(tmp_path / "results.json"), "--only", *PARTS])
    finally:
        torch.set_num_threads(threads)
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert written["scale"] == {"name": "smoke", "rounds": 1, "batch": 2, "budget": 800}
    assert written["machine"]["processor"] and written["versions"]["transformers"]
    names = [figure["name"] for figure in written["figures"]]
    assert names == [figure.name for figure in found] and len(set(names)) == len(names)
    printed = capsys.readouterr().out
    assert all(part.__doc__ in printed for part in PARTS.values())
    assert "benchmarks.share" not in printed
    for figure in written["figures"]:
        assert figure["value"] >= 0 and figure["name"] in printed
        assert (figure["met"] is None) == (figure["goal"] is None)
    padded = [figure for figure in written["figures"] if figure["name"].startswith("padding, small encoder")]
    assert len(padded) == 3 and all(figure["met"] for figure in padded)


def test_every_part_says_what_it_measures_and_measures_it():
    assert PARTS.items() < __main__.PARTS.items()
    assert all(part.__doc__ and callable(part.figures) for part in __main__.PARTS.values())
