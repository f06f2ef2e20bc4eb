"""``slam cluster``: what it fits and writes."""

import re

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from slam_plugin.commands import cli
from slam_plugin.commands.cluster import fit, sample
from slam_plugin.data.audio import load_features, normalize
from slam_plugin.data.constants import FRAMES_PER_HOUR
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.hub import Slam
from slam_plugin.models.base.teacher import Teacher
from slam_plugin.modules.cepstra import cepstra
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.objectives.clusters import read_clusters


def cluster(*arguments):
    return cli.main(["cluster", *map(str, arguments)])


@pytest.fixture(scope="module")
def manifests(toy):
    return [toy / "speech/a.tsv", toy / "speech/b.tsv"]


def features_of(manifest, row, root):
    return normalize(load_features(manifest.value(row, "audio"), root), FrontEnd())


def arguments(toy, manifests, out, **options):
    named = {"out": out, "clusters": 8, "hours": 1, "audio-root": toy, **options}
    return [*manifests, *(part for name, value in named.items() for part in (f"--{name}", value))]


def test_the_centroids_are_of_the_states_of_the_manifests(toy, manifests, tmp_path, capsys):
    assert cluster(*arguments(toy, manifests, tmp_path / "made" / "kmeans.npz")) == 0
    found = read_clusters(tmp_path / "made" / "kmeans.npz")
    opened = [Manifest.open(path) for path in manifests]
    states = np.concatenate(
        [
            cepstra(features_of(manifest, row, toy)[None], None, FrontEnd())[0].numpy()
            for manifest in opened
            for row in range(len(manifest))
        ]
    )
    assert found.centroids.shape == (8, 26) and found.centroids.dtype == np.float32
    nearest = np.linalg.norm(states[:, None] - found.centroids, axis=2).argmin(1)
    assert found.counts.tolist() == np.bincount(nearest, minlength=8).tolist()
    for code in np.flatnonzero(found.counts > 20):  # a centroid is about the mean of its frames
        mean = states[nearest == code].mean(0)
        assert np.linalg.norm(mean - found.centroids[code]) < 0.3 * np.linalg.norm(mean - states.mean(0))
    assert found.recipe == {
        "version": 1,
        "features": "cepstra",
        "frames_per_state": 4,
        "manifests": {path.name: manifest.fingerprint for path, manifest in zip(manifests, opened, strict=True)},
        "states": len(states),
        "hours": 1.0,
        "seed": 1,
    }
    assert re.search(rf"kmeans.npz: 8 centroids of {len(states):,} states, perplexity \d", capsys.readouterr().out)


def test_the_states_of_a_layer_are_clustered_and_the_file_holds_what_makes_them(
    toy, manifests, tmp_path, pretraining, capsys
):
    given = {"checkpoint": pretraining.path, "layer": 1, "clusters": 5}
    assert cluster(*arguments(toy, manifests[:1], tmp_path / "kmeans.npz", **given)) == 0
    found = read_clusters(tmp_path / "kmeans.npz")
    trunk, manifest = Slam.load(pretraining.path).trunk, Manifest.open(manifests[0])
    states = []
    for row in range(len(manifest)):
        features = features_of(manifest, row, toy)
        with torch.no_grad():
            states.append(trunk(features[None], keep_layers=True).speech_layers[1][0])
    nearest = torch.cdist(torch.cat(states), torch.from_numpy(found.centroids)).argmin(1)
    assert found.counts.tolist() == torch.bincount(nearest, minlength=5).tolist()
    assert (found.recipe["features"], found.recipe["checkpoint"]) == ("layer", pretraining.path.name)
    teacher = Teacher(**found.recipe["teacher"])
    teacher.load_state_dict({name: torch.from_numpy(value) for name, value in found.teacher.items()})
    assert torch.equal(teacher(features[None], None)[0], states[-1])


def test_a_seed_decides_sample_and_fit(toy, manifests, tmp_path):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        assert cluster(*arguments(toy, manifests, tmp_path / name, seed=seed, hours=0.001)) == 0
    one, again, other = (read_clusters(tmp_path / name) for name in ("one", "again", "other"))
    assert np.array_equal(one.centroids, again.centroids) and not np.array_equal(one.centroids, other.centroids)
    assert one.recipe["states"] == int(one.counts.sum()) < 200


def test_a_sample_reaches_its_hours_and_holds_no_utterance_twice(manifests):
    opened = [Manifest.open(path) for path in manifests]
    frames = [manifest.column("n_frames") for manifest in opened]
    wanted = 600 / FRAMES_PER_HOUR
    rows = sample(opened, wanted, seed=3)
    taken = [int(frames[number][row]) for number, row in rows]
    assert sum(taken) >= 600 > sum(taken[:-1]) and len(set(rows)) == len(rows)
    everything = sample(opened, 1.0, seed=3)
    assert sorted(everything) == [(number, row) for number in (0, 1) for row in range(len(opened[number]))]
    assert rows == everything[: len(rows)]


def test_clusters_that_are_there_are_found():
    rng = np.random.default_rng(0)
    centers, which = 10 * rng.standard_normal((6, 4)), rng.integers(6, size=3000)
    frames = (centers[which] + rng.standard_normal((3000, 4))).astype(np.float32)
    centroids, counts = fit(frames, 6, seed=1)
    nearest = torch.cdist(torch.from_numpy(frames), torch.from_numpy(centroids)).argmin(1)
    assert adjusted_rand_score(which, nearest) > 0.99
    assert sorted(counts.tolist()) == sorted(np.bincount(which).tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 1}, "--clusters 1, --hours 1: expected at least 2 clusters and more than 0 hours"),
        ({"hours": 0}, "--clusters 8, --hours 0: expected"),
        (
            {"clusters": 100_000},
            "--clusters 100000: found only [0-9]+ states of 40 ms in the sample, expected at least",
        ),
        ({"audio-root": "nowhere"}, "nowhere/wav"),
        ({"layer": 1}, "--layer: found without --checkpoint, expected both or neither"),
        ({"checkpoint": "some.pt"}, "--checkpoint: found without --layer, expected both or neither"),
        ({"checkpoint": "some.pt", "layer": 1}, "some.pt: there is no such checkpoint"),
        ({"checkpoint": "some.pt", "layer": 1, "frames-per-state": 2}, "--frames-per-state: found with --checkpoint"),
        ({"clusters": 100_000, "frames-per-state": 2}, "found only [0-9]+ states of 20 ms in the sample"),
    ],
)
def test_what_cannot_be_done_is_named_and_nothing_written(toy, manifests, tmp_path, capsys, options, message):
    assert cluster(*arguments(toy, manifests, tmp_path / "kmeans.npz", **options)) in (1, 2)
    assert re.search(f"slam cluster: .*{message}", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_rows_that_cannot_be_read_are_named_and_left_out(toy, manifests, tmp_path, capsys):
    header, *rows = manifests[0].read_text().splitlines()
    column = header.split("\t").index("audio")
    fields = rows[1].split("\t")
    fields[column] = "absent.wav"
    table = tmp_path / "table.tsv"
    table.write_text("\n".join([header, rows[0], "\t".join(fields), *rows[2:]]) + "\n")
    good = tmp_path / "good.tsv"
    good.write_text("\n".join([header, rows[0], *rows[2:]]) + "\n")
    for path in (table, good):
        assert cluster(*arguments(toy, [path], tmp_path / f"{path.stem}.npz")) == 0
    error = capsys.readouterr().err
    assert f"slam cluster: {table}:3: {toy / 'absent.wav'}: " in error
    assert f"slam cluster: left out 1 of {len(rows)} utterances" in error
    first, second = (read_clusters(tmp_path / f"{name}.npz") for name in ("table", "good"))
    assert first.recipe["states"] == second.recipe["states"] > 0


def test_nothing_that_can_be_read(toy, manifests, tmp_path, capsys):
    assert cluster(*arguments(toy, manifests, tmp_path / "kmeans.npz"), "--audio-root", tmp_path) == 1
    assert "found no utterance that can be read, expected at least one" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
