"""Scores from sums against scikit-learn's and scipy's, in parts as batches and ranks give them."""

import numpy as np
import pytest
import torch
from fairseq.logging import metrics
from scipy.stats import pearsonr
from sklearn.metrics import f1_score, matthews_corrcoef

from slam_plugin.scoring import labels as label_scores


def reduced(log, parts, *arguments):
    with metrics.aggregate(new_root=True) as found:
        log(parts, *arguments)
    return found.get_smoothed_values()


def in_parts(count, predicted, true, *arguments):
    pieces = zip(torch.from_numpy(predicted).split(7), torch.from_numpy(true).split(7), strict=True)
    return [count(p, t, *arguments) for p, t in pieces]


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_class_scores_of_parts_are_those_of_the_whole(classes):
    random = np.random.default_rng(classes)
    true = random.integers(0, classes, 40)
    predicted = np.where(random.random(40) < 0.5, true, random.integers(0, classes, 40))
    found = reduced(label_scores.log_classes, in_parts(label_scores.class_counts, predicted, true, classes), classes, 1)
    assert found["mcc"] == pytest.approx(100 * matthews_corrcoef(true, predicted), abs=0.005)
    assert found["f1"] == pytest.approx(100 * f1_score(true == 1, predicted == 1), abs=0.005)


def test_the_positive_class_is_the_one_that_is_asked_for():
    true, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0])
    parts = in_parts(label_scores.class_counts, predicted, true, 2)
    assert reduced(label_scores.log_classes, parts, 2, 0)["f1"] == 66.67
    assert reduced(label_scores.log_classes, parts, 2, 1)["f1"] == 50.0
    assert "f1" not in reduced(label_scores.log_classes, parts, 2, None)


def test_correlation_of_parts_is_that_of_the_whole():
    random = np.random.default_rng(0)
    true = 5 * random.random(40)
    predicted = 100 + true + random.standard_normal(40)
    found = reduced(label_scores.log_numbers, in_parts(label_scores.number_sums, predicted, true))
    assert found["pearson"] == pytest.approx(100 * pearsonr(predicted, true)[0], abs=0.005)


def test_what_is_always_the_same_correlates_with_nothing():
    true, same = np.array([0, 1, 1]), np.array([1, 1, 1])
    parts = in_parts(label_scores.class_counts, same, true, 2)
    assert reduced(label_scores.log_classes, parts, 2, 0) == {"mcc": 0.0, "f1": 0.0}
    numbers = in_parts(label_scores.number_sums, np.full(3, 100.3, np.float32), true)
    assert reduced(label_scores.log_numbers, numbers) == {"pearson": 0.0}


def test_meters_hold_plain_numbers_as_ranks_that_were_summed_send_tensors():
    sums = label_scores.class_counts(torch.tensor([0, 1]), torch.tensor([1, 1]), 2)
    with metrics.aggregate(new_root=True) as found:
        label_scores.log_classes([{name: torch.tensor(float(value)) for name, value in sums.items()}], 2, 1)
    assert {type(meter.sum) for name, meter in found.items() if name.startswith("_")} == {float}


def test_nothing_is_logged_where_nothing_was_predicted():
    assert reduced(label_scores.log_classes, [{"loss": 1}], 2, 1) == {}
    assert reduced(label_scores.log_numbers, [{"loss": 1}]) == {}
