"""``slam score``: its table, its JSON and its errors."""

import json

import pytest

from slam_plugin.commands.score import main
from slam_plugin.scoring.figures import figures_of
from slam_plugin.scoring.normalizer import COMPARED_AS
from tests.support.outputs import GOOD, REFERENCES, generation

ROWS = [(10, "c d", "c e"), (2, "", "b"), (0, "a b", "a b")]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "generate-test.txt"
    path.write_text(generation(ROWS), encoding="utf-8")
    return path


def test_json_has_scores_intervals_and_edits(tmp_path, capsys):
    path = tmp_path / "generate-test.txt"
    path.write_text(generation(zip(range(30), GOOD, REFERENCES, strict=True)), encoding="utf-8")
    assert main(["--generated", str(path), "--metrics", "wer", "bleu", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    names = {"wer", "wer_interval", "wer_edits", "wer_compared_as", "bleu", "bleu_interval", "bleu_signature"}
    assert printed.keys() == names
    wer, bleu = figures_of(GOOD, REFERENCES, ["wer", "bleu"])
    assert (printed["wer"], printed["bleu"]) == (wer.score, bleu.score)
    assert printed["wer_interval"] == list(wer.interval) and printed["wer_edits"] == wer.edits._asdict()


def test_the_table_has_a_row_for_each_metric_and_says_how_it_was_computed(path, capsys):
    assert main(["--generated", str(path), "--metrics", "wer", "cer", "chrf"]) == 0
    head, _, *rows, compared, signature, intervals = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, *rows)]
    assert cells[0] == ["metric", "score", "95 % interval", "substituted", "deleted", "inserted", "of"]
    assert cells[1][:2] == ["WER", "40.00"] and cells[1][3:] == ["20.00", "20.00", "0.00", "5 words"]
    assert [row[0] for row in cells[2:]] == ["CER", "chrF"] and cells[3][3:] == [""] * 4
    assert compared == f"WER, CER: {COMPARED_AS}, 1 empty hypotheses"
    assert "nc:6" in signature and "bootstrap" in intervals
    assert main(["--generated", str(path), "--metrics", "chrf"]) == 0
    assert "substituted" not in capsys.readouterr().out


def test_the_worst_sentences_follow_the_table(path, capsys):
    assert main(["--generated", str(path), "--metrics", "bleu", "wer", "--worst", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:] == ["sentence 2: 1 error in 1 word (0 S, 1 D, 0 I)", "REF: b", "HYP: *", "     D"]


def test_accuracy_by_class(path, tmp_path, capsys):
    (tmp_path / "classes").write_text("date\n" * 10 + "time\n")
    by_class = ["--generated", str(path), "--classes", str(tmp_path / "classes"), "--metrics"]
    assert main([*by_class, "accuracy"]) == 0
    rows = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines()[2:5]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["accuracy", "33.33"],
        ["accuracy_date", "50.00"],
        ["accuracy_time", "0.00"],
    ]
    assert main([*by_class, "wer"]) == 2
    assert "--classes: found without --metrics accuracy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--metrics", "bleu", "--normalizer", "basic"], 2, "--normalizer: expected an error rate or accuracy"),
        (["--language", "en"], 2, "--language: found without --normalizer whisper"),
        (["--metrics", "bleu", "--worst", "2"], 2, "--worst: expected an error rate"),
        (["--worst", "2", "--json"], 2, "--worst: found with --json"),
        (["--normalizer", "whisper"], 1, "found no language of the texts"),
    ],
)
def test_flags_that_do_not_fit_are_refused(path, capsys, flags, code, message):
    assert main(["--generated", str(path), *flags]) == code
    assert message in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main(["--generated", str(tmp_path / "absent.txt")]) == 1
    assert "absent.txt" in capsys.readouterr().err
