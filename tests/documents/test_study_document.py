"""``docs/study.md``: its commands run, and its rows and columns are those of the study."""

import re

import pytest

from docs import study_tables
from examples.slam.study import records
from examples.slam.study.columns import COLUMNS
from examples.slam.study.rows import ROWS
from tests.study.test_report import RUNS
from tests.support import documents

DOCUMENT = "docs/study.md"


@pytest.fixture(scope="module")
def text() -> str:
    return documents.read(DOCUMENT)


def test_every_command_runs(text, tmp_path):
    records.merge(tmp_path / "results.json", "runs", records.Cell._fields, RUNS)
    commands = list(documents.commands(text))
    assert len(commands) == 8
    for command in commands:
        documents.run(command, tmp_path)
    assert (tmp_path / "report/report.html").exists()


def test_rows_and_columns_are_all_of_them(text):
    first = [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in text.splitlines() if line.startswith("| `")]
    assert [name for names in first for name in names] == [*ROWS, *COLUMNS]


def test_the_tables_are_those_of_the_records():
    found = study_tables.files()
    assert found.keys() == {study_tables.PAGE, *study_tables.CHARTS}
    for name, content in found.items():
        assert documents.read(f"docs/{name}") == content, "run python -m docs.study_tables"
