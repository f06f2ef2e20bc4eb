"""Real sentences, memorized, and the command that predicts, scores and writes GLUE's submission files."""

import json
import shutil

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

from data_prep.text.vocab import train_vocabulary
from slam_plugin.commands.predict import Predicted, load_classifier, main, predict, score, write_predictions
from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from tests.support import training
from tests.support.sentences import write_folder

REVIEWS = """1 a warm and funny film with a great heart
1 the best thing i have seen on a screen this year
1 she plays the old queen with grace and wit
1 a small wonder from the first frame to the last
1 every scene is a joy to watch
1 i laughed and wept and went back the next day
1 the songs alone are worth the ticket
1 bold and tender and never dull
1 a cast without a weak link
1 clever and moving and beautifully shot
1 it earns each of its tears
1 the children are a delight
1 two hours that pass like ten minutes
1 quiet and precise and full of life
1 one of those rare films that trust their audience
1 a fine end to a fine series
0 a cold and tedious film without a heart
0 the worst thing i have seen on a screen this year
0 she plays the old queen like a bored clerk
0 a long yawn from the first frame to the last
0 every scene is a chore to watch
0 i looked at my watch and went home early
0 the songs alone made me want my money back
0 loud and empty and always dull
0 a cast without a clue
0 clumsy and flat and badly lit
0 it begs for each of its tears
0 the children are a nuisance
0 ten minutes that pass like two hours
0 shrill and sloppy and short of ideas
0 one of those films that despise their audience
0 a poor end to a poor series"""
ROWS = [tuple(line.split(" ", 1)) for line in REVIEWS.splitlines()]
SIZES = {"encoder_dim": 48, "encoder_heads": 4, "encoder_ffn_dim": 96, "multimodal_layers": 2}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """All sentences as training and validation set, and in another order, without labels, as a test set."""
    folder = tmp_path_factory.mktemp("reviews")
    train_vocabulary([text for _, text in ROWS], folder / "vocabulary", 300)
    splits = {"train": ROWS, "valid": ROWS, "test": ROWS[::-1]}
    data = write_folder(folder / "data", folder / "vocabulary", splits, ["0", "1"])
    for suffix in (".bin", ".idx"):
        (data / f"label/test{suffix}").unlink()
    return data


@pytest.fixture(scope="module")
def run(reviews, tmp_path_factory):
    flags = {
        "task": "slam_sentence_prediction",
        "arch": "slam_classifier_tiny",
        "criterion": "sentence_prediction",
        "optimizer": "slam_adamw",
        "adam_betas": None,
        "steps_per_epoch": None,
        "update_freq": 1,
        "batch_size": 16,
        "autocast": "none",
        "dropout": 0,
        "lr": 0.003,
        "warmup_updates": 10,
        "max_update": 40,
        "validate_interval": 20,
        "log_interval": 20,
        "no_epoch_checkpoints": True,
        "best_checkpoint_metric": "accuracy",
        "maximize_best_checkpoint_metric": True,
    }
    run = training.train(reviews, tmp_path_factory.mktemp("run"), **{**flags, **SIZES})
    assert run.code == 0, run.output[-3000:]
    return run


@pytest.fixture(scope="module")
def best(run):
    return run.folder / "checkpoint_best.pt"


def test_real_sentences_are_learned_by_heart(run):
    last = run.logged("valid")[-1]
    assert (last["accuracy"], last["f1"], last["mcc"]) == (100, 100, 100)


def test_the_command_writes_a_file_for_glue(best, reviews, tmp_path, capsys):
    arguments = [str(reviews), "--checkpoint", str(best), "--out", str(tmp_path), "--glue", "SST-2", "--json"]
    assert main(arguments) == 0
    written = tmp_path / "SST-2.tsv"
    assert json.loads(capsys.readouterr().out) == {"subset": "test", "rows": 32, "cut": 0, "written": str(written)}
    rows = [f"{row}\t{label}" for row, (label, _) in enumerate(ROWS[::-1])]
    assert written.read_text() == "\n".join(["index\tprediction", *rows, ""])
    assert [path.name for path in tmp_path.iterdir()] == ["SST-2.tsv"]


def test_the_command_scores_a_subset_that_has_labels(best, reviews, capsys):
    assert main([str(reviews), "--checkpoint", str(best), "--subset", "valid"]) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    scores = {"accuracy": "100.00", "mcc": "100.00", "f1": "100.00"}
    assert printed == {"subset": "valid", "rows": "32", "cut": "0", **scores}


def test_rows_are_predicted_as_texts_are_classified(best, reviews):
    """Predictions are in the folder's order, in whatever batches they were computed."""
    task, model = load_classifier(best, reviews)
    found = [task.labels[label] for label in predict(task, model, "test").predictions]
    assert found == [said.label for said in Slam.load(best).classify([text for _, text in ROWS[::-1]])]


def test_probabilities_sum_to_one_and_bf16_moves_them_a_little(best, reviews):
    (task, exact), (_, rounded) = (load_classifier(best, reviews, bf16=bf16) for bf16 in (False, True))
    task.load_dataset("valid")
    tokens = task.dataset("valid").collater([task.dataset("valid")[i] for i in (0, 20)])["net_input"]["src_tokens"]
    expected, found = (task.predict(model, tokens).detach() for model in (exact, rounded))
    assert torch.allclose(expected.sum(1), torch.ones(2))
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.05


# ---- errors


def test_labels_that_glue_does_not_know_are_refused(best, reviews, tmp_path, capsys):
    assert main([str(reviews), "--checkpoint", str(best), "--out", str(tmp_path), "--glue", "QNLI"]) == 1
    assert "predicts 0, 1; GLUE expects entailment, not_entailment for QNLI" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_glue_needs_a_place_for_its_file(best, reviews, capsys):
    assert main([str(reviews), "--checkpoint", str(best), "--glue", "SST-2"]) == 2
    assert "--out FOLDER" in capsys.readouterr().err


def test_a_checkpoint_of_another_task_is_named(ctc, reviews, capsys):
    assert main([str(reviews), "--checkpoint", str(ctc.path)]) == 1
    assert f"{ctc.path}: this checkpoint transcribes and encodes; it cannot classify" in capsys.readouterr().err


def test_what_is_not_there_is_named(best, reviews, tmp_path, capsys):
    assert main([str(reviews), "--checkpoint", str(tmp_path / "gone.pt")]) == 1
    assert "gone.pt: there is no such checkpoint" in capsys.readouterr().err
    assert main([str(reviews), "--checkpoint", str(best), "--subset", "exam"]) == 1
    assert "input0/exam.idx: not found" in capsys.readouterr().err


def test_a_folder_of_another_vocabulary_is_refused(best, reviews, tmp_path):
    train_vocabulary(["other words"], tmp_path / "vocabulary", 50, "char")
    other = shutil.copytree(reviews, tmp_path / "data", ignore=shutil.ignore_patterns("dict.txt", "spm.model"))
    for name in ("dict.txt", "spm.model"):
        shutil.copy(tmp_path / "vocabulary" / name, other)
    with pytest.raises(DataError, match="two vocabularies: "):
        load_classifier(best, other)


# ---- scores and files without a model


def test_scores_are_of_the_positive_class():
    found, true = np.array([0, 1, 1, 0, 2]), np.array([0, 1, 0, 1, 2])
    scores = score(Predicted(torch.from_numpy(found), torch.from_numpy(true)), 1, regresses=False)
    expected = {
        "accuracy": 60.0,
        "mcc": 100 * matthews_corrcoef(true, found),
        "f1": 100 * f1_score(true == 1, found == 1),
    }
    assert scores == pytest.approx(expected)
    assert "f1" not in score(Predicted(torch.from_numpy(found), torch.from_numpy(true)), None, regresses=False)


def test_numbers_are_scored_by_both_correlations_and_written_to_three_places(tmp_path):
    found, true = torch.tensor([0.12345, 4.0, 2.5, -1.0]), torch.tensor([0.5, 5.0, 1.0, 1.5])
    scores = score(Predicted(found, true), None, regresses=True)
    expected = {"pearson": 100 * pearsonr(found, true)[0], "spearman": 100 * spearmanr(found, true)[0]}
    assert scores == pytest.approx(expected)

    class Regression:
        regresses = True

    write_predictions(tmp_path / "STS-B.tsv", Regression, found)
    assert (tmp_path / "STS-B.tsv").read_text() == "index\tprediction\n0\t0.123\n1\t4.000\n2\t2.500\n3\t-1.000\n"


def test_one_row_of_numbers_has_no_correlation():
    assert score(Predicted(torch.tensor([1.0]), torch.tensor([2.0])), None, True) == {"pearson": 0.0, "spearman": 0.0}
