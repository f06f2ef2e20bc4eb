"""Bad input is refused before training starts, with the file, the line and what was expected."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fairseq.distributed import utils as distributed_utils

from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.errors import DataError
from tests.support import training

SECOND = np.random.default_rng(1).standard_normal(SAMPLE_RATE) * 0.1  # 98 frames


def start(folder: Path, **flags) -> None:
    """Do what fairseq-train does with the data before the first update."""
    task = training.make_task(folder, **flags)
    for subset in ("valid", "train"):
        task.load_dataset(subset)


def refusal(folder: Path, **flags) -> str:
    with pytest.raises((DataError, ValueError)) as error:
        start(folder, **flags)
    return str(error.value)


def add_row(folder: Path, manifest: str, **values) -> tuple[Path, int]:
    """Append a copy of the first row with other ``values``. Return the file and the new line's number."""
    path = folder / manifest
    header, first, *rest = path.read_text().splitlines()
    row = dict(zip(header.split("\t"), first.split("\t"), strict=True)) | {"id": "bad"} | values
    path.write_text("\n".join([header, first, *rest, "\t".join(map(str, row.values()))]) + "\n")
    return path, 3 + len(rest)


def add_sound(folder: Path, samples: np.ndarray, n_frames: int, manifest: str = "speech/a.tsv") -> tuple[Path, int]:
    training.write_sound(folder, "bad", samples)
    return add_row(folder, manifest, audio="wav/bad.wav", n_frames=n_frames)


# ---------------------------------------------------------------------------------------------------------------------
# audio


def missing(folder):
    return add_row(folder, "speech/a.tsv", audio="wav/bad.wav")


def no_sound_file(folder):
    (folder / "wav/bad.wav").write_text("this is no sound\n" * 100)
    return add_row(folder, "speech/a.tsv", audio="wav/bad.wav")


def cut_short(folder):
    place = add_sound(folder, SECOND, 98)
    path = folder / "wav/bad.wav"
    path.write_bytes(path.read_bytes()[:-20000])
    return place


def no_samples(folder):
    return add_sound(folder, SECOND[:0], 98)


def less_than_a_window(folder):
    return add_sound(folder, SECOND[:399], 98)


def not_a_number(folder):
    return add_sound(folder, np.where(np.arange(SAMPLE_RATE) == 9000, np.nan, SECOND), 98)


def features_not_a_number(folder):
    np.save(folder / "wav/bad.npy", np.where(np.arange(98 * 80).reshape(98, 80) == 99, np.nan, 1.0).astype(np.float16))
    return add_row(folder, "speech/a.tsv", audio="wav/bad.npy", n_frames=98)


def another_length(folder):
    return add_sound(folder, SECOND, 97)


def in_a_later_shard(folder):
    path = folder / "speech/b.tsv"
    path.write_text(path.read_text("utf-8-sig"))
    return add_row(folder, "speech/b.tsv", audio="wav/bad.wav")


def in_validation_data(folder):
    return add_row(folder, "pairs/valid.tsv", audio="wav/bad.wav")


AUDIO = [
    (missing, "wav/bad.wav.*no such file"),
    (no_sound_file, "wav/bad.wav: cannot be decoded"),
    (cut_short, r"wav/bad.wav: has \d\d frames, but n_frames is 98"),
    (no_samples, "wav/bad.wav: holds no samples"),
    (less_than_a_window, "wav/bad.wav: 399 samples.*400"),
    (not_a_number, "wav/bad.wav: holds samples that are infinite or no number"),
    (features_not_a_number, "wav/bad.npy: holds features that are infinite or no number"),
    (another_length, "wav/bad.wav: has 98 frames, but n_frames is 97"),
    (in_a_later_shard, "wav/bad.wav.*no such file"),
    (in_validation_data, "wav/bad.wav.*no such file"),
]


@pytest.mark.parametrize(("spoil", "message"), AUDIO)
def test_audio_that_cannot_be_used_is_named_with_its_line(own_toy, spoil, message):
    path, line = spoil(own_toy)
    (said,) = refusal(own_toy).splitlines()
    assert said.startswith(f"{path}:{line}: ")
    assert re.search(message, said)


# ---------------------------------------------------------------------------------------------------------------------
# rows


def ten_minutes(folder):
    return add_row(folder, "speech/a.tsv", n_frames=60_000)


def ten_milliseconds(folder):
    return add_row(folder, "speech/a.tsv", n_frames=1)


def empty_transcript(folder):
    return add_row(folder, "pairs/train.tsv", tgt_text=" ")


def no_number(folder):
    return add_row(folder, "speech/a.tsv", n_frames="long")


def duplicate(folder):
    return add_row(folder, "speech/a.tsv", id="a3")


def stray_tab(folder):
    return add_row(folder, "pairs/train.tsv", tgt_text="baka\tdemen")


def no_transcripts(folder):
    shutil.copy(folder / "speech/a.tsv", folder / "pairs/train.tsv")
    return folder / "pairs/train.tsv", 1


def another_header(folder):
    path = folder / "speech/a.tsv"
    path.write_text(path.read_text().replace("n_frames", "frames", 1))
    return path, 1


ROWS = [
    (ten_minutes, "bad: 60000 frames (600.00 s), expected at most 300"),
    (ten_milliseconds, "bad: 1 frames (0.01 s), expected at least 20"),
    (empty_transcript, "bad: tgt_text is empty"),
    (no_number, "n_frames is 'long', expected an integer"),
    (duplicate, "id 'a3' occurs already in line 5"),
    (stray_tab, "5 columns, expected the 4 of the header"),
    (no_transcripts, "there is no column tgt_text, which is needed; found id, audio, n_frames"),
    (another_header, "the header lacks n_frames: found ['id', 'audio', 'frames'], expected"),
]


@pytest.mark.parametrize(("spoil", "message"), ROWS)
def test_rows_that_cannot_be_used_are_named_with_their_line(own_toy, spoil, message):
    path, line = spoil(own_toy)
    (said,) = refusal(own_toy).splitlines()
    assert said.startswith(f"{path}:{line}: ")
    assert message in said


def test_all_faults_of_a_manifest_are_listed_at_once(own_toy):
    path, first = add_row(own_toy, "speech/a.tsv", id="one", n_frames=60_000)
    add_row(own_toy, "speech/a.tsv", id="two", n_frames=3)
    assert [line.partition(": ")[0] for line in refusal(own_toy).splitlines()] == [
        f"{path}:{first}",
        f"{path}:{first + 1}",
    ]


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(toy):
    assert (toy / "speech/b.tsv").read_bytes().startswith(b"\xef\xbb\xbfid\taudio\tn_frames\r\n")
    task = training.make_task(toy)
    task.load_dataset("train", epoch=2)
    assert len(task.datasets["train"].batches["talk"].indices) == 11
    assert task.datasets["train"].corpora["talk"].item(10, 0)["features"].shape[1] == 80


# ---------------------------------------------------------------------------------------------------------------------
# corpora.yaml and flags


def absent_shard(corpora):
    corpora["corpora"]["talk"]["train"].append("speech/c.tsv")


def absent_text(corpora):
    corpora["corpora"]["prose"]["train"][1] = "text/c"


def unknown_kind(corpora):
    corpora["corpora"]["talk"]["kind"] = "song"


def unknown_option(corpora):
    corpora["corpora"]["talk"]["block"] = 24


def unknown_objective(corpora):
    corpora["objectives"]["guessing"] = {}


def unknown_option_of_an_objective(corpora):
    corpora["objectives"]["contrastive"]["temperature"] = 1.0


def lacking_objective(corpora):
    del corpora["objectives"]["contrastive"]


def no_objective_of_a_kind(corpora):
    del corpora["objectives"]["tlm"], corpora["objectives"]["stm"]


def unknown_negatives(corpora):
    corpora["objectives"]["stm"]["negatives"] = "air"


def codebook_of_one(corpora):
    corpora["objectives"]["contrastive"]["codes"] = 1


YAML = [
    (absent_shard, "talk:", r"corpora\.talk\.train\.2: found no file .*speech/c\.tsv, expected a file that exists"),
    (absent_text, "- text/c", r"corpora\.prose\.train\.1: found no file .*text/c\.bin, expected a file that exists"),
    (unknown_kind, "kind: song", r"corpora\.talk\.kind: found 'song', expected one of: speech, text, pairs"),
    (
        unknown_option,
        "block: 24",
        r"corpora\.talk\.block: found the unknown name 'block', expected one of: .*audio_root",
    ),
    (unknown_objective, "guessing", r"objectives\.guessing: found the unknown name 'guessing', expected one of: .*stm"),
    (
        unknown_option_of_an_objective,
        "temperature",
        r"objectives\.contrastive\.temperature: found the unknown name .*, expected one of: .*codes",
    ),
    (lacking_objective, None, r"objectives\.masked_prediction: needs contrastive as well, found masked_prediction, "),
    (no_objective_of_a_kind, None, r"corpora\.told: no objective uses its kind, pairs"),
    (codebook_of_one, None, r"objectives\.contrastive\.codes: found 1, expected at least 2"),
    (unknown_negatives, None, r"objectives\.stm\.negatives: found 'air', expected one of batch, hard, text"),
]


@pytest.mark.parametrize(("spoil", "place", "message"), YAML)
def test_faults_of_corpora_yaml_are_named_with_their_line(own_toy, spoil, place, message):
    path = training.write_corpora(own_toy, spoil)
    (said,) = refusal(own_toy).splitlines()
    assert re.search(message, said)
    assert said.startswith(f"{path}:")
    if place is not None:
        named = re.match(rf"{re.escape(str(path))}:(\d+): ", said)
        lines = path.read_text().splitlines()
        place = "speech/c.tsv" if spoil is absent_shard else place
        assert place in lines[int(named[1]) - 1]


def test_no_yaml_at_all(own_toy):
    path = own_toy / "corpora.yaml"
    path.write_text("corpora: [\n  talk\n")
    assert re.match(rf"{path}:\d+: is not YAML", refusal(own_toy))
    path.unlink()
    assert str(path) in refusal(own_toy)


def test_a_corpus_smaller_than_the_number_of_ranks_is_named(own_toy, monkeypatch):
    monkeypatch.setattr(distributed_utils, "get_data_parallel_world_size", lambda: 7)
    said = refusal(own_toy)
    assert "corpus 'prose', shard valid: 5 items" in said and "7 ranks" in said


@pytest.mark.parametrize("flag", ["fp16", "bf16", "amp"])
def test_flags_that_cast_everything_are_refused_with_a_word_on_why(toy, flag):
    said = refusal(toy, **{flag: True})
    assert f"--{flag}" in said and "norms" in said and "--autocast bf16" in said


def test_saves_that_nobody_waits_for_are_refused_with_a_word_on_why(toy):
    said = refusal(toy, write_checkpoints_asynchronously=True)
    assert "--write-checkpoints-asynchronously: found on" in said and "checkpoint_last.pt" in said


@pytest.mark.parametrize("flag", ["skip_remainder_batch", "grouped_shuffling", "curriculum", "fix_batches_to_gpus"])
def test_flags_without_a_meaning_under_the_plan_are_refused_by_name(toy, flag):
    assert f"--{flag.replace('_', '-')}: " in refusal(toy, **{flag: 1 if flag == "curriculum" else True})


def test_an_unknown_subset_is_named_with_those_there_are(toy):
    with pytest.raises(ValueError, match="valid_nobody: expected valid or one of valid_talk, valid_prose, valid_told"):
        training.make_task(toy).load_dataset("valid_nobody")


def test_a_text_of_a_larger_vocabulary_is_named(own_toy):
    path = own_toy / "text/a.bin"
    symbols = np.fromfile(path, dtype=np.uint16)
    symbols[7] = 600
    symbols.tofile(path)
    assert re.search(rf"{path}: sentence \d+ holds symbol 600, but dict.txt has \d+", refusal(own_toy))


def test_a_dictionary_that_is_not_the_models_is_named(own_toy):
    path = own_toy / "dict.txt"
    path.write_text("baka 1\n" + path.read_text())
    assert "dict.txt and spm.model do not match: line 1 of dict.txt is 'baka'" in refusal(own_toy)


def test_one_subset_of_pairs_finds_the_text_for_its_false_transcripts(own_toy):
    training.write_corpora(own_toy, lambda c: c["objectives"]["stm"].update(negatives="text"))
    task = training.make_task(own_toy)
    task.load_dataset("valid_told")
    assert list(task.datasets["valid_told"].corpora) == ["told"]
    steps = task.get_batch_iterator(task.datasets["valid_told"]).next_epoch_itr()
    matches = [match for step in steps for match in step["batches"][0]["matches"].tolist()]
    assert len(matches) == 6 and not all(matches)


# ---------------------------------------------------------------------------------------------------------------------
# whole runs


@pytest.mark.parametrize(
    ("spoil", "flags", "message"),
    [
        (less_than_a_window, {}, "wav/bad.wav: 399 samples"),
        (None, {"fp16": True}, "--fp16: found on, expected off"),
        (None, {"valid_subset": "valid,valid_nobody"}, "expected valid or one of valid_talk"),
    ],
)
def test_a_run_on_bad_input_ends_before_it_trains_and_leaves_nothing(own_toy, tmp_path, spoil, flags, message):
    place = spoil(own_toy) if spoil else None
    run = training.train(own_toy, tmp_path / "out", **flags)
    assert run.code != 0
    (line,) = [line for line in run.output.splitlines() if message in line]
    assert place is None or f"{place[0]}:{place[1]}: " in line
    assert not run.logs
    assert not list(run.folder.glob("*.pt"))
