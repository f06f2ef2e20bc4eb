"""The command line of the validator: its output and exit codes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import yaml

from data_prep.manifests.check import Sample, main
from data_prep.text.binarize import binarize
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.audio import frames_in
from slam_plugin.data.manifests.manifest import Manifest, line_of, write_manifest
from tests.data_prep.layouts.sounds import cut_short


@pytest.fixture
def folder(tmp_path):
    rows = []
    for index, samples in enumerate((8000, 16000)):
        soundfile.write(tmp_path / f"{index}.flac", np.sin(np.arange(samples) * 0.1), 16000)
        row = {"id": f"u{index}", "audio": f"{index}.flac", "n_frames": frames_in(samples), "tgt_text": "ahoj"}
        rows.append(row)
    for name in ("train.tsv", "deeper/valid.tsv"):
        audio = [row | {"audio": str(tmp_path / row["audio"])} for row in rows]
        write_manifest(tmp_path / name, audio, ["id", "audio", "n_frames", "tgt_text"])
    return tmp_path


def spoil(path, old, new):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


def test_a_good_folder_returns_0_and_is_stamped(folder, capsys):
    assert main([str(folder), "--jobs", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "0 faults in 2 manifests and 0 other files" in captured.err
    assert (folder / "train.tsv.checked").exists() and (folder / "deeper/valid.tsv.checked").exists()


def test_every_fault_of_every_manifest_is_printed(folder, capsys):
    spoil(folder / "train.tsv", "\t98\t", "\tx\t")
    spoil(folder / "deeper/valid.tsv", "\t48\tahoj", "\t49\t")
    assert main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{folder}/deeper/valid.tsv:2: u0: tgt_text is empty")
    assert lines[1].startswith(f"{folder}/deeper/valid.tsv:2: {folder}/0.flac: has 48 frames, but n_frames is 49")
    assert lines[2].startswith(f"{folder}/train.tsv:3: n_frames is 'x'")
    assert not (folder / "train.tsv.checked").exists()


def test_options_reach_the_check(folder, capsys):
    train = str(folder / "train.tsv")
    assert main([train, "--max-frames", "97"]) == 1
    assert "98 frames (0.98 s), expected at most 97" in capsys.readouterr().out
    assert main([train, "--min-frames", "49"]) == 1
    assert main([train, "--text-columns", "src_text"]) == 1
    assert "no column src_text" in capsys.readouterr().out
    (folder / "0.flac").write_bytes(b"rubbish")
    assert main([train, "--no-decode"]) == 0
    assert not (folder / "train.tsv.checked").exists()
    assert main([train]) == 1


def test_relative_audio_is_under_the_root(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("manifests") / "m.tsv"
    write_manifest(other, [{"id": "u", "audio": "1.flac", "n_frames": 98}], ["id", "audio", "n_frames"])
    assert main([str(other), "--audio-root", str(folder)]) == 0
    assert main([str(other)]) == 1


def test_audio_outside_of_the_root_is_a_fault_if_asked_and_is_not_read(folder, capsys):
    outside = folder / "deeper/valid.tsv"
    assert main([str(outside)]) == 0
    for flags in ([], ["--no-decode"]):
        assert main([str(outside), "--inside-root", *flags]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert lines[0] == (f"{outside}:2: {folder}/0.flac: is outside of {folder}/deeper, expected audio below it")
    assert main([str(outside), "--inside-root", "--audio-root", str(folder)]) == 0
    assert main([str(folder / "train.tsv"), "--inside-root"]) == 0


@pytest.mark.parametrize("audio", ["../0.flac", "link/0.flac", "linked.flac", "in/../../0.flac:0:8000"])
def test_every_way_out_of_the_root(folder, capsys, audio):
    inner = folder / "deeper"
    (inner / "in").mkdir()
    (inner / "link").symlink_to(folder)
    (inner / "linked.flac").symlink_to(folder / "0.flac")
    columns = ["id", "audio", "n_frames"]
    write_manifest(inner / "one.tsv", [{"id": "u0", "audio": audio, "n_frames": 48}], columns)
    assert main([str(inner / "one.tsv")]) == 0
    assert main([str(inner / "one.tsv"), "--inside-root"]) == 1
    assert f"is outside of {inner}, expected audio below it" in capsys.readouterr().out


def test_paths_that_hold_no_manifest_are_errors(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert main([str(tmp_path / "gone.tsv")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"slam check: {tmp_path}: there is no .tsv, .idx, dict.txt or corpora.yaml in this folder",
        f"slam check: {tmp_path}/gone.tsv: there is no such file or folder",
    ]


def test_the_module_runs_as_a_command(folder):
    spoil(folder / "train.tsv", "u1\t", "u0\t")
    done = subprocess.run(
        [sys.executable, "-m", "slam_plugin.commands.cli", "check", folder / "train.tsv"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == f"{folder}/train.tsv:3: id 'u0' occurs already in line 2\n"


# ---------------------------------------------------------------------------------------------------------------------
# a sample


@pytest.fixture
def many(tmp_path):
    """Write twenty rows of one file, each with a wrong n_frames."""
    soundfile.write(tmp_path / "a.flac", np.sin(np.arange(8000) * 0.1), 16000)
    rows = [{"id": str(i), "audio": "a.flac", "n_frames": 47} for i in range(20)]
    write_manifest(tmp_path / "m.tsv", rows, ["id", "audio", "n_frames"])
    return tmp_path / "m.tsv"


@pytest.mark.parametrize("words, count", [("6", 6), ("0.3", 6), ("30%", 6), ("99", 20), ("0.001", 1)])
def test_a_sample_is_decoded_and_said(many, capsys, words, count):
    assert main([str(many), "--sample", words]) == 1
    captured = capsys.readouterr()
    lines = [int(line.split(":")[1]) for line in captured.out.splitlines()]
    assert len(lines) == count and lines == sorted(lines)
    said = captured.err.splitlines()[0]
    assert f"{count} of 20 rows is decoded: lines {', '.join(map(str, lines[:10]))}" in said
    assert main([str(many), "--sample", words]) == 1
    assert capsys.readouterr() == captured


def test_a_clean_sample_leaves_no_stamp(folder):
    assert main([str(folder / "train.tsv"), "--sample", "1"]) == 0
    assert not (folder / "train.tsv.checked").exists()
    assert main([str(folder / "train.tsv")]) == 0
    assert (folder / "train.tsv.checked").exists()


def test_texts_and_lengths_of_rows_outside_the_sample_are_checked(folder, capsys):
    spoil(folder / "train.tsv", "\t98\tahoj", "\t98\t")
    spoil(folder / "train.tsv", "\t48\tahoj", "\t48\t")
    assert main([str(folder / "train.tsv"), "--sample", "1"]) == 1
    assert capsys.readouterr().out.count("tgt_text is empty") == 2


def test_samples_of_other_sizes_are_no_samples(many, capsys):
    for words in ("0", "1.5", "-1", "some", "0%"):
        with pytest.raises(SystemExit):
            main([str(many), f"--sample={words}"])
        assert "expected a number of rows, or a share" in capsys.readouterr().err
    rows = Sample(None, 0.01).rows(1_000_000)
    assert len(rows) == 10_000 and len(set(rows.tolist())) == 10_000 and 0.3 < (rows < 400_000).mean() < 0.5


# ---------------------------------------------------------------------------------------------------------------------
# what is wrong with files


@pytest.mark.parametrize(
    "spoiled, message",
    [
        (cut_short, "is cut short|cannot be decoded"),
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: path.chmod(0), "cannot be read"),
    ],
    ids=["cut", "gone", "no permission"],
)
def test_audio_that_cannot_be_read_is_one_fault_each(folder, capsys, spoiled, message, request):
    if "no permission" in request.node.name and os.geteuid() == 0:
        pytest.skip("root may read everything")
    spoiled(folder / "1.flac")
    assert main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(any(words in line for words in message.split("|")) for line in lines), lines


def test_a_name_that_no_system_takes_is_a_fault(folder, capsys):
    spoil(folder / "train.tsv", "1.flac", f"{'x' * 300}.flac")
    assert main([str(folder / "train.tsv")]) == 1
    assert "train.tsv:3: " in capsys.readouterr().out
    assert main([str(folder / "train.tsv"), "--no-decode"]) == 1
    assert "File name too long" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content, message",
    [
        (b"id\taudio\tn_frames\n", "m.tsv: holds no rows"),
        (b"id\taudio\tn_frames\nu\ta.wav\t50\nv\t\xff\t50\n", "m.tsv:3: not UTF-8"),
        (b"", "m.tsv:1: the header lacks"),
    ],
)
def test_bad_manifests_are_named(tmp_path, capsys, content, message):
    (tmp_path / "m.tsv").write_bytes(content)
    assert main([str(tmp_path)]) == 1
    assert message in capsys.readouterr().out


def test_what_was_left_out_is_no_manifest(folder, capsys):
    (folder / "dropped.tsv").write_text("place\treason\na.flac\tis cut short\n")
    (folder / ".parts").mkdir()
    (folder / ".parts/half.tsv").write_text("rubbish")
    assert main([str(folder)]) == 0
    assert main([str(folder / "dropped.tsv")]) == 1
    assert "lists what was left out" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# manifests together


def test_audio_of_training_in_a_test_set_is_a_fault(folder, capsys):
    rows = [{"id": "t", "audio": "../0.flac", "n_frames": 48}]
    write_manifest(folder / "deeper/test.tsv", rows, ["id", "audio", "n_frames"])
    assert main([str(folder)]) == 1
    captured = capsys.readouterr()
    assert captured.out == (
        f"{folder}/deeper/test.tsv:2: ../0.flac: the same audio is in {folder}/train.tsv:2, for training\n"
    )
    warnings = [line for line in captured.err.splitlines() if line.startswith("warning")]
    assert len(warnings) == 2 and all("deeper/valid.tsv" in line for line in warnings)


def test_other_parts_of_the_same_file_are_other_audio(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(32000) * 0.1), 16000)
    for name, audio in (("train", "a.wav:0:16000"), ("test", "a.wav:16000:16000")):
        write_manifest(
            tmp_path / f"{name}.tsv", [{"id": name, "audio": audio, "n_frames": 98}], ["id", "audio", "n_frames"]
        )
    assert main([str(tmp_path)]) == 0
    assert "warning" not in capsys.readouterr().err


def test_ids_of_two_shards_are_a_warning(folder, capsys):
    rows = [{"id": name, "audio": "0.flac", "n_frames": 48} for name in ("other", "u1")]
    write_manifest(folder / "train-01.tsv", rows, ["id", "audio", "n_frames"])
    assert main([str(folder / "train.tsv"), str(folder / "train-01.tsv")]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert warnings == [f"warning: {folder}/train-01.tsv: 1 ids are also in train.tsv, such as 'u1' in line 3"]


# ---------------------------------------------------------------------------------------------------------------------
# text, vocabularies, corpora.yaml


@pytest.fixture
def data(folder):
    """A data folder for pre-training without a fault."""
    sentences = ["the cat sat on the mat", "a dog ran", "birds sing at dawn"]
    train_vocabulary(sentences, folder, 60, "char")
    (folder / "prose.txt").write_text("\n".join(sentences) + "\n\n")
    binarize(folder / "prose.txt", folder, folder / "text/train")
    corpora = {
        "talk": {"kind": "speech", "train": ["train.tsv"], "budget": 3000},
        "prose": {"kind": "text", "train": ["text/train"], "budget": 512},
    }
    values = {"corpora": corpora, "objectives": {"span_mlm": {}, "contrastive": {}}}
    (folder / "corpora.yaml").write_text(yaml.safe_dump(values))
    return folder


def test_a_data_folder_without_a_fault(data, capsys):
    assert main([str(data)]) == 0, capsys.readouterr()
    assert "0 faults in 2 manifests and 3 other files" in capsys.readouterr().err


def test_each_other_file_at_fault_is_named(data, capsys):
    index = data / "text/train.idx"
    cut_short(data / "text/train.bin")
    lines = (data / "dict.txt").read_text().splitlines()
    (data / "dict.txt").write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")
    spoil(data / "corpora.yaml", "span_mlm", "span_mml")
    assert main([str(data)]) == 1
    found = capsys.readouterr().out.splitlines()
    assert len(found) == 3
    assert found[0].startswith(f"{index.with_suffix('.bin')}: found ")
    assert "dict.txt and spm.model do not match: line 1" in found[1]
    assert found[2].startswith(f"{data}/corpora.yaml:") and "span_mml" in found[2]


def test_rows_that_training_refuses_by_their_lengths_are_named(data, capsys):
    manifest = Manifest.open(data / "train.tsv")
    frames = manifest.column("n_frames")
    values = yaml.safe_load((data / "corpora.yaml").read_text())
    values["corpora"]["talk"] |= {"min_length": int(frames.min()), "max_length": int(frames.max()) - 1}
    (data / "corpora.yaml").write_text(yaml.safe_dump(values))
    assert main([str(data)]) == 1
    found = capsys.readouterr().out.splitlines()
    lines = [line_of(row) for row in range(len(manifest)) if frames[row] == frames.max()]
    assert [int(line.split(":")[1]) for line in found] == lines
    assert all("(max_length of the corpus talk)" in line for line in found)
    values["corpora"]["talk"] |= {"min_length": int(frames.max()) + 1, "max_length": 3000}
    (data / "corpora.yaml").write_text(yaml.safe_dump(values))
    assert main([str(data / "corpora.yaml"), "--no-decode"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == len(manifest)


def test_text_of_a_larger_dictionary_is_named(data, capsys):
    labels = data / "text/dict.txt"
    labels.write_text("a 1\n")
    assert main([str(data / "text")]) == 1
    assert "but dict.txt has 5: binarize again" in capsys.readouterr().out
    labels.unlink()
    assert main([str(data / "text")]) == 1
    assert "found no dict.txt beside it or above" in capsys.readouterr().out


def test_dictionaries_and_corpora_that_are_no_utf8_are_named(data, capsys):
    (data / "labels").mkdir()
    (data / "labels/dict.txt").write_bytes(b"\xff 1\n")
    (data / "corpora.yaml").write_bytes(b"mode: \xff\n")
    assert main([str(data)]) == 1
    found = capsys.readouterr().out.splitlines()
    assert len(found) == 2 and "labels/dict.txt: expected UTF-8" in found[0] and "corpora.yaml" in found[1]


def test_a_file_is_checked_as_what_it_is_in_a_folder(data, capsys):
    (data / "labeled.tsv").write_text("neutral\ta man sleeps\n")
    assert main([str(data / "labeled.tsv"), str(data / "text/train.idx")]) == 0
    assert "0 faults in 0 manifests and 2 other files" in capsys.readouterr().err


def test_labeled_sentences_are_no_manifest(tmp_path, capsys):
    (tmp_path / "mnli").mkdir()
    (tmp_path / "mnli/train.tsv").write_text("neutral\ta man sleeps\tsomebody rests\n-\ta\tb\n")
    assert main([str(tmp_path)]) == 0
    assert "0 faults in 0 manifests and 1 other files" in capsys.readouterr().err
    (tmp_path / "mnli/valid.tsv").write_text("neutral\ta\tb\nneutral\ta\n")
    (tmp_path / "mnli/lost.tsv").write_text("a\ta.wav\t100\n")
    assert main([str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert "valid.tsv:2: found 1 texts, expected 2 as in line 1" in output
    assert "lost.tsv:1: the header lacks id, audio, n_frames" in output
