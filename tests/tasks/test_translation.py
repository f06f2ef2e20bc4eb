"""slam_translation through fairseq's own commands, on a text normalization task small enough to memorize."""

import json
import re
import shutil

import pytest

from slam_plugin.scoring import text as scoring
from tests.support import training
from tests.support.commands import fairseq
from tests.support.normalization import CLASSES, ROWS, SIZES, SPOKEN, WRITTEN, build

LONGEST = 45  # tokens of a hypothesis
COMMAND = ["--task", "slam_translation", "--max-len-b", LONGEST, "--cpu"]
EACH, UPDATES = 105, 240  # an epoch has four batches, so that the two saves are within one
SCORES = ("accuracy", "wer", "cer", "bleu")
EVAL = {"eval_accuracy": True, "eval_wer": True, "eval_bleu": True, "eval_args": json.dumps({"max_len_b": LONGEST})}
FLAGS = {
    "task": "slam_translation",
    "arch": "slam_text_to_text_tiny",
    **SIZES,
    "dropout": 0.02,
    "decoder_dropout": 0.02,
    "criterion": "label_smoothed_cross_entropy",
    "label_smoothing": 0.1,
    "optimizer": "slam_adamw",
    "lr": 0.005,
    "lr_scheduler": "polynomial_decay",
    "warmup_updates": 20,
    "total_num_update": UPDATES,
    "update_freq": 1,
    "batch_size": 6,
    "save_interval": 99,  # epochs: more than there are
    **EVAL,
    # of pre-training alone
    **dict.fromkeys(("speech_layers", "subsample_channels", "autocast", "steps_per_epoch", "warmup_init_lr")),
    **dict.fromkeys(("adam_betas", "weight_decay")),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("normalization")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run that was not stopped, and saved and validated twice on its way."""
    folder = tmp_path_factory.mktemp("whole")
    done = training.train(data, folder, **FLAGS, save_interval_updates=EACH, validate_interval=99, max_update=UPDATES)
    assert done.code == 0, done.output[-3000:]
    return done


def saved(run, update):
    (path,) = run.folder.glob(f"checkpoint_*_{update}.pt")
    return path


@pytest.fixture(scope="module")
def half(run):
    """A checkpoint that gets some sentences right, and its validation scores."""
    scores = next(scores for scores in run.logged("valid") if 5 < scores["accuracy"] < 95)
    return saved(run, int(scores["num_updates"])), scores


@pytest.fixture(scope="module")
def decoded(data, half, tmp_path_factory):
    """What fairseq-generate wrote with that checkpoint, in a folder that has nothing but the text."""
    folder = tmp_path_factory.mktemp("moved")
    for path in data.glob("valid.written-spoken.*"):
        shutil.copy(path, folder)
    how = [*COMMAND, "--path", half[0], "--gen-subset", "valid", "--beam", 1, "--scoring", "sacrebleu"]
    fairseq("generate", folder / "generated", folder, *how)
    return folder / "generated"


def lines_of(kind, output):
    """Text by row, the first where there are several."""
    found = re.findall(rf"^{kind}-(\d+)\t(?:-?[\d.e-]+\t)?(.*)$", output, re.M)
    return [dict(reversed(found))[str(row)] for row in range(len({row for row, _ in found}))]


def test_real_pairs_are_memorized(run):
    last = run.logged("valid")[-1]
    assert [last[name] for name in SCORES] == [100, 0, 0, 100]
    assert all(last[f"accuracy_{name}"] == 100 for name in CLASSES)


def test_validation_scores_what_generate_writes(data, half, decoded):
    logged = half[1]
    found = scoring.score_file(decoded, SCORES)
    for name, members in scoring.classes_of(scoring.read_generated(decoded), data / "valid.classes").items():
        found[f"accuracy_{name}"] = scoring.accuracy(*zip(*((g.hypothesis, g.reference) for g in members), strict=True))
    names = [*SCORES, *(f"accuracy_{name}" for name in CLASSES)]
    assert {name: logged[name] for name in names} == {name: pytest.approx(found[name], abs=0.006) for name in names}
    bleu = re.search(r"BLEU = ([\d.]+)", decoded.read_text())
    assert float(bleu[1]) == pytest.approx(logged["bleu"], abs=0.006)
    right = {name: [] for name in CLASSES}
    for row, hypothesis in zip(ROWS, lines_of("D", decoded.read_text()), strict=True):
        right[row[0].lower()].append(hypothesis == row[2])
    assert {name: round(100 * sum(of) / len(of), 2) for name, of in right.items()} == {
        name: logged[f"accuracy_{name}"] for name in CLASSES
    }


def test_text_is_plain_where_no_vocabulary_is_left(decoded):
    output = decoded.read_text()
    assert lines_of("S", output) == WRITTEN and lines_of("T", output) == SPOKEN
    pieces = lines_of("H", output)
    assert lines_of("D", output) == [text.replace(" ", "").replace("▁", " ").strip() for text in pieces]
    assert "▁" in pieces[0]


def test_typed_text_is_decoded_to_several_hypotheses(run, decoded, tmp_path):
    (tmp_path / "typed").write_text("".join(f"{line}\n" for line in WRITTEN[:8]))
    how = [*COMMAND, "--path", run.folder / "checkpoint_last.pt", "--beam", 2, "--nbest", 2]
    how += ["--buffer-size", 9, "--batch-size", 3, "--input", tmp_path / "typed"]
    output = fairseq("interactive", tmp_path / "log", decoded.parent, *how)
    assert sum(map(str.__eq__, lines_of("D", output), SPOKEN[:8])) >= 6
    assert [len(re.findall(rf"^D-{row}\t", output, re.M)) for row in range(9)] == [2] * 8 + [0]


def test_two_ranks_validate_as_one(data, half, tmp_path):
    """Five batches and one, of which the second rank has two and none. The ranks' batches have different classes."""
    checkpoint, logged = half
    flags = {**FLAGS, "lr": 1e-20, "warmup_updates": 0, "max_update": 1}
    flags.update(restore_file=checkpoint, reset_optimizer=True, reset_dataloader=True, reset_meters=True)
    flags.update(valid_subset="valid,single", batch_size_valid=5, no_save=True)
    run = training.train(data, tmp_path, 2, **flags)
    assert run.code == 0, run.output[-3000:]
    (found,), (single,) = run.logged("valid"), run.logged("single")
    names = [*SCORES, *(f"accuracy_{name}" for name in CLASSES)]
    assert {name: found[name] for name in names} == {name: logged[name] for name in names}
    assert found["loss"] == pytest.approx(logged["loss"], abs=0.002)
    assert {name for name in single if name.startswith("accuracy")} == {"accuracy", "accuracy_time"}
    assert single["accuracy"] == single["accuracy_time"] in (0, 100)


def test_a_resumed_run_is_the_uninterrupted_one(data, run, tmp_path):
    shutil.copy(saved(run, 2 * EACH), tmp_path / "checkpoint_last.pt")
    parts = training.train(data, tmp_path, **FLAGS, validate_interval=99, max_update=UPDATES)
    assert parts.code == 0, parts.output[-3000:]
    whole, resumed = run.checkpoint(), parts.checkpoint()
    assert not training.differing(whole["model"], resumed["model"])
    assert not training.differing(whole["last_optimizer_state"], resumed["last_optimizer_state"])
    assert run.logged("valid")[-1]["loss"] == parts.logged("valid")[-1]["loss"]
