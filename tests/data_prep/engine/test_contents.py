"""The state of a corpus's files, and the corpora that must have one."""

import importlib
import inspect
import os
from pathlib import Path

import pytest

from data_prep import corpora
from data_prep.engine.contents import contents_of
from data_prep.engine.units import Corpus


def test_contents_are_names_sizes_and_times(tmp_path):
    (tmp_path / "a/deep").mkdir(parents=True)
    (tmp_path / "a/deep/x.txt").write_text("x")
    (tmp_path / "b").write_text("y")
    seen = [contents_of(tmp_path / "a", tmp_path / "b")]

    def differs():
        seen.append(contents_of(tmp_path / "a", tmp_path / "b"))
        return seen[-1] not in seen[:-1]

    assert not differs()
    os.utime(tmp_path / "a/deep/x.txt", ns=(5, 5))
    assert differs()
    (tmp_path / "a/deep/x.txt").rename(tmp_path / "a/x.txt")
    assert differs()
    (tmp_path / "a/none.txt").symlink_to("gone")
    assert differs()
    (tmp_path / "b").unlink()
    assert differs()
    (tmp_path / "a/y.wav").write_text("")
    assert contents_of(tmp_path / "a", endings=(".txt",)) == contents_of(tmp_path / "a", endings=(".txt", ".flac"))
    (tmp_path / "a").rename(tmp_path / "moved")
    assert contents_of(tmp_path / "moved", endings=(".txt",)) != contents_of(None)


MODULES = sorted(path.stem for path in Path(corpora.__file__).parent.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("module", MODULES)
def test_every_published_corpus_notices_a_change(module):
    found = importlib.import_module(f"data_prep.corpora.{module}")
    classes = [each for _, each in inspect.getmembers(found, inspect.isclass) if issubclass(each, Corpus)]
    for each in (each for each in classes if each.__module__ == found.__name__ and not inspect.isabstract(each)):
        assert each.contents is not Corpus.contents, each
