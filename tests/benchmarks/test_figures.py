"""Goals, tables and files."""

import json

from benchmarks import figures
from benchmarks.figures import Figure, Goal


def test_goals_tables_and_files(tmp_path):
    seconds = {"ours": 2.0, "theirs": 5.0, "other": 1.0}
    found = [
        figures.ratio("theirs / ours", seconds, "theirs", "ours", "words", Goal(">=", 2.5)),
        figures.ratio("ours / theirs", seconds, "ours", "theirs", "words", Goal("<=", 0.39)),
        Figure("change", 2e-7, "relative change", "words"),
    ]
    assert [figure.value for figure in found] == [2.5, 0.4, 2e-7]
    assert [figure.met for figure in found] == [True, False, None]
    lines = figures.table(found).splitlines()
    assert [line.split()[-1] for line in lines] == ["met", "yes", "NO", "2.0e-07"]

    figures.write(tmp_path / "results.json", found, {"machine": "a"})
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert written["machine"] == "a"
    assert written["figures"][0] == {
        "name": "theirs / ours",
        "value": 2.5,
        "goal": ">= 2.5",
        "met": True,
        "unit": "times",
        "meaning": "words",
        "cpu_seconds": {"theirs": 5.0, "ours": 2.0},
    }
