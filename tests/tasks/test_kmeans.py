"""Pre-training on k-means targets, from ``slam cluster`` to a checkpoint that needs no other file."""

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml

from slam_plugin.commands import cli
from slam_plugin.hub import Slam
from tests.support import training

UPDATES, STOP = 3, 1
OPTIMIZER = {"optimizer": "slam_adamw", "adam_betas": "[0.9, 0.98]", "save_interval_updates": 1}


def cluster(
    toy: Path, out: Path, clusters: int, manifest: str = "speech/a.tsv", teacher: Sequence[object] = ()
) -> None:
    arguments = [toy / manifest, "--audio-root", toy, "--out", out, "--clusters", clusters, *teacher]
    assert cli.main(["cluster", *map(str, arguments)]) == 0


def corpora(path: Path, centroids: Path) -> Path:
    """The toy's speech and pairs, under k-means and TLM."""
    kinds = ("speech", "pairs")
    chosen = copy.deepcopy({n: c for n, c in training.CORPORA["corpora"].items() if c["kind"] in kinds})
    objectives = {
        "kmeans": {"centroids": str(centroids), "mask_span": 3, "unmasked_weight": {0: 1.0, 2: 0.0}},
        "tlm": {"speech_mask_span": 3},
    }
    path.write_text(yaml.safe_dump({"corpora": chosen, "objectives": objectives}))
    return path


def run(toy: Path, folder: Path, centroids: Path, **flags) -> training.Run:
    folder.mkdir(exist_ok=True)
    given = {**OPTIMIZER, "max_update": UPDATES, "corpora": corpora(folder / "corpora.yaml", centroids), **flags}
    return training.train(toy, folder, **given)


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory) -> tuple[training.Run, Path]:
    """A run that was not stopped, and the file of its centroids."""
    folder = tmp_path_factory.mktemp("kmeans")
    cluster(toy, folder / "kmeans.npz", 12)
    found = run(toy, folder / "whole", folder / "kmeans.npz")
    assert found.code == 0, found.output[-3000:]
    return found, folder / "kmeans.npz"


def test_it_is_validated_against_chance_and_asked_by_tlm(whole):
    first = whole[0].logged("valid")[0]
    for name in ("kmeans", "tlm_kmeans"):
        assert 0 < first[f"{name}_loss"] < 10 and 0 < first[f"{name}_chance"] < 1
    assert first["kmeans_unmasked_loss"] > 0 and 1 < first["kmeans_code_perplexity"] <= 12


def test_a_resumed_run_is_the_run_that_was_not_stopped(toy, tmp_path, whole):
    shutil.copy(whole[0].after(STOP), tmp_path / "checkpoint_last.pt")
    resumed = run(toy, tmp_path, whole[1])
    states = [found.checkpoint() for found in (whole[0], resumed)]
    parts = [{key: state[key] for key in ("model", "last_optimizer_state")} for state in states]
    assert training.differing(*parts) == []
    assert "objectives.kmeans.nearest.centroids" in parts[0]["model"]


@pytest.mark.parametrize("clusters", [12, 9])
def test_other_centroids_are_refused_in_a_resumed_run(toy, tmp_path, whole, clusters):
    cluster(toy, tmp_path / "other.npz", clusters, "pairs/train.tsv")
    shutil.copy(whole[0].after(STOP), tmp_path / "checkpoint_last.pt")
    refused = run(toy, tmp_path, tmp_path / "other.npz")
    assert refused.code != 0 and not refused.logged("train_inner")
    assert "other.npz: holds other centroids than the checkpoint was trained with" in refused.output


@pytest.mark.parametrize("clusters", [12, 9])
def test_a_new_run_takes_the_trunk_and_begins_with_its_own_centroids(toy, tmp_path, whole, clusters):
    cluster(toy, tmp_path / "other.npz", clusters)
    flags = {"lr": 0.0, "warmup_init_lr": 0.0, "max_update": 1, "pretrained": whole[0].folder / "checkpoint_last.pt"}
    started = run(toy, tmp_path / "run", tmp_path / "other.npz", **flags)
    assert started.code == 0, started.output[-3000:]
    same = clusters == 12  # the same fit: the same file
    begun = "none" if same else "objectives.kmeans"
    assert f"not taken from it, newly initialized: {begun}" in started.output
    old, new = (found.checkpoint()["model"] for found in (whole[0], started))
    assert all(torch.equal(new[name], old[name]) for name in new if name.startswith("trunk."))
    assert torch.equal(new["objectives.kmeans.to_codes.bias"], old["objectives.kmeans.to_codes.bias"]) == same


def test_a_checkpoint_needs_no_other_file(whole, tmp_path):
    checkpoint = shutil.copy(whole[0].folder / "checkpoint_last.pt", tmp_path / "checkpoint.pt")
    whole[1].rename(tmp_path / "elsewhere.npz")
    try:
        assert Slam.load(checkpoint).encode(text="baka").shape[1] == training.MODEL["encoder-dim"]
    finally:
        (tmp_path / "elsewhere.npz").rename(whole[1])


def test_a_second_round_learns_the_layer_of_a_frozen_teacher(toy, tmp_path, whole):
    """HuBERT's: the clusters are of the first round's states. The file alone holds all that makes them."""
    checkpoint = shutil.copy(whole[0].folder / "checkpoint_last.pt", tmp_path / "first.pt")
    cluster(toy, tmp_path / "second.npz", 7, teacher=("--checkpoint", checkpoint, "--layer", 1))
    Path(checkpoint).unlink()
    second = run(toy, tmp_path / "second", tmp_path / "second.npz")
    assert second.code == 0, second.output[-3000:]
    first, last = whole[0].checkpoint()["model"], second.checkpoint()["model"]
    prefix = "objectives.kmeans.teacher."
    teacher = {name: value for name, value in last.items() if name.startswith(prefix)}
    assert len(teacher) > 20
    for name, value in teacher.items():  # neither trained nor averaged
        assert torch.equal(value, first[name.removeprefix(prefix)]), name
    moved = [name for name in first if name.startswith("trunk.") and not torch.equal(last[name], first[name])]
    assert len(moved) > 20
    (tmp_path / "resumed").mkdir()
    shutil.copy(second.after(STOP), tmp_path / "resumed/checkpoint_last.pt")
    resumed = run(toy, tmp_path / "resumed", tmp_path / "second.npz")
    states = [found.checkpoint() for found in (second, resumed)]
    assert training.differing(*({k: state[k] for k in ("model", "last_optimizer_state")} for state in states)) == []
