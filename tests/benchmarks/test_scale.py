"""Data at a size that takes seconds: its contents are as described, and the memory of processes is read correctly."""

import subprocess
import sys

import numpy as np
import pytest
from fairseq.data import indexed_dataset

from benchmarks import scale, scale_data
from benchmarks.figures import SCALES
from slam_plugin.data.audio import load_features
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.tsv import row_faults
from slam_plugin.data.text.vocabulary import Vocabulary

SMOKE = SCALES["smoke"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    scale_data.write_vocabulary(folder)
    scale_data.write_manifest(folder, 700)
    return folder


def test_the_generated_manifest_is_what_its_rows_say(folder):
    assert row_faults(folder / "train.tsv") == []
    manifest = Manifest.open(folder / "train.tsv")
    assert len(manifest) == 700
    for row in range(0, 700, 50):
        features = load_features(manifest.value(row, "audio"), folder)
        assert features.shape == (manifest.value(row, "n_frames"), 80)


def test_the_generated_text_is_what_fairseq_reads(folder, monkeypatch):
    monkeypatch.setattr(scale_data, "AT_ONCE", 300)
    scale_data.write_text(folder / "some", 1000, 3)
    text, dictionary = indexed_dataset.MMapIndexedDataset(str(folder / "some")), Vocabulary.load(folder).dictionary
    assert len(text) == 1000
    for number in range(1000):
        sentence = text[number]
        assert sentence[-1] == dictionary.eos() and (sentence[:-1] >= dictionary.nspecial).all()
        assert len(sentence) == text.sizes[number] and sentence.max() < len(dictionary)
    assert 10 < (np.asarray(text.sizes) == 1).sum() < 120


def test_a_whole_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "_feeding", lambda scratch, scale: [])  # takes long to prepare
    monkeypatch.setattr(scale, "IN_ONE_FILE", {"sentences": None})  # the shards are read in blocks
    found = scale.figures(SMOKE)
    names = [figure.name for figure in found]
    assert len(set(names)) == len(names) == 11 and all(figure.goal for figure in found)
    values = {figure.name.split(", ", 2)[-1]: figure.value for figure in found}
    assert values["shards open after the change"] == 1
    memory = [figure.value for figure in found if figure.goal == scale.MEMORY]
    assert len(memory) == 6 and all(0 < value < 200 for value in memory)


def test_memory_is_seen_from_outside_and_files_do_not_count(tmp_path):
    content = tmp_path / "file"
    content.write_bytes(bytes(50_000_000))
    code = (
        "import mmap, sys\n"
        "print(flush=True); input()\n"
        f"file = open({str(content)!r}, 'rb'); file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
        "sum(file[::4096]); own = bytearray(b'x' * 30_000_000)\n"
        "print(flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        before = scale.anonymous(child.pid)
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        grown = scale.anonymous(child.pid) - before
        assert list(scale._family(child.pid)) == [child.pid]
        child.communicate(b"\n")
    assert 29_000_000 < grown < 36_000_000
    assert scale.anonymous(child.pid) == 0


def test_a_child_that_fails_is_no_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(scale.sys, "executable", "false")  # python would fail as well, but import torch first
    with pytest.raises(subprocess.CalledProcessError):
        scale.watched("build", tmp_path / "absent.tsv")


def test_counts_in_words():
    assert (scale.words(5_000_000), scale.words(50_000)) == ("5 million", "50 thousand")
