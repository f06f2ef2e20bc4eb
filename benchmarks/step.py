"""A whole step of speech pre-training on a real batch, update included, against fairseq's parts and transformers."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.batches import speech_batch
from benchmarks.corpus import cached_corpus
from benchmarks.figures import Figure, Goal, Scale, ratio
from benchmarks.floor import Shape, products
from benchmarks.peers.step_fairseq import FairseqStep
from benchmarks.peers.step_ours import OurStep
from benchmarks.peers.step_transformers import TransformersStep, with_distractors
from benchmarks.timing import minima
from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.models.base.presets import SIZES

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
# (numerator, denominator) -> goal
RATIOS = {
    ("fairseq, fp32", "ours, fp32"): Goal(">=", 3),
    ("fairseq, bf16", "ours, bf16"): Goal(">=", 6),
    ("fairseq, fp32", "ours, bf16"): None,  # fairseq's own autocast needs a GPU
    ("transformers, fp32", "ours, fp32"): Goal(">=", 3),
    ("fairseq, fp32", "floor, fp32"): None,  # the most that a model with these layers could reach
    ("fairseq, bf16", "floor, bf16"): None,
    ("ours, fp32", "floor, fp32"): None,
    ("ours, bf16", "floor, bf16"): None,
}
WORDS = {
    "ours": "the project's model (rotary positions), criterion and optimizer",
    "fairseq": "fairseq's front end, layers (relative positions), quantizer, contrastive task, criterion and Adam",
    "transformers": "Wav2Vec2ConformerForPreTraining (relative positions) on the project's front end, without a "
    "prediction of codes, distractors drawn beforehand, torch's fused AdamW",
    "floor": "the matrix products of the layers alone",
}


def figures(scale: Scale) -> list[Figure]:
    """Return the ratios, and the share of each part of our step."""
    budget = scale.budget // 2  # on the scale's whole batch the quantizers of the other two would take 10 GB
    with tempfile.TemporaryDirectory() as scratch:
        corpus = cached_corpus(scale.data, Path(scratch), max(16, budget // 60))
        batch = speech_batch(corpus.folder, budget)
    utterances, frames, _ = batch["features"].shape
    words = f"{utterances} utterances of up to {frames / FRAMES_PER_SECOND:.1f} s from {corpus.words}"
    print(f"        a step at {scale.size} on {words}", flush=True)
    seconds = minima(candidates(scale.size, batch), scale.rounds)
    return _ratios(seconds, scale.size, words) + _shares(seconds, scale.size, words)


def candidates(size: str, batch: Mapping[str, Any]) -> dict[str, Callable[[], object]]:
    """Return every library's step, the parts of ours, and the products of its layers. Names end in the precision."""
    theirs = with_distractors(batch)
    calls: dict[str, Callable[[], object]] = {}
    for precision, dtype in PRECISIONS.items():
        bf16 = dtype == torch.bfloat16
        ours, fairseqs = OurStep(size, bf16), FairseqStep(size, bf16)
        calls[f"ours, {precision}"] = lambda step=ours: step(batch)
        calls[f"fairseq, {precision}"] = lambda step=fairseqs: step(batch)
        calls[f"floor, {precision}"] = _floor(size, batch, dtype)
        for part, call in OurStep(size, bf16).parts(batch).items():
            calls[f"{part}, {precision}"] = call
    transformers = TransformersStep(size, bf16=False)
    return {**calls, "transformers, fp32": lambda: transformers(theirs)}


def _floor(size: str, batch: Mapping[str, Any], dtype: torch.dtype) -> Callable[[], None]:
    sizes = SIZES[size]
    layer = products(Shape(*batch["mask_indices"].shape, sizes["encoder_dim"]), dtype)

    def run() -> None:
        for _ in range(sizes["speech_layers"] + sizes["multimodal_layers"]):
            layer()

    return run


def _ratios(seconds: Mapping[str, float], size: str, words: str) -> list[Figure]:
    found = []
    for (one, other), goal in RATIOS.items():
        meaning = "; ".join(f"{name}: {WORDS[name]}" for name in (one.partition(",")[0], other.partition(",")[0]))
        meaning = f"forward, losses, backward, update; same sizes, masks, number of distractors; {meaning}; {words}"
        found.append(ratio(f"{one} / {other}, step at {size}", seconds, one, other, meaning, goal))
    return found


def _shares(seconds: Mapping[str, float], size: str, words: str) -> list[Figure]:
    found = []
    for name in seconds:
        part, _, precision = name.partition(", ")
        if part not in WORDS:
            whole = f"ours, {precision}"
            pair = {key: seconds[key] for key in (name, whole)}
            meaning = f"time of this part alone, forward and backward, over that of the whole step; {words}"
            share = pair[name] / pair[whole]
            found.append(Figure(f"{part}, step at {size}, {precision}", share, "share of a step", meaning, None, pair))
    return found
