"""Curves and warnings of the instruments in the report, and a run's charts as one picture."""

import json
import xml.etree.ElementTree as ElementTree
from html import unescape

import pytest

from slam_plugin.commands.report import main
from slam_plugin.reporting import instruments
from slam_plugin.reporting import page as report
from slam_plugin.reporting.figures import Chart, sheet
from slam_plugin.reporting.logs import Record
from slam_plugin.reporting.templating import render

SVG = "{http://www.w3.org/2000/svg}"


def values(update: int, **more: float) -> dict[str, float]:
    """A validation of a good run."""
    return {
        "audio_seconds_per_second": 9.0,
        "own": 0.96 - update / 1000,
        "own_fresh": 0.96,
        **{f"rank_{place}": 100.0 - update for place in ("front_end", "speech", "top")},
        **{f"rank_{place}_fresh": 120.0 for place in ("front_end", "speech", "top")},
        "ctc_cer": 100.0 - update,
        "ctc_blanks": 0.9,
        "ctc_progress": update / 40,
        **{f"tlm_text_{speech}": 3.0 for speech in ("own", "other", "none", "chance")},
        **{f"retrieval_layer_{layer}": layer / 100 for layer in range(1, 9)},
        "retrieval_chance": 0.0625,
        "gradient_masked_prediction": 0.25,
        "gradient_ctc": 0.75,
        "agreement_speech_text": -0.125,
        **more,
    }


def records(*changes: dict[str, float]) -> list[Record]:
    """Return a validation every ten updates, each with the given changes."""
    found = [Record("valid", 10 * i, values(10 * i, **change)) for i, change in enumerate(changes, start=1)]
    return [Record("train_inner", 5, {"contrastive_loss": 1.0}), *found]


def test_each_instrument_has_its_chart_with_what_it_is_measured_against():
    charts = instruments.instrument_charts(records({}, {}))
    assert charts.keys() == {name for _, _, names in instruments.PANELS for name in names}
    for words in ("own 0.94", "untrained 0.96", "warning 0.30"):
        assert words in charts["own"].picture
    for words in ("rank 80.0", "untrained 120", "warning 12.0"):
        assert words in charts["rank_top"].picture
    assert "CTC 80.0" in charts["ctc_cer"].picture and "no output 100" in charts["ctc_cer"].picture
    assert all(f"{speech} 3.00" in charts["tlm_text"].picture for speech in ("own", "other", "none", "chance"))
    assert "masked prediction 25 %" in charts["gradient"].picture
    assert "speech, text -0.12" in charts["agreement"].picture.replace("−", "-")
    # Four of the eight layers, the last one among them.
    assert [f"layer {i} " in charts["retrieval"].picture for i in range(1, 9)] == [False, True] * 4


def test_what_was_not_measured_has_no_chart_and_a_run_without_instruments_says_so():
    speech = [Record("valid", 1, {"own": 0.9, "own_fresh": 0.96, "rank_top": 9.0})]
    assert instruments.instrument_charts(speech).keys() == {"own", "rank_top"}
    section = instruments.instruments_section(speech)
    assert "own frame?" in section and "Does CTC recognize" not in section
    assert "--no-instruments" in instruments.instruments_section(records()) and records()


def test_warnings_of_the_last_validation_stand_at_the_head():
    section = instruments.warnings_section(records({}, {"own": 0.1}))
    assert "does not look healthy" in section and "own is 0.10" in unescape(section)
    assert "frame&#39;s" in section  # escaped by the template


def test_warnings_that_went_away_are_shown_and_a_good_run_has_none():
    section = instruments.warnings_section(records({"own": 0.1}, {"own": 0.2}, {}))
    assert "healthy" not in section and "The one at update 20 had" in section and "own is 0.20" in section
    assert instruments.warnings_section(records({}, {})) == "" == instruments.warnings_section([])


def test_values_of_one_validation_are_judged_together_though_subsets_log_apart():
    found = records({"own": 0.1})
    found.append(Record("valid_other", 10, {"loss": 1.0}))
    assert "does not look healthy" in instruments.warnings_section(found)


@pytest.fixture
def run_dir(tmp_path):
    """A log as fairseq writes it, of a run that went bad."""
    lines = []
    for record in records({}, {"own": 0.1, "code_perplexity": 2.0, "codes_used": 0.5}):
        named = {f"{record.subset}_{key}": str(value) for key, value in record.values.items()}
        lines.append(json.dumps({**named, f"{record.subset}_num_updates": str(record.update)}))
    (tmp_path / "pretrain.log").write_text("\n".join(lines))
    return tmp_path


def test_the_page_has_the_warnings_above_everything_and_the_curves(run_dir):
    page = report.write_report(run_dir).read_text(encoding="utf-8")
    head, _, rest = page.partition("</header>")
    assert "own is 0.10" in head and "The codebook (code) is dead: perplexity 2.0" in head
    assert head.index("own is 0.10") < head.index('<ul class="short">') and "proves" not in head
    assert all(title in rest for title, _, _ in instruments.PANELS)


def test_a_picture_stands_alone(run_dir, capsys):
    path = run_dir / "charts.svg"
    assert main([str(run_dir), "--picture", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(run_dir / "report.html"), str(path)]
    picture = ElementTree.parse(path).getroot()
    assert picture.tag == f"{SVG}svg" and (picture.get("width"), picture.get("height")) == ("1200", "672")
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert {"own", "effective rank, shared layers", "perplexity of the codes", "own 0.10"} <= set(texts)
    places = [(part.get("x"), part.get("y")) for part in picture.findall(f"{SVG}svg")]
    assert places == [(x, y) for y in ("24", "248", "472") for x in ("0", "400", "800")][:8]
    used = {name for name in picture.find(f"{SVG}style").text.split() if name.startswith("var(--")}
    assert used and "--paper:" in picture.find(f"{SVG}style").text


def test_a_run_without_charts_has_no_picture(tmp_path, capsys):
    (tmp_path / "results.json").write_text("{}")
    assert main([str(tmp_path), "--picture", str(tmp_path / "x.svg")]) == 1
    assert "found no log of pre-training" in capsys.readouterr().err and not (tmp_path / "x.svg").exists()


def test_a_sheet_is_as_wide_as_its_charts():
    one = Chart("a <b>", '<svg class="chart"></svg>')
    assert 'viewBox="0 0 400 224"' in sheet([one], 3, "") and "a &lt;b&gt;" in sheet([one], 3, "")
    assert 'viewBox="0 0 1200 448"' in sheet([one] * 4, 3, "")


def test_a_template_escapes_and_wants_every_name():
    assert "&lt;b&gt;" in render("warnings.html.j2", current=["<b>"], earlier=None)
    with pytest.raises(Exception, match="earlier"):
        render("warnings.html.j2", current=[])
