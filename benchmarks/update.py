"""A joint update of the laptop recipe, optimizer included, against its matrix products alone."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fairseq import metrics
from fairseq.trainer import Trainer

from benchmarks.corpus import BenchmarkData, cached_corpus
from benchmarks.figures import Figure, Goal, Scale, ratio
from benchmarks.products import Products
from benchmarks.share import build_trainer, configured, logging_to
from benchmarks.timing import minima
from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.data.plan.yaml_layers import read_layered
from slam_plugin.modules.cepstra import COEFFICIENTS
from slam_plugin.objectives.clusters import CEPSTRA, Clusters, write_clusters

RECIPE = Path(__file__).resolve().parent.parent / "examples/slam/config/laptop/speech_text_pairs.yaml"
SIZE = "tiny"
PRECISIONS = {"none": "fp32", "bf16": "bf16"}  # by the model's autocast
CLUSTERS = 100
UTTERANCES = 60  # of each corpus if it must be generated: some batches
GOAL = Goal("<=", 1.4)
MEANING = (
    "masking and collating left out: forward, losses, backward, clipping, update and logging of one plan step with a "
    "batch of each kind; floor: its matrix products and the front end's convolutions alone, with the same operands' "
    "sizes and layouts"
)


def figures(scale: Scale) -> list[Figure]:
    """Return the time of an update over its floor in fp32 and bf16."""
    with tempfile.TemporaryDirectory() as scratch, logging_to(Path(scratch) / "log"):
        corpus = cached_corpus(scale.data, _folder(scratch), UTTERANCES)
        calls: dict[str, Callable[[], object]] = {}
        for autocast, precision in PRECISIONS.items():
            trainer, sample = prepare(corpus, autocast, Path(scratch))
            calls |= candidates(trainer, sample, precision)
        meaning = f"{MEANING}; {SIZE}, {_size(sample)} from {corpus.words}"
        seconds = minima(calls, scale.rounds)
    pairs = {precision: (f"update, {precision}", f"floor, {precision}") for precision in PRECISIONS.values()}
    return [ratio(f"joint update / floor, {name}", seconds, *pair, meaning, GOAL) for name, pair in pairs.items()]


def prepare(corpus: BenchmarkData, autocast: str, scratch: Path) -> tuple[Trainer, dict[str, Any]]:
    """Return the trainer that ``fairseq-train`` builds for the recipe, and a plan step to train on."""
    metrics.reset()
    flags = {"arch": f"slam_pretraining_{SIZE}", "corpora": recipe(scratch), "autocast": autocast}
    trainer, _ = build_trainer(configured(corpus.folder, **flags, positions="rotary"))
    return trainer, next(trainer.get_train_iterator(1).next_epoch_itr())


def recipe(scratch: Path) -> Path:
    """Write the laptop recipe with all kinds from the first step on, random centroids and no validation. Return it."""
    values = read_layered(RECIPE).values
    values["corpora"]["pairs"]["train"] = ["pairs/train.tsv"]  # generated data have no other pairs
    values["stages"] = {0: list(dict.fromkeys(section["kind"] for section in values["corpora"].values()))}
    for section in values["corpora"].values():
        section.pop("valid")
    random = np.random.default_rng(1)
    centroids = random.standard_normal((CLUSTERS, 2 * COEFFICIENTS)).astype(np.float32)
    with open(scratch / "kmeans.npz", "wb") as file:
        write_clusters(file, Clusters(centroids, np.ones(CLUSTERS, np.int64), {"features": CEPSTRA}))
    values["objectives"]["kmeans"]["centroids"] = str(scratch / "kmeans.npz")
    (scratch / "recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return scratch / "recipe.yaml"


def candidates(trainer: Trainer, sample: Mapping[str, Any], precision: str) -> dict[str, Callable[[], object]]:
    """Return the update and its floor. Names end in the precision."""
    with Products() as products:
        trainer.train_step([sample])
    return {f"update, {precision}": lambda: trainer.train_step([sample]), f"floor, {precision}": products.replay()}


def _size(sample: Mapping[str, Any]) -> str:
    frames, tokens = (sum(batch[name] for batch in sample["batches"]) for name in ("n_frames", "n_tokens"))
    kinds = ", ".join(batch["kind"] for batch in sample["batches"])
    return f"a step of {kinds} with {frames / FRAMES_PER_SECOND:.0f} s of audio and {tokens} tokens"


def _folder(scratch: str) -> Path:
    folder = Path(scratch, "corpus")
    folder.mkdir()
    return folder
