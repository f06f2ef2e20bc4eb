"""Specifics of ``kmeans``. What it shares with other objectives is tested in ``test_codes.py``."""

import math
import zipfile

import numpy as np
import pytest
import torch

from slam_plugin.objectives.base import counts_key
from slam_plugin.objectives.clusters import read_clusters
from slam_plugin.objectives.kmeans import KMeans, Options
from tests.support.passes import FEATURES, build_context, masked_pass, valid_masked, write_centroids

DIM, CODES, FRAMES, TIME = 8, 6, 400, 100
COUNTS = [500, 300, 100, 60, 0, 40]


def centroids(seed=0):
    return torch.randn(CODES, 26, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def path(tmp_path):
    return write_centroids(tmp_path / "some.npz", centroids(), COUNTS)


def objective(path, training=True, **options):
    torch.manual_seed(0)
    return KMeans(build_context(DIM), 1.0, Options(centroids=path, **options)).train(training)


def view_of(training=True):
    torch.manual_seed(7)
    batch = {"features": torch.randn(2, FRAMES, FEATURES), "feature_padding_mask": None}
    batch["mask_indices"] = torch.rand(2, TIME) < 0.5
    return masked_pass(batch, training, speech=torch.randn(2, TIME, DIM, requires_grad=True))


def test_the_loss_starts_at_the_entropy_of_the_clusters(path):
    """At a guess by frequency, not at log V: here the states do not reach the logits."""
    for bias in (True, False):
        built, view = objective(path, frequency_bias=bias), view_of()
        torch.nn.init.zeros_(built.to_codes.weight)
        assert (built.to_codes.bias.softmax(0) - torch.tensor(COUNTS) / 1000).abs().max() < (0.01 if bias else 1.0)
        ids = built.masked_codes(view).tolist()
        guess = {True: [(count + 0.5) / 1003 for count in COUNTS], False: built.to_codes.bias.softmax(0).tolist()}[bias]
        expected = -sum(math.log(guess[code]) for code in ids) / len(ids)
        assert built(view).loss.item() == pytest.approx(expected, abs=1e-4)
    # for clusters that occur as often as in the fit
    entropy = -sum(count / 1000 * math.log(count / 1000) for count in COUNTS if count)
    logits = objective(path).to_codes.bias
    drawn = torch.tensor([code for code, count in enumerate(COUNTS) for _ in range(count)])
    loss = torch.nn.functional.cross_entropy(logits.expand(1000, -1), drawn).item()
    assert loss == pytest.approx(entropy, abs=0.01) and entropy < math.log(CODES) - 0.4


def test_it_learns_by_the_output_layer_and_the_states_alone(path):
    built, view = objective(path), view_of()
    built(view).loss.backward()
    assert {name for name, _ in built.named_parameters()} == {"to_codes.weight", "to_codes.bias"}
    reached = view.encoded.speech.grad.abs().sum(-1) > 0
    assert torch.equal(reached, valid_masked(view))


def test_the_codes_are_counted_in_validation(path):
    built, view = objective(path, training=False), view_of(training=False)
    logs = built(view).logs
    ids = built.masked_codes(view).tolist()
    assert logs[counts_key("kmeans_code")].tolist() == [ids.count(code) for code in range(CODES)]
    assert built.logged.guesses["kmeans"] == "kmeans_code" and logs.keys() == built.zero_logs().keys()


def test_a_checkpoint_of_other_centroids_is_refused_by_name(path, tmp_path):
    built = objective(path)
    built.load_state_dict(objective(path).state_dict())
    other = objective(write_centroids(tmp_path / "other.npz", centroids(1)))
    more = objective(write_centroids(tmp_path / "more.npz", torch.randn(9, 26)))
    for wrong in (other, more):
        with pytest.raises(ValueError, match="some.npz: holds other centroids than the checkpoint was trained with"):
            built.load_state_dict(wrong.state_dict())
        assert not built.continues(wrong.state_dict()) and built.continues(objective(path).state_dict())


def test_the_file_is_read_as_it_was_written(path):
    found = read_clusters(path)
    assert np.array_equal(found.centroids, centroids().numpy()) and found.counts.tolist() == COUNTS
    assert found.recipe == {"version": 1, "features": "cepstra"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "some.npz: there is no such file, expected a file that `slam cluster` wrote"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "some.npz: is not a .npz archive, .*`slam cluster`"),
        (lambda path: path.write_bytes(b""), "some.npz: is not a .npz archive, or is cut short"),
        (lambda path: np.savez(path, centroids=np.ones((2, 26))), "some.npz: cannot be read .*recipe.*`slam cluster`"),
        (lambda path: write_centroids(path, torch.ones(2, 26), version=0), "some.npz: found version 0, expected 1"),
        (
            lambda path: write_centroids(path, torch.ones(2, 5)),
            "some.npz: found clusters of cepstra of size 5, expected cepstra of size 26",
        ),
        (
            lambda path: write_centroids(path, torch.ones(2, 26), features="sounds"),
            "some.npz: found clusters of sounds of size 26, expected cepstra",
        ),
    ],
)
def test_a_file_that_is_none_is_named(path, damage, message):
    damage(path)
    with pytest.raises(ValueError, match=message):
        objective(path)


@pytest.mark.parametrize(("option", "bad"), [("mask_rate", 1.0), ("mask_span", 0), ("layer", "text")])
def test_an_option_out_of_its_bounds_is_named(option, bad):
    with pytest.raises(ValueError, match=f"objectives.kmeans.{option}: found {bad!r}, expected"):
        Options(**{option: bad})


@pytest.mark.parametrize(
    "values",
    [
        {"centroids": np.ones(26, np.float32)},
        {"centroids": np.full((6, 26), np.nan, np.float32)},
        {"centroids": np.ones((6, 26), int)},
        {"counts": np.ones(5)},
        {"counts": -np.ones(6)},
        {"counts": np.array(["a"] * 6)},
        {"recipe": np.array("[1]")},
        {"recipe": np.array("[" * 5000)},
    ],
)
def test_arrays_that_are_no_clusters_are_named(tmp_path, values):
    sound = {"centroids": np.ones((6, 26), np.float32), "counts": np.ones(6), "recipe": np.array('{"version": 1}')}
    np.savez(tmp_path / "some.npz", **sound)
    read_clusters(tmp_path / "some.npz")
    np.savez(tmp_path / "some.npz", **sound | values)
    with pytest.raises(ValueError, match="some.npz: .*expected a file that `slam cluster` wrote"):
        read_clusters(tmp_path / "some.npz")


@pytest.mark.parametrize(
    "header", ["{'descr': (", "{'descr': '<f4', 'fortran_order': False, 'shape': (%s, 26)}" % 10**15, "1" * 50]
)
def test_headers_of_arrays_that_lie_are_named(tmp_path, header):
    np.savez(tmp_path / "some.npz", counts=np.ones(6), recipe=np.array('{"version": 1}'))
    text = header.ljust(117).encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "some.npz", "a") as archive:
        archive.writestr("centroids.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(ValueError, match="some.npz: cannot be read"):
        read_clusters(tmp_path / "some.npz")


def test_a_member_that_is_no_array_is_named(tmp_path):
    np.savez(tmp_path / "some.npz", counts=np.ones(6), recipe=np.array('{"version": 1}'))
    with zipfile.ZipFile(tmp_path / "some.npz", "a") as archive:
        archive.writestr("centroids.npy", b"no array")
    with pytest.raises(ValueError, match="some.npz: found a member that is no array"):
        read_clusters(tmp_path / "some.npz")


def test_a_name_that_is_too_long_is_no_file():
    with pytest.raises(ValueError, match="aaa.npz: there is no such file"):
        read_clusters("a" * 300 + ".npz")
