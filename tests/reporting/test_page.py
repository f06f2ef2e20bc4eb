"""The report: numbers from fairseq's own log lines, figures that show them, sections that survive missing input."""

import base64
import dataclasses
import io
import json
import logging
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from fairseq.logging.progress_bar import JsonProgressBar
from matplotlib import image

import slam_plugin.objectives  # noqa: F401  (registers them)
from slam_plugin import machine
from slam_plugin.commands.report import main
from slam_plugin.objectives.base import REGISTRY
from slam_plugin.reporting import downstream, figures, logs, pretraining
from slam_plugin.reporting import page as report

CODES = 320


def stats(update: int, perplexity: float = 60.0) -> dict[str, float | None]:
    """Statistics of an update: losses fall from 4, accuracies rise, pairs begin at update 20."""
    late = update >= 20
    return {
        "loss": 10.0,
        "contrastive_loss": 4.0 - update / 100,
        "contrastive_accuracy": update / 1000,
        "contrastive_chance": 1 / 40,
        "contrastive_chance_loss": math.log(40),
        "masked_prediction_loss": 5.0,
        "masked_prediction_accuracy": 0.05,
        "masked_prediction_chance": 0.1,
        "masked_prediction_chance_loss": math.log(perplexity),
        "code_perplexity": perplexity,
        "codes_used": 0.5,
        "stm_loss": 0.7 - update / 1000 if late else None,
        "stm_accuracy": 0.5 if late else None,
        "best_loss": 1.0,
        "nll_loss": 2.0,
        "audio_seconds_per_second": 60.0,
    }


def fairseq_lines(updates, subset="valid", **options) -> str:
    """Return a log as fairseq writes it: an interval line every update, an epoch and a validation every ten."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s | %(levelname)s | %(name)s | %(message)s"))
    logger = logging.getLogger("fairseq.logging.progress_bar")
    level, logger.level = logger.level, logging.INFO
    logger.addHandler(handler)
    try:
        bar = JsonProgressBar(range(10), epoch=1, log_interval=1)
        list(bar)
        for update in updates:
            numbers = {**stats(update, **options), "num_updates": update}
            bar.log(numbers, tag="train_inner", step=update)
            if update % 10 == 0:
                bar.print(numbers, tag=subset, step=update)
                bar.print(numbers, tag="train", step=update)
    finally:
        logger.removeHandler(handler)
        logger.level = level
    return stream.getvalue()


CLIP = b"fLaC\x00 sound"


@pytest.fixture
def run_dir(tmp_path):
    """A finished run, small."""
    (tmp_path / "logs").mkdir()
    noise = "2026-01-01 00:00:00 | INFO | fairseq_cli.train | {'_name': None}\n"
    (tmp_path / "logs" / "pretrain.log").write_text(noise + fairseq_lines(range(1, 41)))
    for task, metric, better in (("asr", "cer", 0), ("st", "bleu", 1)):
        for twin in ("pretrained", "scratch"):
            line = '{"epoch": 1, "dev_loss": "%d", "dev_%s": "%d", "dev_num_updates": "%d"}\n'
            points = [line % (9 - i, metric, 50 + (i if better else -i), 10 * i) for i in (1, 2)]
            (tmp_path / "logs" / f"{task}-{twin}.log").write_text("".join(points))
    signatures = {"bleu_signature": "nrefs:1|tok:13a", "chrf_signature": "nrefs:1|nc:6"}
    results = {
        "codebook": {"perplexity": 60.0, "codes_used": 0.5, "size": CODES},
        "asr": {"pretrained": {"cer": 48.23, "wer": 92.0}, "scratch": {"cer": 53.0, "wer": 95.5}},
        "st": {"pretrained": {"bleu": 0.61, "chrf": 14.2, **signatures}, "scratch": {"bleu": 0.4, "chrf": 13.0}},
        "seconds": {"prepare": 12.0, "pretrain": 300.0},
        "machine": {"processor": "A <fast> one", "cores": 2},
        "versions": {"torch": "2.11.0"},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.flac").write_bytes(CLIP)
    clip = {"file": "clips/a.flac", "reference": "say <it>", "pretrained": "sey it", "scratch": ""}
    (tmp_path / "clips.json").write_text(json.dumps([clip]))
    weights = np.random.default_rng(0).random((2, 3, 50))
    np.savez(tmp_path / "attention.npz", weights=weights, pieces=np.array(["<s>", "▁ahoj", "</s>"]), seconds=2.0)
    return tmp_path


def test_errors_of_a_recognized_clip_are_marked(run_dir):
    (clip,) = json.loads((run_dir / "clips.json").read_text())
    clip |= {"reference": "a cat sat <on> it", "pretrained": "a hat sat on it now", "scratch": "cat sat"}
    translated = {**clip, "source": "source text"}
    (run_dir / "clips.json").write_text(json.dumps([clip, translated]))
    page = report.write_report(run_dir).read_text(encoding="utf-8")
    assert '<mark title="cat">hat</mark>' in page and '<mark title="&lt;on&gt;">on</mark>' in page
    assert "<ins>now</ins>" in page and "<del>a</del>" in page and "<del>&lt;on&gt; it</del>" in page
    assert page.count("<mark title") == 2  # translations are not compared word by word
    assert "a hat sat on it now" in Page(page).text


@pytest.mark.parametrize("file", ["{}", "clips/../../secret", "link"])
def test_a_clip_outside_of_the_run_is_not_put_into_the_page(run_dir, tmp_path_factory, file):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text("secret")
    (run_dir.parent / "secret").write_text("secret")
    (run_dir / "link").symlink_to(secret)
    clip = {"file": file.format(secret), "reference": "", "pretrained": "", "scratch": ""}
    (run_dir / "clips.json").write_text(json.dumps([clip]))
    with pytest.raises(ValueError, match=rf"clips\.json: .*is outside of {run_dir}, expected audio below it"):
        report.write_report(run_dir)


class Page(HTMLParser):
    """Collects text and tags, and fails if tags are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.links, self.words = [], [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_fairseqs_own_lines_are_read_back(tmp_path):
    path = tmp_path / "x.log"
    path.write_text("plain text\n" + fairseq_lines(range(1, 21)))
    records = logs.read_log(path)
    assert {record.subset for record in records} == {"train_inner", "train", "valid"}
    losses = logs.series(records, logs.INTERVAL, "contrastive_loss")
    assert losses == [(u, pytest.approx(4.0 - u / 100)) for u in range(1, 21)]
    assert logs.series(records, "valid", "stm_loss") == [(20, pytest.approx(0.68))]  # null before: no point
    assert logs.objectives(records) == ["contrastive", "masked_prediction", "stm"]


def test_lines_without_a_date_and_broken_ones(tmp_path):
    path = tmp_path / "x.log"
    lines = ['{"loss": "nan", "num_updates": "3"}', '{"wps": "80"}', '{"valid_loss": "1.5", "valid_num_up', "{", "[1]"]
    path.write_text("\n".join(lines))
    assert logs.read_log(path) == [("train_inner", 3, {})]


def test_updates_made_again_after_a_kill_replace_the_lost_ones(tmp_path):
    path = tmp_path / "x.log"
    line = '{{"loss": "{}", "num_updates": "{}"}}\n'
    path.write_text("".join(line.format(a, u) for a, u in [(1, 10), (1, 20), (1, 30), (2, 20), (2, 40)]))
    assert logs.series(logs.read_log(path), logs.INTERVAL, "loss") == [(10, 1.0), (20, 2.0), (40, 2.0)]


def test_summary_has_first_and_last_validation_and_chance(tmp_path):
    path = tmp_path / "x.log"
    path.write_text(fairseq_lines(range(1, 41), subset="dev"))
    records = logs.read_log(path)
    summary = logs.pretraining_summary(records)
    assert summary["contrastive_loss"] == {
        "first": pytest.approx(3.9),
        "last": pytest.approx(3.6),
        "chance": pytest.approx(math.log(40), abs=1e-4),
        "better": "lower",
    }
    assert summary["contrastive_accuracy"]["chance"] == 0.025 and summary["contrastive_accuracy"]["better"] == "higher"
    assert summary["stm_loss"]["first"] == pytest.approx(0.68) and summary["stm_loss"]["chance"] is None
    assert not {"best_loss", "nll_loss", "loss", "contrastive_chance_loss"} & set(summary)
    every = {"codes_reachable": 1.0}
    assert logs.codebook_summary(records, CODES) == {"perplexity": 60.0, "codes_used": 0.5, "size": CODES, **every}
    assert logs.codebook_summary([]) == {"perplexity": None, "codes_used": None, "size": None, **every}


@pytest.mark.parametrize(
    ("first", "last", "chance", "better", "words"),
    [
        (4.0, 3.0, 3.5, "lower", "it fell, and is better than chance"),
        (4.0, 3.6, 3.5, "lower", "it fell, but is not better than chance"),
        (3.0, 3.1, 3.5, "lower", "it did not fall, but is better than chance"),
        (0.1, 0.2, 0.3, "higher", "it rose, but is not better than chance"),
        (0.3, 0.2, None, "higher", "it did not rise"),
    ],
)
def test_verdicts_in_words(first, last, chance, better, words):
    assert pretraining.verdict({"first": first, "last": last, "chance": chance, "better": better}) == words


@pytest.mark.parametrize(
    ("perplexity", "used", "reachable", "dead"),
    [(3.9, 0.5, 1.0, True), (4.1, 0.5, 1.0, False), (50, 0.049, 1.0, True), (50, 0.049, 0.9, False)],
)
def test_a_dead_codebook_is_called_dead(perplexity, used, reachable, dead):
    codebook = {"perplexity": perplexity, "codes_used": used, "codes_reachable": reachable, "size": CODES}
    words = pretraining.codebook_words(codebook)
    assert ("is dead" in words) == dead and ("is in use" in words) != dead
    records = [
        logs.Record("valid", 1, {"code_perplexity": perplexity, "codes_used": used, "codes_reachable": reachable})
    ]
    assert logs.codebook_summary(records, CODES) == codebook
    assert pretraining.codebook_section(records, {}).startswith(f'<p class="{"warning" if dead else "result"}">')


def test_a_run_without_a_learned_codebook_has_no_section_on_it(run_dir):
    title = "Codebook: do the speech targets"
    assert title in report.write_report(run_dir).read_text(encoding="utf-8")
    (run_dir / "results.json").unlink()
    for log in (*run_dir.glob("*.log"), *run_dir.glob("logs/*.log")):
        log.write_text(re.sub(r'"(\w*codes?_\w+)": "[^"]*"', r'"\1": null', log.read_text(encoding="utf-8")))
    assert title not in report.write_report(run_dir).read_text(encoding="utf-8")


def test_a_whole_page(run_dir):
    path = report.write_report(run_dir)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert all(link.startswith(("data:image/png;base64,", "data:audio/flac;base64,")) for link in page.links)
    assert len(page.links) == 4
    assert "<script" not in text and "@import" not in text and "url(" not in text
    for words in (
        "no claim is made",
        "48.2 92.0 0.6 14.2",
        "53.0 95.5 0.4 13.0",
        "nrefs:1|tok:13a",
        "Validation loss 3.90 → 3.60: it fell, and is better than chance.",
        "The codebook is in use: perplexity 60.0 of 320 codes, 50 % of the codes occur in validation.",
        "▁ahoj",
        "5 min 00 s",
        "A <fast> one",
    ):
        assert words in page.text, words
    assert "There are no" not in page.text and "there is no" not in page.text
    assert len(text) < 200_000 and str(run_dir) not in text


@pytest.mark.parametrize("name", REGISTRY)
def test_every_loss_and_accuracy_that_an_objective_logs_has_a_title(name):
    schema = REGISTRY[name].schema()
    chances = {f"{metric}{ending}" for metric in schema.guesses for ending in ("_chance", "_chance_loss")}
    logged = logs.Record("valid", 1, dict.fromkeys((*schema.ratios, *chances), 1.0))
    names = logs.objectives([logged])
    assert names and set(names) <= {*pretraining.OBJECTIVES, *pretraining.NO_TASKS}


def test_every_title_is_of_a_metric_that_is_logged_and_no_two_are_the_same():
    ratios = [key for objective in REGISTRY.values() for key in objective.schema().ratios]
    assert {f"{name}_loss" for name in pretraining.OBJECTIVES} <= set(ratios)
    titles = [title for title, _ in pretraining.OBJECTIVES.values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", ["contrastive", "masked_prediction", "best_rq", "kmeans"])
def test_the_task_of_an_objective_names_no_encoder(name):
    """The recipe chooses the layer that these losses are read at (``layer``, ``context``)."""
    assert {"layer", "context"} & {field.name for field in dataclasses.fields(REGISTRY[name].Options)}
    for title, words in (pretraining.OBJECTIVES[key] for key in pretraining.OBJECTIVES if key.startswith(name)):
        assert words.startswith("Speech. ") and "encoder" not in words, title


def test_an_objective_without_words_goes_by_its_name():
    records = [
        logs.Record("valid", update, {"new_idea_loss": 3.0 - update, "diversity_loss": 1.0}) for update in (1, 2)
    ]
    section = pretraining.objectives_section(records)
    assert "<h3>new idea</h3>" in section and "2.00 → 1.00" in section and "diversity" not in section


def test_a_dead_codebook_is_said_in_the_report(run_dir):
    (run_dir / "logs" / "pretrain.log").write_text(fairseq_lines(range(1, 41), perplexity=2.1))
    text = Page(report.write_report(run_dir).read_text(encoding="utf-8")).text
    assert "The codebook is dead" in text and "codebook is in use" not in text


def test_each_missing_input_is_named_and_the_rest_is_there(run_dir):
    (run_dir / "attention.npz").unlink()
    (run_dir / "logs" / "pretrain.log").unlink()
    text = Page(report.write_report(run_dir).read_text(encoding="utf-8")).text
    assert "there is no attention.npz" in text and "there is no log of pre-training" in text
    assert "The codebook is in use" in text and "48.2" in text  # both are in results.json


def test_the_page_plays_each_clip_beside_what_the_twins_wrote(run_dir):
    page = Page(report.write_report(run_dir).read_text(encoding="utf-8"))
    (sound,) = [link for link in page.links if link.startswith("data:audio")]
    assert base64.b64decode(sound.removeprefix("data:audio/flac;base64,")) == CLIP
    assert "say <it> sey it —" in page.text
    (run_dir / "clips.json").unlink()
    assert "there is no clips.json" in Page(report.write_report(run_dir).read_text(encoding="utf-8")).text


@pytest.mark.parametrize("log", [None, "2026-01-01 00:00:00 | INFO | fairseq_cli.train | begin training epoch 1\n"])
def test_a_run_without_statistics_has_no_page(tmp_path, capsys, log):
    """Training that wrote no log, or one without ``--log-format json``."""
    if log is not None:
        (tmp_path / "train.log").write_text(log)
    assert main([str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path}: found no *.log with statistics" in error and f"tee {tmp_path}/train.log" in error
    assert not (tmp_path / "report.html").exists()


def test_empty_results_give_a_page_that_says_so(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    text = Page(report.write_report(tmp_path).read_text(encoding="utf-8")).text
    assert "no claim is made" not in text  # there are no two models to compare
    for words in ("no scores in results", "no log of pre-training", "there is no clips.json", "no times in results"):
        assert words in text


def test_a_malformed_picture_is_an_error_that_names_it(run_dir, capsys):
    np.savez(run_dir / "attention.npz", weights=np.ones((2, 4, 5)), pieces=np.array(["a", "b"]), seconds=1.0)
    assert main([str(run_dir)]) == 1
    assert "attention.npz: found weights (2, 4, 5) and 2 pieces" in capsys.readouterr().err
    assert main([str(run_dir / "absent")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_command_line_prints_the_path(run_dir, capsys):
    assert main([str(run_dir)]) == 0
    assert capsys.readouterr().out.strip() == str(run_dir / "report.html")


def test_a_chart_puts_points_where_they_belong():
    points = [(0, 0.0), (50, 1.0), (100, 2.0)]
    svg = figures.line_chart([figures.Line("valid", "valid", points, marks=True)], "t", 100, low=0.0)
    circles = [c for c in ElementTree.fromstring(svg).iter("circle")]
    xs, ys = ([float(c.get(axis)) for c in circles] for axis in ("cx", "cy"))
    assert xs == [figures.LEFT, pytest.approx((xs[0] + xs[2]) / 2), figures.WIDTH - figures.RIGHT]
    assert ys[0] == figures.HEIGHT - figures.BOTTOM and ys[1] == pytest.approx((ys[0] + ys[2]) / 2, abs=0.1)
    assert figures.TOP < ys[2] < figures.TOP + 15  # the highest is a little under the top
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.line_chart([figures.Line("valid", "valid", [])], "t", 100)


def test_intervals_lie_to_scale_and_end_at_the_border():
    estimates = [
        figures.Estimate("P over 4", "<words>", "series first", 10.0, 2.0, "10 ± 2"),
        figures.Estimate("C over P", "", "series gray", 0.0, 100.0, "0 ± 100"),
        figures.Estimate("K over 4", "", "series gray", 5.0, math.nan, "5 (1)"),
    ]
    chart = figures.interval_chart(estimates, "gains", "CER")
    tree = ElementTree.fromstring(chart.picture)
    assert tree.get("viewBox") == f"0 0 {chart.width} {chart.height}" and "nan" not in chart.picture
    marks = [float(mark.get("cx")) for mark in tree.iter("circle")]
    lines = {kind: [p.get("d") for p in tree.iter("path") if kind in p.get("class")] for kind in ("chance", "series")}
    zero = float(lines["chance"][0][1:].split()[0])
    unit = (marks[0] - zero) / 10
    assert marks == pytest.approx([zero + 10 * unit, zero, zero + 5 * unit], abs=0.11)
    bars = [(float(path[1:].split()[0]), float(path.split("H")[1])) for path in lines["series"]]
    assert len(bars) == 2 and bars[0] == pytest.approx((zero + 8 * unit, zero + 12 * unit), abs=0.11)
    assert bars[1][0] == figures.PLOT_AT < zero and bars[0][1] < bars[1][1] < figures.NUMBERS_AT
    texts = [text.text for text in tree.iter("text")]
    assert {"P over 4", "<words>", "10 ± 2", "5 (1)", "CER", "0", "10"} <= set(texts)


def test_a_chart_of_update_0_alone_is_drawn():
    assert "<svg" in figures.line_chart([figures.Line("valid", "valid", [(0, 2.0)])], "t", 0)


def test_long_curves_are_thinned_to_means():
    thinned = figures.thinned([(float(u), float(u % 2)) for u in range(10_000)])
    assert len(thinned) <= figures.MAX_POINTS
    assert all(value == pytest.approx(0.5, abs=0.02) for _, value in thinned)
    assert figures.thinned([(1.0, 2.0)]) == [(1.0, 2.0)]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1500, [0, 500, 1000, 1500]), (0, 0.4, [0, 0.1, 0.2, 0.3, 0.4]), (2.95, 3.05, [2.95, 3.0, 3.05])],
)
def test_ticks_are_round(low, high, ticks):
    assert figures.nice_ticks(low, high, 4) == pytest.approx(ticks)


def test_labels_never_overlap_nor_leave_the_chart():
    draw = np.random.default_rng(3)
    for _ in range(100):
        heights = list(draw.uniform(0, 150, size=4))
        moved = figures.spread(heights, 13, 150)
        assert np.diff(sorted(moved)).min() >= 13 - 1e-9 and max(moved) <= 150
        assert np.argsort(moved).tolist() == np.argsort(heights).tolist()
    assert figures.spread([10.0, 100.0], 13, 150) == [10.0, 100.0]


def test_attention_rows_are_pieces_and_time_runs_to_the_right():
    weights = np.zeros((2, 10))
    weights[0, 0] = weights[1, 9] = 0.3
    svg = ElementTree.fromstring(figures.attention_picture(weights, ["first", "<s>"], 2.0))
    picture = next(svg.iter("image"))
    raw = base64.b64decode(picture.get("href").split(",")[1])
    brightness = image.imread(io.BytesIO(raw))[..., :3].sum(axis=-1)
    assert brightness.shape == (2, 10)
    assert brightness[0].argmax() == 0 and brightness[1].argmax() == 9 and brightness[0, 0] == brightness[1, 9]
    labels = [text for text in svg.iter("text") if text.get("class") == "piece"]
    assert [label.text for label in labels] == ["first", "<s>"]
    assert float(labels[0].get("y")) < float(labels[1].get("y"))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("asr-pretrained", ("asr", "pretrained")),
        ("st_scratch", ("st", "scratch")),
        ("asr-scratch-decode", ("asr", "scratch")),
        ("pretrain", None),
        ("latest", None),
    ],
)
def test_twins_are_known_by_the_names_of_their_logs(name, found):
    assert downstream.task_and_twin(name) == found


def test_both_twins_stand_in_one_chart(run_dir):
    records = {name: found for name, found in report.read_logs(run_dir).items() if name != "pretrain"}
    section = downstream.curves_section(records)
    charts = re.findall(r"<svg.*?</svg>", section)
    assert len(charts) == 4  # loss and CER, loss and BLEU
    assert all("pre-trained" in chart and "scratch" in chart for chart in charts)


@pytest.mark.parametrize(
    ("value", "words"), [(-0.004, "0.00"), (-0.006, "-0.01"), (9.994, "9.99"), (-12.34, "-12.3"), (123.4, "123")]
)
def test_numbers_have_about_three_digits_and_zero_has_no_sign(value, words):
    assert figures.plain(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.84, "0.8 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (3900, "1 h 05 min"),
    ],
)
def test_durations(seconds, words):
    assert downstream.duration(seconds) == words


def test_the_machine_is_described_without_names_and_paths():
    described = {**machine.machine(), **machine.versions()}
    assert described["cores"] >= 1 and described["memory"].endswith("GiB") and "torch" in described
    with open("/proc/sys/kernel/hostname", encoding="utf-8") as file:
        assert file.read().strip() not in described.values()
    assert not any(str(value).startswith("/") for value in described.values())


def test_logs_of_one_name_in_the_folder_and_in_logs_are_both_read(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "train.log").write_text(fairseq_lines([10]))
    (tmp_path / "logs/train.log").write_text(fairseq_lines([10, 20]))
    found = report.read_logs(tmp_path)
    assert found.keys() == {"train", "logs/train"}
    assert report.pretraining_records(found)[-1].update == 20
