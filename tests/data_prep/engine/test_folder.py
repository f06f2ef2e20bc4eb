"""A data folder appears by one rename, and once."""

import pytest

from data_prep.engine.folder import STATS, make_folder
from slam_plugin.data.errors import DataError

TABLES = {"manifests": {}, "text": {}, "symbols": {"joint": 9}, "left_out": {}}


def filling(folder):
    """Make a folder of one file."""
    folder.mkdir()
    (folder / "rows.tsv").write_text("id\n")
    return TABLES


def test_a_failed_attempt_leaves_no_folder_and_the_next_one_starts_over(tmp_path):
    def failing(folder):
        filling(folder)
        (folder / "half.tsv").write_text("i")
        raise DataError("citat: expected UTF-8")

    with pytest.raises(DataError, match="citat: expected UTF-8"):
        make_folder(tmp_path / "data", {"layout": 1}, failing)
    assert [path.name for path in tmp_path.iterdir()] == [".data.partial"]
    assert make_folder(tmp_path / "data", {"layout": 1}, filling) == {"recipe": {"layout": 1}, **TABLES}
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["rows.tsv", STATS]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(DataError, match=r"holds files but no stats\.json"):
        make_folder(tmp_path, {"layout": 1}, filling)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("text", ["{}", '{"recipe": []}', '{"recipe": null}', "[]", "{", "[" * 5000])
def test_damaged_statistics_are_named(tmp_path, text):
    make_folder(tmp_path / "data", {"layout": 1}, filling)
    (tmp_path / "data" / STATS).write_text(text)
    with pytest.raises(DataError, match=r"data/stats\.json: (is not JSON|found)"):
        make_folder(tmp_path / "data", {"layout": 1}, filling)
