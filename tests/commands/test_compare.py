"""``slam compare``: its table, its sentences, its JSON and its errors."""

import csv
import json

import pytest

from slam_plugin.commands.compare import main
from slam_plugin.scoring.comparison import compare, join, read_output
from tests.support.outputs import BAD, GOOD, REFERENCES, generation


@pytest.fixture
def files(tmp_path):
    paths = []
    for name, hypotheses in (("a", GOOD), ("b", BAD)):
        paths.append(tmp_path / f"generate-{name}.txt")
        rows = zip(range(30), hypotheses, REFERENCES, strict=True)
        paths[-1].write_text(generation(rows), encoding="utf-8")
    return [str(path) for path in paths]


@pytest.fixture
def found(files):
    joined = join(*map(read_output, files))
    return dict(zip(("wer", "chrf"), compare(joined, ["wer", "chrf"]), strict=True))


def test_the_table_says_who_is_better_where(files, found, capsys):
    assert main([*files, "--metrics", "wer", "chrf", "--largest", "2"]) == 0
    head, table, title, *views = capsys.readouterr().out.rstrip().split("\n\n")
    assert head.splitlines()[:3] == [
        f"A: {files[0]}",
        f"B: {files[1]}",
        "30 sentences, joined by their rows in the data set; the references are the same",
    ]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    for row, difference in zip(rows, found.values(), strict=True):
        low, high = difference.comparison.low, difference.comparison.high
        assert row[1:4] == [f"{score:.2f}" for score in difference.scores] + [
            f"{difference.comparison.difference:+.2f}"
        ]
        assert row[4:6] == [f"{low:+.2f} to {high:+.2f}", f"{difference.comparison.p:.4f}"]
        assert [int(cell) for cell in row[6:]] == [
            sum(difference.gains > 0),
            sum(difference.gains < 0),
            sum(difference.gains == 0),
        ]
    assert rows[0][0] == "WER (lower is better)" and rows[1][0] == "chrF (higher is better)"
    assert title == "The largest differences by WER:" and len(views) == 2
    first = views[0].splitlines()
    largest = abs(found["wer"].gains).max()
    assert first[0].endswith(f"is better by {largest:.0f} errors")
    assert [line[:2] for line in first if line.startswith(("A: ", "B: "))] == ["A:", "B:"]
    assert sum(line.startswith("REF: ") for line in first) >= 2


def test_all_sentences_are_written(files, found, tmp_path, capsys):
    path = tmp_path / "sentences.tsv"
    assert main([*files, "--metrics", "wer", "chrf", "--sentences", str(path)]) == 0
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["reference"] for row in rows] == REFERENCES
    assert [row["a"] for row in rows] == GOOD and [row["b"] for row in rows] == BAD
    for metric, difference in found.items():
        assert [float(row[f"{metric}_gain"]) for row in rows] == pytest.approx(difference.gains, rel=1e-4)


def test_json(files, found, capsys):
    assert main([*files, "--metrics", "wer", "chrf", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["a"], printed["b"], printed["sentences"]) == (*files, 30)
    for metric, difference in found.items():
        entry = printed["metrics"][metric]
        assert (entry["a"], entry["b"]) == difference.scores
        assert [entry[name] for name in ("difference", "low", "high", "p")] == list(difference.comparison)
        assert entry["a_better"] + entry["b_better"] + entry["equal"] == 30


def test_equal_systems_show_no_sentence(files, capsys):
    assert main([files[0], files[0]]) == 0
    printed = capsys.readouterr().out
    assert "largest" not in printed and "+0.00 to +0.00 | 1.0000" in printed


def test_errors(files, tmp_path, capsys):
    assert main([files[0], str(tmp_path / "absent")]) == 1
    assert "absent: No such file or directory" in capsys.readouterr().err
    (tmp_path / "short.txt").write_text("a\n")
    assert main([files[0], str(tmp_path / "short.txt")]) == 1
    assert "short.txt: found 1 sentences, expected the 30 of" in capsys.readouterr().err
    assert main([*files, "--language", "en"]) == 2
