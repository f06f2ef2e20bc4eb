"""slam_sentence_prediction through fairseq-train, on one rank and on two, and what it refuses."""

import copy
import re
import shutil

import numpy as np
import pytest
from fairseq import tasks
from omegaconf import OmegaConf
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from data_prep.text.vocab import train_vocabulary
from slam_plugin.commands.predict import load_classifier, predict
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, Vocabulary
from tests.support import training
from tests.support.sentences import write_folder, write_labels, write_side

FLAGS = {
    "task": "slam_sentence_prediction",
    "arch": "slam_classifier_tiny",
    "criterion": "sentence_prediction",
    "optimizer": "slam_adamw",
    "adam_betas": None,
    "steps_per_epoch": None,
    "update_freq": 1,
    "batch_size": 4,
    "batch_size_valid": 3,
}
PAIRS = {**FLAGS, "valid_subset": "valid,valid_mismatched", "validate_interval": 3, "save_interval_updates": 12}
PAIRS |= {"lr": 0.01, "warmup_init_lr": 0.01, "warmup_updates": 10, "max_update": 34}
SCORES = ("accuracy", "mcc", "f1")


def rows_of(random, count):
    """Pairs of sentences. Label 1 is for those whose first sentence is of words that begin like the first ones."""
    words = {1: training.WORDS[:10], 0: training.WORDS[10:]}

    def sentence(words):
        return " ".join(random.choice(words, random.integers(2, 7)))

    return [(label, sentence(words[label]), sentence(training.WORDS)) for label in random.integers(0, 2, count)]


def label_of(first):
    return int(first.split()[0] in training.WORDS[:10])


@pytest.fixture(scope="module")
def pairs(toy, tmp_path_factory):
    """20 pairs to train on, and two validation sets of 7 and 5, which two ranks cannot halve. Label 1 comes first."""
    random = np.random.default_rng(0)
    splits = {split: rows_of(random, count) for split, count in (("train", 20), ("valid", 7), ("valid_mismatched", 5))}
    return write_folder(tmp_path_factory.mktemp("pairs"), toy, splits, ["1", "0"])


@pytest.fixture(scope="module")
def numbers(toy, tmp_path_factory):
    """Sentences, and how long they are."""
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(training.WORDS, random.integers(1, 12))) for _ in range(23)]
    rows = [(len(text) / 10, text) for text in texts]
    splits = {"train": rows[:16], "valid": rows[16:]}
    return write_folder(tmp_path_factory.mktemp("numbers"), toy, splits, None)


@pytest.fixture(scope="module")
def run(pairs, reference, tmp_path_factory):
    """34 updates from a pre-training checkpoint, with the best checkpoint by F1."""
    folder = tmp_path_factory.mktemp("run")
    best = {"best_checkpoint_metric": "f1", "maximize_best_checkpoint_metric": True, "patience": 5}
    flags = {"pretrained": reference.folder / "checkpoint_last.pt", **best}
    run = training.train(pairs, folder, **{**PAIRS, **flags})
    assert run.code == 0, run.output[-3000:]
    return run


def last_scores(run):
    return {tag: [run.logged(tag)[-1][name] for name in SCORES] for tag in ("valid", "valid_mismatched")}


def test_a_run_starts_from_the_trunk_and_keeps_the_best_by_f1(run):
    assert re.search(r"checkpoint_last\.pt: took \d+ tensors", run.output)
    assert re.search(r"checkpoint_last\.pt: did not take \d+ tensors: .*trunk\.subsampler", run.output)
    validations = run.logged("valid")
    assert len(validations) == len(run.logged("valid_mismatched")) > 2
    best = max(validations, key=lambda scores: scores["f1"])["f1"]
    assert run.checkpoint("checkpoint_best.pt")["extra_state"]["val_loss"] == best
    assert run.checkpoint("checkpoint_last.pt")["extra_state"]["best"] == best


def test_validation_scores_are_those_of_the_predictions_without_the_data_folder(run, pairs, tmp_path):
    """The checkpoint and the texts are enough: vocabulary, labels and what they mean are in it."""
    moved = shutil.copytree(pairs, tmp_path / "moved", ignore=shutil.ignore_patterns("dict.txt", "spm.model", "label"))
    task, model = load_classifier(run.folder / "checkpoint_last.pt", moved)
    assert task.labels == ("1", "0") and task.positive == 0
    for split, expected in last_scores(run).items():
        found = predict(task, model, split)
        assert found.targets is None
        predicted = [int(task.labels[label]) for label in found.predictions]
        true = [label_of(first) for first in (pairs / f"{split}.0.txt").read_text().splitlines()]
        scores = accuracy_score(true, predicted), matthews_corrcoef(true, predicted), f1_score(true, predicted)
        assert expected == pytest.approx([100 * score for score in scores], abs=0.05)


def test_two_ranks_score_as_one(run, pairs, tmp_path):
    """The same weights, which a rate of 0 leaves as they are, on validation sets of 7 and 5 in batches of 3."""
    reset = {f"reset_{what}": True for what in ("optimizer", "dataloader", "meters", "lr_scheduler")}
    still = {"restore_file": run.folder / "checkpoint_last.pt", **reset, "lr": 0, "warmup_init_lr": 0, "max_update": 1}
    two = training.train(pairs, tmp_path, 2, **{**PAIRS, **still})
    assert two.code == 0, two.output[-3000:]
    assert last_scores(two) == last_scores(run)
    assert two.logged("valid")[-1]["loss"] == pytest.approx(run.logged("valid")[-1]["loss"], abs=0.002)
    assert not training.differing(two.checkpoint()["model"], run.checkpoint()["model"])


def test_a_resumed_run_is_the_uninterrupted_one_without_the_pretrained_file(run, pairs, tmp_path):
    shutil.copy(run.folder / "checkpoint_5_24.pt", tmp_path / "checkpoint_last.pt")
    resumed = training.train(pairs, tmp_path, **{**PAIRS, "pretrained": tmp_path / "gone.pt"})
    assert resumed.code == 0, resumed.output[-3000:]
    one, other = run.checkpoint(), resumed.checkpoint()
    for part in ("model", "last_optimizer_state"):
        assert not training.differing(one[part], other[part])
    assert last_scores(resumed) == last_scores(run)


def test_a_regression_on_two_ranks_logs_the_correlation_of_its_predictions(numbers, tmp_path):
    flags = {
        **FLAGS,
        "regression_target": True,
        "max_update": 4,
        "lr": 0.01,
        "warmup_init_lr": 0.01,
        "autocast": "none",
    }
    metric = {"best_checkpoint_metric": "pearson", "maximize_best_checkpoint_metric": True}
    two = training.train(numbers, tmp_path, 2, **flags, **metric)
    assert two.code == 0, two.output[-3000:]
    task, model = load_classifier(tmp_path / "checkpoint_last.pt", numbers)
    assert task.regresses and task.labels is None
    found = predict(task, model, "valid")
    true = [float(line) for line in (numbers / "label/valid.label").read_text().split()]
    expected = 100 * pearsonr(found.predictions.numpy(), true)[0]
    assert two.logged("valid")[-1]["pearson"] == pytest.approx(expected, abs=0.02)
    assert two.checkpoint()["task_state"]["labels"] == []


# ---- in this process


@pytest.fixture(scope="module")
def whole(pairs):
    """fairseq's configuration of a run, which takes long to parse."""
    return training.configuration(pairs, **FLAGS)


@pytest.fixture
def build(whole):
    """Set up the task over a folder and build its model. Fields of other sections reach a task as its own."""

    def build(data, pretrained=None, **fields):
        config = copy.deepcopy(whole)
        config.task.update(data=str(data), **fields)
        config.model.pretrained = pretrained
        task = tasks.setup_task(config.task)
        task.build_model(config.model)
        return task

    return build


@pytest.fixture
def own_pairs(pairs, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(pairs, tmp_path / "pairs")


def test_what_is_too_long_is_cut_and_counted(pairs, build, caplog):
    task = build(pairs, max_positions=12)
    with caplog.at_level("INFO"):
        task.load_dataset("train")
    cut = task.dataset("train").cut
    assert 0 < cut < 20 and f"20 rows, {cut} cut to 12 tokens" in caplog.text
    assert max(task.dataset("train").sizes) == 12


def test_another_vocabulary_than_the_pretrained_one_is_refused_with_both_hashes(toy, reference, build, tmp_path):
    train_vocabulary(["e f g", "h i j"], tmp_path / "other", 50, "char")
    folder = write_folder(
        tmp_path / "data", tmp_path / "other", {"train": [("no", "e f"), ("yes", "h")]}, ["no", "yes"]
    )
    with pytest.raises(DataError) as error:
        build(folder, pretrained=str(reference.folder / "checkpoint_last.pt"))
    for part in (Vocabulary.load(toy).hash, Vocabulary.load(folder).hash, "checkpoint_last.pt", str(folder)):
        assert part in str(error.value)


def test_other_labels_than_a_checkpoints_are_refused(run, own_pairs, build):
    write_labels(own_pairs, "valid", ["0"] * 7, ["0", "1"])
    with pytest.raises(DataError, match=r"found the labels 0, 1; expected those of .*checkpoint_last\.pt: 1, 0"):
        load_classifier(run.folder / "checkpoint_last.pt", own_pairs)
    with pytest.raises(DataError, match="found the labels 0, 1; expected"):
        build(own_pairs, save_dir=str(run.folder))
    with pytest.raises(DataError, match=r"found the labels none \(regression\); expected"):
        build(own_pairs, save_dir=str(run.folder), regression_target=True)


def test_a_checkpoint_without_labels_is_named(pairs, whole):
    task = tasks.setup_task(whole.task)
    with pytest.raises(DataError, match="the checkpoint: is not a checkpoint of a classifier; found .* vocabulary$"):
        task.load_state_dict({"vocabulary": task.vocabulary.state()})


@pytest.mark.parametrize("flag", ["report_mcc", "report_acc_and_f1", "report_pearson_and_spearman"])
def test_scores_from_lists_are_refused_with_a_word_on_why(pairs, whole, build, flag):
    criterion = OmegaConf.merge(whole.criterion, {flag: True})
    with pytest.raises(ValueError, match=f"--{flag.replace('_', '-')}: .* cannot be added up over ranks"):
        build(pairs).build_criterion(criterion)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_classes": 3}, r"--num-classes: found 3, expected 2, as in .*label/dict\.txt: 1, 0"),
        ({"num_classes": 2, "regression_target": True}, "--num-classes: found 2, expected 1 for regression"),
        ({"positive_label": "yes"}, "--positive-label: found yes, expected one of two labels"),
        ({"max_positions": 4}, "--max-positions: found 4, expected at least 8"),
        ({"fp16": True}, "--fp16: .*--autocast bf16"),
    ],
)
def test_flags_that_do_not_fit_are_named(pairs, build, fields, message):
    with pytest.raises(ValueError, match=message):
        build(pairs, **fields)


def test_a_model_of_another_kind_is_named(pairs):
    task = training.make_task(pairs, **FLAGS)
    with pytest.raises(ValueError, match="--arch: found slam_ctc, expected slam_classifier"):
        task.build_model(training.configuration(pairs, **{**FLAGS, "arch": "slam_ctc_tiny"}).model)


def test_the_positive_label_is_1_unless_told_otherwise(pairs, build):
    assert build(pairs).positive == 0
    assert build(pairs, positive_label="0").positive == 1


def test_faults_of_the_data_are_named_before_training(own_pairs, build):
    task = build(own_pairs)
    with pytest.raises(DataError, match=r"input0/dev\.idx: not found"):
        task.load_dataset("dev")
    write_side(own_pairs, "train", 1, ["baka"])
    with pytest.raises(DataError, match="different numbers of rows: .*input0/train has 20, .*input1/train has 1"):
        task.load_dataset("train")
    (own_pairs / "label/valid.idx").unlink()
    with pytest.raises(DataError, match=r"label/valid\.idx: there is no such file"):
        task.load_dataset("valid")
    (own_pairs / "input0" / DICTIONARY_FILE).write_text("a 1\n")
    with pytest.raises(DataError, match=r"input0/dict\.txt: differs from .*pairs/dict\.txt at line 1 \(found"):
        build(own_pairs)


def test_a_symbol_beyond_the_dictionary_is_named(toy, own_pairs, build, tmp_path):
    characters = "".join(chr(code) for code in range(ord("A"), ord("A") + 80))
    train_vocabulary([" ".join(characters)], tmp_path / "large", 100, "char")
    rows = [("0", "A B", " ".join(characters))] * 7
    larger = write_folder(tmp_path / "other", tmp_path / "large", {"valid": rows}, ["1", "0"])
    assert len(Vocabulary.load(larger).dictionary) > len(Vocabulary.load(toy).dictionary)
    for suffix in (".bin", ".idx"):
        shutil.copy(larger / f"input1/valid{suffix}", own_pairs / "input1")
    with pytest.raises(DataError, match=r"input1/valid\.bin: sentence 0 holds symbol \d+, but dict\.txt has"):
        build(own_pairs).load_dataset("valid")


def test_training_needs_labels(own_pairs, build):
    (own_pairs / "label" / DICTIONARY_FILE).unlink()
    with pytest.raises(DataError, match=r"label/dict\.txt: there is no such file; for numbers .* --regression-target"):
        build(own_pairs)
