"""Curves and tables of pre-training, of synthetic records, against a loop over them."""

import html
import re

import pytest

from examples.slam.study import records
from examples.slam.study.curves import PLOTTED, QUANTITIES, mean_curve, panels_of, training_tables
from examples.slam.study.report import main
from examples.slam.study.rows import ROWS
from slam_plugin.reporting.instruments import PALETTE
from slam_plugin.reporting.style import CHARTS
from tests.study.test_report import run

UPDATES = (400, 800)
# Of each pre-training: its row and seed, and the values at UPDATES.
TRAINED = {
    ("4", 1): {"own": (0.8, 0.9), "rank_top": (60.0, 80.0), "code_perplexity": (100.0, 150.0)},
    ("4", 2): {"own": (0.6, 0.7), "rank_top": (70.0, 95.0), "code_perplexity": (200.0, 300.0)},
    ("P", 1): {"own": (0.4, 0.2), "rank_top": (80.0, 100.0), "ctc_cer": (170.0, 40.0)},
    ("8", 1): {"tlm_text_own": (3.0, 2.5), "tlm_text_other": (3.0, 2.75), "tlm_text_none": (3.0, 3.0)},
    ("8", 2): {"tlm_text_own": (3.0, 2.0), "tlm_text_other": (3.0, 2.0), "tlm_text_none": (3.0, 2.5)},
}
CER = {("4", 1): (66.0, 54.0), ("4", 2): (67.0, 55.0), ("P", 1): (48.0, 44.0), ("8", 1): (66.0, 54.5)}


def pretrained(row: str, column: str, seed: int, **scores: float) -> dict:
    made = run(row, column, seed, **scores)
    curves = {key: list(map(list, zip(UPDATES, ends, strict=True))) for key, ends in TRAINED[row, seed].items()}
    return {**made, "pretraining": {**made["pretraining"], "curves": curves}}


# Seed 1 of row 4 has three records, its second seed two: each pre-training must count once.
RUNS = [
    pretrained(row, column, seed, cer=CER[row, seed][nth], wer=100.0)
    for row, seed in CER
    for nth, column in enumerate(("asr10", "asr100"))
]
RUNS += [pretrained("4", "st-de", 1, bleu=1.0, chrf=10.0), pretrained("8", "st-de", 2, bleu=1.0, chrf=10.0)]
RUNS += [run("0", "asr10", 1, cer=66.8, wer=109.0)]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.key)
def test_a_curve_is_the_mean_over_pretrainings(row, quantity):
    expected = []
    for place, update in enumerate(UPDATES):
        total = count = 0.0
        for (trained, _), values in TRAINED.items():
            if trained == row and quantity.key in values:
                total, count = total + values[quantity.key][place], count + 1
        if count:
            expected.append((update, pytest.approx(total / count)))
    assert mean_curve(RUNS, row, quantity.key) == expected


def test_a_curve_has_the_validations_of_all_seeds():
    longer = pretrained("4", "asr10", 2, cer=60.0)
    longer["pretraining"]["curves"]["own"] = [[400, 0.6], [600, 0.1], [800, 0.7], [1200, 0.1]]
    assert [update for update, _ in mean_curve([*RUNS, longer], "4", "own")] == [400, 800]


def test_a_panel_for_each_quantity_that_was_logged():
    panels = {panel.title: panel for panel in panels_of(RUNS)}
    titles = [quantity.title for quantity in QUANTITIES if quantity.key != "span_mlm_loss"]
    assert list(panels) == titles and panels_of([run("0", "asr10", 1, cer=66.0)]) == []
    own = panels[titles[0]].chart.picture
    assert "4: w2v-BERT 0.80" in own and "P: pairs 0.20" in own and "8: " not in own
    assert len(set(re.findall(r'class="line (\S+ \S+)"', own))) == 2
    # The first validation of row P, above 100 %, is left out.
    errors = panels[titles[-1]].chart.picture
    assert "P: pairs 40.0" in errors and errors.count("<circle") == 1 and "170" not in errors


def test_objective_and_score():
    table = training_tables(RUNS)[0]
    cells = {line[0]: line[2:] for line in table.rows}
    assert list(cells) == ["P", "8", "4", "0"]  # by the CER with ten minutes of labels
    assert table.head[2:] == [
        "own", "effective rank", "code perplexity", "CER on pairs", "asr10 CER ↓", "asr100 CER ↓",
    ]  # fmt: skip
    assert cells["4"] == ["0.80 (2)", "87.5 (2)", "225 (2)", "–", "66.5 (2)", "54.5 (2)"]
    assert cells["P"] == ["0.20 (1)", "100 (1)", "–", "40.0 (1)", "48.0 (1)", "44.0 (1)"]
    assert cells["0"] == ["–"] * 4 + ["66.8 (1)", "not run"]
    only_hundred = [found for found in RUNS if found["column"] == "asr100"]
    assert [line[0] for line in training_tables(only_hundred)[0].rows] == ["P", "4", "8"]


def test_what_the_text_reads():
    table = training_tables(RUNS)[1]
    assert table.rows == [["8", ROWS["8"].title, "2.250 (2)", "2.375 (2)", "2.750 (2)", "0.125"]]
    assert [found.title for found in training_tables([found for found in RUNS if found["row"] != "8"])] == [
        "Objective and score"
    ]


def test_the_page_has_the_panels_after_the_scores(tmp_path):
    results, out = tmp_path / "results.json", tmp_path / "out"
    records.merge(results, "runs", records.Cell._fields, RUNS)
    assert main(["--results", str(results), "--out", str(out)]) == 0
    page, tables = (out / "report.html").read_text(), (out / "tables.md").read_text()
    titles = ["What is resolved", "Scores on the test sets", "What happens during pre-training"]
    titles += ["Objective and score", "What the text reads", "Further comparisons"]
    places = [html.unescape(page).index(f"<h2>{title}</h2>") for title in titles]
    assert places == sorted(places) and page.count("<svg") == 2 + 2 + 4
    assert re.findall("## (.*)", tables)[:4] == ["Recognition", "Translation", *titles[3:5]]


def test_every_plotted_row_has_a_color_of_the_style_sheet():
    assert len(PLOTTED) <= len(PALETTE) == len(set(PALETTE)) and PLOTTED.keys() <= ROWS.keys()
    for style in PALETTE:
        assert f".{style.split()[1]} {{ --series:" in CHARTS
