"""The report of synthetic records: means, intervals, verdicts and incomplete tables."""

import re
from pathlib import Path

import numpy as np
import pytest

from examples.slam.study import records, report
from examples.slam.study.claims import FURTHER, PAPER, Claim
from examples.slam.study.records import RESULTS
from examples.slam.study.report import main, markdown, tables_of
from examples.slam.study.rows import ROWS
from examples.slam.study.verdicts import FAILS, HOLDS, NOT_RUN, OPEN, verdict
from examples.slam.training_steps import ROOT

MACHINE = {"processor": "Some <processor>", "cores": 2}


def run(row: str, column: str, seed: int, **scores: float) -> dict:
    pretraining = {"audio_seconds": 72_000, "tokens": 400_000, "cpu_seconds": 1800.0, "updates": 1600, "curves": {}}
    names = dict(zip(records.Cell._fields, ("cpu", row, column, seed, seed), strict=True))
    more = {"commit": "abc", "machine": MACHINE, "pretraining": pretraining if ROWS[row].corpora else None}
    return {**names, **more, "scores": scores, "curves": {}, "cpu_seconds": 200.0, "versions": {}}


CER = {"0": (66.0, 67.5, 66.4), "4": (65.0, 66.2, 65.6), "P": (50.1, 52.3, 51.0)}
RUNS = [
    run(row, f"asr{minutes}", seed + 1, cer=cer - minutes / 10, wer=cer + 20)
    for row, values in CER.items()
    for seed, cer in enumerate(values)
    for minutes in (10, 100)
]
RUNS += [run("4", "st-de", seed, bleu=1.0, chrf=12.0 + seed, listening=0.1 * seed) for seed in (1, 2)]
COMPARED = [dict(scale="cpu", better="P", worse="4", column="asr10", metric="cer", p=0.0123)]


def claim(better: str, worse: str, column: str = "asr10") -> Claim:
    return Claim("some claim", better, worse, column, None)


def test_a_claim_is_judged_by_differences_of_equal_seeds():
    found = verdict(claim("P", "4"), RUNS, COMPARED)
    gains = np.subtract(CER["4"], CER["P"])  # lower is better
    assert found.word == HOLDS and found.p == 0.0123
    assert found.gain.mean == pytest.approx(gains.mean())
    assert found.gain.half_width == pytest.approx(4.303 * gains.std(ddof=1) / 3**0.5, rel=1e-3)
    assert verdict(claim("4", "P"), RUNS, COMPARED).word == FAILS
    assert verdict(claim("4", "P"), RUNS, COMPARED).p is None
    assert verdict(claim("4", "J"), RUNS, COMPARED) == (claim("4", "J"), NOT_RUN, None, None)


def test_noise_and_single_seeds_resolve_nothing():
    noisy = [run("3", "asr10", seed, cer=cer) for seed, cer in enumerate((60.0, 70.0, 65.0), start=1)]
    assert verdict(claim("4", "3"), RUNS + noisy, []).word == OPEN
    assert verdict(claim("4", "3"), RUNS + noisy[:1], []).word == OPEN
    assert verdict(claim("4", "3"), RUNS + [run("3", "asr10", 7, cer=1.0)], []).word == NOT_RUN


def test_higher_is_better_for_translation():
    scores = [run("K", "st-de", seed, bleu=1.0, chrf=20.0 + seed) for seed in (1, 2)]
    assert verdict(claim("K", "4", "st-de"), RUNS + scores, []).word == HOLDS


def test_tables_of_an_incomplete_study():
    scores, claims, further, listening, costs = tables_of(RUNS, COMPARED)
    assert [line[0] for line in scores.rows] == ["0", "4", "P"]
    missing = [row.label for name, row in ROWS.items() if name not in ("0", "4", "P")]
    assert scores.words.endswith(f"Rows that were not run: {', '.join(missing)}.")
    assert scores.head[2:6] == ["asr10 CER ↓", "asr10 WER ↓", "asr100 CER ↓", "asr100 WER ↓"]
    cells = {line[0]: line[2:] for line in scores.rows}
    assert cells["P"][0] == "50.1 ± 2.75 (3)"  # 51.13 - 1, and 4.303 * 1.106 / sqrt(3)
    assert cells["P"][-2:] == ["not run", "not run"] and cells["4"][-2] == "13.5 ± 6.35 (2)"
    assert len(claims.rows) == len(PAPER) and {line[-1] for line in claims.rows} == {NOT_RUN}
    ran = [(c.words, c.column) for c in FURTHER if {c.better, c.worse} <= {"0", "4", "P"} and c.column == "asr10"]
    assert [(line[0], line[2]) for line in further.rows] == ran
    assert {line[0]: line[-1] for line in further.rows}["Pairs alone beat speech alone"] == HOLDS
    assert listening.rows == [["4", ROWS["4"].title, "0.15 ± 0.64 (2)"]]
    spent = {line[0]: line[2:] for line in costs.rows}
    assert spent == {"0": ["0", "0", "0"], "4": ["20.0", "400", "30.0"], "P": ["20.0", "400", "30.0"]}
    lines = markdown(scores).splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert len(tables_of([], [])) == 4


def test_alignment_by_layer():
    layers = [
        {"cka": 0.25, "cka_of_others": 0.04, "retrieval": 0.1492},
        {"cka": 0.5, "cka_of_others": 0.0, "retrieval": 1.0},
    ]
    record = {"scale": "cpu", "row": "D", "seed": 1, "commit": "abc", "pairs": 476, "layers": layers}
    table = tables_of(RUNS, COMPARED, [record])[-2]
    assert table.head[3:] == ["layer 1: CKA, retrieval", "layer 2: CKA, retrieval"]
    ((*names, first, second),) = table.rows
    assert names == [ROWS["D"].label, ROWS["D"].title, "1"]
    assert (first, second) == ("0.25 (0.04), 15 %", "0.50 (0.00), 100 %")


def test_page_tables_and_plot(tmp_path, capsys):
    results, out = tmp_path / "results.json", tmp_path / "out"
    records.merge(results, "runs", records.Cell._fields, RUNS)
    assert main(["--results", str(results), "--out", str(out)]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.split()] == ["report.html", "tables.md", "labels.svg"]
    page, picture = (out / "report.html").read_text(), (out / "labels.svg").read_text()
    assert "Some &lt;processor&gt;" in page and page.count("<svg") == 2 and page.count("<table>") == 6
    assert "pairs, 100 minutes" in picture and "joint" not in picture and ">minutes<" in picture
    assert main(["--results", str(results), "--out", str(out / "long"), "--scale", "cpu-long"]) == 0
    assert "labels.svg" not in capsys.readouterr().out and not re.search("<svg", (out / "long/report.html").read_text())
    assert main(["--results", str(tmp_path / "none.json"), "--out", str(out)]) == 1
    assert "found no records" in capsys.readouterr().err


def test_every_plotted_row_has_a_color():
    assert len(report.PLOTTED) <= len(report.PALETTE) and set(report.PLOTTED) <= ROWS.keys()


def test_the_documents_have_the_plot_of_the_committed_records(tmp_path):
    report.write_report(RESULTS, "cpu", tmp_path)
    assert (tmp_path / "labels.svg").read_text() == (ROOT / "docs/labels.svg").read_text()
