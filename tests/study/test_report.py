"""The report of synthetic records: means, intervals, verdicts and incomplete tables."""

import re
from pathlib import Path

import numpy as np
import pytest

from examples.slam.study import records, report
from examples.slam.study.alignment_report import alignment_panels, alignment_table
from examples.slam.study.claims import FURTHER, PAPER, Claim
from examples.slam.study.claims_report import claim_charts, claim_tables, resolved_table, verdicts_of
from examples.slam.study.report import cost_table, listening_tables, main, score_tables, score_words
from examples.slam.study.rows import ROWS
from examples.slam.study.tables import markdown
from examples.slam.study.verdicts import FAILS, HOLDS, NOT_RUN, OPEN, verdict

MACHINE = {"processor": "Some <processor>", "cores": 2, "bf16": "yes"}


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


def test_scores_and_costs_of_an_incomplete_study():
    recognition, translation = score_tables(RUNS)
    assert [line[0] for line in recognition.rows] == ["0", "4", "P"] and [line[0] for line in translation.rows] == ["4"]
    missing = [row.label for name, row in ROWS.items() if name not in ("0", "4", "P")]
    assert score_words(RUNS).endswith(f"Rows that were not run: {', '.join(missing)}.")
    assert recognition.words == "asr10: recognition, 10 minutes of labels; asr100: recognition, 100 minutes of labels."
    assert recognition.head[2:] == ["asr10 CER ↓", "asr10 WER ↓", "asr100 CER ↓", "asr100 WER ↓"]
    assert translation.head[2:] == ["st-de chrF ↑", "st-de BLEU ↑"]
    assert recognition.rows[-1][2] == "50.1 ± 2.75 (3)"  # 51.13 - 1, and 4.303 * 1.106 / sqrt(3)
    assert translation.rows[0][2] == "13.5 ± 6.35 (2)"
    some = [run("P", "asr10", 1, cer=50.0), run("P", "asr30", 1, wer=90.0)]
    assert [table.rows[0][2:] for table in score_tables(some)] == [["50.0 (1)", "not run", "not run", "90.0 (1)"]]
    (listening,) = listening_tables(RUNS)
    assert listening.rows == [["4", ROWS["4"].title, "0.15 ± 0.64 (2)"]]
    spent = {line[0]: line[2:] for line in cost_table(RUNS).rows}
    trained = ["20.0", "400", "30.0", "bf16"]
    assert spent == {"0": ["0", "0", "0", ""], "4": trained, "P": trained}
    lines = markdown(recognition).splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert score_tables([]) == listening_tables([]) == []


def test_precisions_are_told_apart():
    """An update in fp32 takes about twice the CPU time of one in bf16: the times of both do not compare."""
    elsewhere = [
        {**run("P", "asr10", 1, cer=50.0), "machine": {**MACHINE, "bf16": "no"}},
        run("P", "asr10", 2, cer=51.0),
        {**run("4", "asr10", 1, cer=65.0), "machine": {**MACHINE, "bf16": "no"}},
    ]
    assert report.machines(elsewhere) == ["Some <processor>, 2 cores, bf16", "Some <processor>, 2 cores, fp32"]
    assert {line[0]: line[-1] for line in cost_table(elsewhere).rows} == {"4": "fp32", "P": "bf16, fp32"}


def test_tables_and_charts_of_claims():
    judged = verdicts_of(RUNS, COMPARED)
    (further,) = claim_tables(judged)
    columns = ("asr10", "asr100")
    ran = [(c.words, c.column) for c in FURTHER if {c.better, c.worse} <= {"0", "4", "P"} and c.column in columns]
    assert [(line[0], line[2]) for line in further.rows] == ran
    verdicts = {(line[0], line[2]): line[-1] for line in further.rows}
    assert verdicts["Pairs alone beat speech alone", "asr10"] == HOLDS
    held, other = [line for line in resolved_table(judged).rows if line[1] == "P over 4"]
    assert held == [
        "Pairs alone beat speech alone",
        "P over 4",
        "asr10",
        "14.5 ± 1.27 (3) CER",
        HOLDS,
    ]  # 4.303 * .513 / sqrt(3)
    assert len(resolved_table(judged).rows) == sum(word in (HOLDS, FAILS) for word in verdicts.values())
    charts = claim_charts(judged)
    assert tuple(charts) == columns and ">P over 4<" in charts["asr10"].picture
    assert [chart.picture.count("<circle") for chart in charts.values()] == [len(ran) / 2] * 2
    claims, _ = claim_tables(verdicts_of([*RUNS, run("3", "st-de", 1, bleu=1.0, chrf=12.5)], COMPARED))
    assert len(claims.rows) == len(PAPER) and claims.rows[0][3:] == [PAPER[0].paper, "0.50 (1)", "", OPEN]
    assert {line[-1] for line in claims.rows[1:]} == {NOT_RUN}
    nothing = verdicts_of([], [])
    assert resolved_table(nothing).rows == claim_tables(nothing) == [] and claim_charts(nothing) == {}


def test_alignment_by_layer():
    layers = [
        {"cka": 0.25, "cka_of_others": 0.04, "retrieval": 0.1492},
        {"cka": 0.5, "cka_of_others": 0.0, "retrieval": 1.0},
    ]
    record = {"scale": "cpu", "row": "D", "seed": 1, "commit": "abc", "pairs": 476, "layers": layers}
    table = alignment_table([record])
    assert table.head[3:] == ["layer 1: CKA, retrieval", "layer 2: CKA, retrieval"]
    ((*names, first, second),) = table.rows
    assert names == [ROWS["D"].label, ROWS["D"].title, "1"]
    assert (first, second) == ("0.25 (0.04), 15 %", "0.50 (0.00), 100 %")
    lower = {**record, "seed": 2, "layers": [{**layers[0], "retrieval": 0.0508}, {**layers[1], "cka": 0.25}]}
    retrieval, cka = (panel.chart.picture for panel in alignment_panels([record, lower]))
    assert "row D, 1 layers: 10 %" in retrieval and "row D 100 %" in retrieval and "row D 0.38" in cka


def test_page_tables_and_plot(tmp_path, capsys):
    results, out = tmp_path / "results.json", tmp_path / "out"
    records.merge(results, "runs", records.Cell._fields, RUNS)
    assert main(["--results", str(results), "--out", str(out)]) == 0
    written = [Path(line).name for line in capsys.readouterr().out.split()]
    assert written == ["report.html", "tables.md", "labels.svg", "claims.svg"]
    page, picture = (out / "report.html").read_text(), (out / "labels.svg").read_text()
    assert "Some &lt;processor&gt;" in page and page.count("<svg") == 2 + 2 and page.count("<table>") == 7
    assert "pairs, 100 minutes" in picture and "joint" not in picture and ">minutes<" in picture
    assert main(["--results", str(results), "--out", str(out / "long"), "--scale", "cpu-long"]) == 0
    assert "labels.svg" not in capsys.readouterr().out and not re.search("<svg", (out / "long/report.html").read_text())
    assert main(["--results", str(tmp_path / "none.json"), "--out", str(out)]) == 1
    assert "found no records" in capsys.readouterr().err


def test_every_plotted_row_has_a_color():
    assert len(report.PLOTTED) <= len(report.PALETTE) and set(report.PLOTTED) <= ROWS.keys()
