"""Logs and results that are damaged: lines are skipped, files are named."""

import pytest

from slam_plugin.reporting import logs
from slam_plugin.reporting import page as report


@pytest.mark.parametrize(
    "line",
    ['{"num_updates": "nan", "loss": 1}', '{"num_updates": null}', "{" * 5000, '{"num_updates": 1' + "0" * 5000 + "}"],
)
def test_lines_that_are_no_statistics_are_skipped(tmp_path, line):
    sound = '{"num_updates": 3, "loss": 1.5, "wide": 1' + "0" * 400 + "}"
    (tmp_path / "a.log").write_text(f"{line}\n{sound}\n{line}\n")
    (record,) = logs.read_log(tmp_path / "a.log")
    assert (record.update, record.values) == (3, {"loss": 1.5})


@pytest.mark.parametrize(
    ("name", "text"), [("results", "{"), ("results", "[]"), ("clips", "{}"), ("clips", "[" * 5000)]
)
def test_results_that_are_no_json_are_named(tmp_path, name, text):
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(ValueError, match=rf"{name}\.json: (is not JSON|found a )"):
        report.write_report(tmp_path)
