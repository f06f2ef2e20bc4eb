"""Optional packages: what is said where one is absent."""

import sys

import pytest

from slam_plugin.commands import cli
from slam_plugin.data.errors import DataError
from slam_plugin.data.extras import absent_packages, cure_of_import, require_packages

CURE = "pysubs2: pip install 'pysubs2>=1.8' (the extra [recordings])"


def test_packages_that_are_there_are_not_named():
    assert absent_packages("recordings") is None
    require_packages("a test", "recordings", "pysubs2")


def test_an_absent_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "pysubs2", None)
    assert absent_packages("recordings") == absent_packages("recordings", "pysubs2") == CURE
    assert absent_packages("recordings", "silero_vad") is None
    with pytest.raises(DataError, match="^a test needs pysubs2: pip install"):
        require_packages("a test", "recordings")


@pytest.mark.parametrize(
    ("module", "cure"),
    [("pysubs2", CURE), ("pysubs2.formats", CURE), ("a_module_of_this_project", None), (None, None)],
)
def test_a_failed_import_names_its_extra(module, cure):
    assert cure_of_import(ModuleNotFoundError(name=module)) == cure


@pytest.mark.parametrize("corpus", ["bibles", "clauses", "english-tasks", "normalization"])
def test_corpora_whose_packages_are_absent(corpus, tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("data_prep.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pysword.bible", None)
    monkeypatch.setitem(sys.modules, "num2words", None)
    (tmp_path / "dict.txt").touch()
    tasks = ["--tree", str(tmp_path), "--vocabulary", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(["prepare", corpus, *(tasks if corpus == "english-tasks" else ["--help"])]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"slam prepare {corpus}: needs ") and message.endswith(" (the extra [study])\n")
