"""The table of goals in docs/benchmarks.md is that of the file of figures."""

import json
import re

from benchmarks.__main__ import RESULTS
from benchmarks.scaling import PAGE

ROW = re.compile(r"^\| (.+?) \| (\S+) \| ([<>]= \S+) \| (yes|\*\*no\*\*) \|$", re.MULTILINE)


def test_the_table_of_goals_is_that_of_the_figures():
    text = (PAGE.parent / "benchmarks.md").read_text(encoding="utf-8")
    figures = json.loads(RESULTS.read_text(encoding="utf-8"))["figures"]
    expected = [
        (figure["name"], f"{figure['value']:.3g}", figure["goal"], "yes" if figure["met"] else "**no**")
        for figure in figures
        if figure["goal"] is not None
    ]
    assert ROW.findall(text) == expected
