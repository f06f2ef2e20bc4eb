"""Translation with a beam of five against fairseq's Conformer: encoder, fairseq's search, the hub's search."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.data.data_utils import batch_by_size
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from benchmarks.corpus import cached_corpus
from benchmarks.figures import Figure, Goal, Scale, ratio
from benchmarks.peers.translators import OUR_KERNEL, THEIR_KERNEL, dictionary, fairseqs, ours
from benchmarks.timing import minima
from slam_plugin.data.audio import load_features, normalize
from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.decoding.beam import BeamSearch
from slam_plugin.inference.batches import pad
from slam_plugin.modules.front_end import DEFAULT_FRONT_END
from slam_plugin.tasks.base.generation import StartingGenerator

BEAM, SYMBOLS = 5, 1000
TOKENS_PER_FRAME = 0.043  # of the demo's translations in 500 pieces
BATCHES = 3  # from short utterances to long
PRECISIONS = ("fp32", "bf16")
# Measured part -> the goal, and a description
PARTS = {
    "encoder": (Goal(">=", 2), "features to states"),
    "fairseq's search": (Goal(">=", 1.3), "features to hypotheses with fairseq's generator on both sides"),
    "hub's search": (
        Goal(">=", 2),
        "features to hypotheses with fairseq's generator there and the project's search here",
    ),
}
THEIRS = f"s2t_conformer in fp32, its own front end and convolution of {THEIR_KERNEL}, relative positions"
SAME = f"same sizes, beam {BEAM}, {SYMBOLS} symbols, hypotheses of the same lengths"


class Batch(NamedTuple):
    """Normalized features (batch, frames, 80), padding mask (batch, frames), and the number of tokens to decode."""

    features: Tensor
    padding_mask: Tensor
    tokens: int

    @property
    def lengths(self) -> Tensor:
        """The lengths (batch,) in frames."""
        return (~self.padding_mask).sum(1)


def batches(folder: Path, budget: int) -> list[Batch]:
    """Return some batches that ``fairseq-generate --max-tokens budget`` makes from the speech in ``folder``."""
    manifest = Manifest.open(folder / "speech/train.tsv")
    frames = manifest.column("n_frames")
    order = np.argsort(frames, kind="stable")
    order = order[frames[order] <= budget]
    cuts = batch_by_size(order, lambda index: frames[index], max_tokens=budget)
    chosen = [cuts[(2 * number + 1) * len(cuts) // (2 * BATCHES)] for number in range(BATCHES)]
    return [_batch(manifest, cut) for cut in chosen]


def _batch(manifest: Manifest, rows: Sequence[int]) -> Batch:
    root = manifest.path.parent
    features = [normalize(load_features(manifest.value(int(row), "audio"), root), DEFAULT_FRONT_END) for row in rows]
    padded, padding_mask = pad(features, 0.0)
    return Batch(padded, padding_mask, max(1, round(TOKENS_PER_FRAME * padded.size(1))))


def figures(scale: Scale) -> list[Figure]:
    """Return the time of fairseq over ours, for all batches together."""
    budget = scale.budget // BATCHES
    with tempfile.TemporaryDirectory() as scratch:
        corpus = cached_corpus(scale.data, Path(scratch), max(16, budget // 60))
        given = batches(corpus.folder, budget)
    words = ", ".join(
        f"{len(batch.features)} of up to {batch.features.size(1) / FRAMES_PER_SECOND:.1f} s" for batch in given
    )
    print(f"        batches of {words}, from {corpus.words}", flush=True)
    with torch.inference_mode():
        seconds = minima(candidates(scale.size, given), scale.rounds)
    return _ratios(seconds, scale.size, f"utterances: {words}, from {corpus.words}")


def candidates(size: str, given: Sequence[Batch]) -> dict[str, Callable[[], object]]:
    """Return calls that process all batches, named by part and model."""
    symbols = dictionary(SYMBOLS)
    peers = {kernel: fairseqs(size, symbols, kernel) for kernel in (OUR_KERNEL, THEIR_KERNEL)}
    calls: dict[str, Callable[[], object]] = {
        f"encoder, fairseq {kernel}": lambda peer=peer: [peer.encoder(batch.features, batch.lengths) for batch in given]
        for kernel, peer in peers.items()
    }
    calls["search, fairseq"] = fairseqs_search(peers[THEIR_KERNEL], symbols, given)
    for precision in PRECISIONS:
        mine = ours(size, symbols, precision == "bf16")
        calls[f"encoder, {precision}"] = lambda mine=mine: [mine.encoder(*batch[:2]) for batch in given]
        calls[f"fairseq's search, {precision}"] = starting_search(mine, symbols, given)
        calls[f"hub's search, {precision}"] = hubs_search(mine, symbols, given)
    return calls


def fairseqs_search(model: Any, symbols: Dictionary, given: Sequence[Batch]) -> Callable[[], list[Any]]:
    """Return a call that decodes each batch with fairseq's model and fairseq's generator."""
    inputs = [{"src_tokens": batch.features, "src_lengths": batch.lengths} for batch in given]
    return _generating(SequenceGenerator, model, symbols, given, inputs)


def starting_search(model: Any, symbols: Dictionary, given: Sequence[Batch]) -> Callable[[], list[Any]]:
    """Return a call that decodes each batch with the project's model as ``fairseq-generate`` does."""
    inputs = [
        {
            "features": batch.features,
            "padding_mask": batch.padding_mask,
            "prev_output_tokens": _start(symbols, batch)[:, None],
        }
        for batch in given
    ]
    return _generating(StartingGenerator, model, symbols, given, inputs)


def _generating(
    kind: type[SequenceGenerator], model: Any, symbols: Dictionary, given: Sequence[Batch], inputs: Sequence[Any]
) -> Callable[[], list[Any]]:
    generators = [kind([model], symbols, beam_size=BEAM, **_lengths(batch)) for batch in given]
    pairs = list(zip(generators, inputs, strict=True))
    return lambda: [generator.generate([model], {"net_input": net_input}) for generator, net_input in pairs]


def hubs_search(model: Any, symbols: Dictionary, given: Sequence[Batch]) -> Callable[[], list[Any]]:
    """Return a call that decodes each batch with the project's model as the hub does."""
    searches = [BeamSearch(model.decoder, beam=BEAM, **_lengths(batch)) for batch in given]
    starts = [_start(symbols, batch) for batch in given]
    triples = list(zip(searches, given, starts, strict=True))
    return lambda: [search(model.encoder(*batch[:2]), start) for search, batch, start in triples]


def _lengths(batch: Batch) -> dict[str, int]:
    """Return lengths that make all hypotheses equally long: those of untrained models would end anywhere."""
    return {"min_len": batch.tokens, "max_len_b": batch.tokens}


def _start(symbols: Dictionary, batch: Batch) -> Tensor:
    return torch.full((len(batch.features),), symbols.eos())


def _ratios(seconds: Mapping[str, float], size: str, words: str) -> list[Figure]:
    found = []
    for part, (goal, what) in PARTS.items():
        theirs = f"encoder, fairseq {THEIR_KERNEL}" if part == "encoder" else "search, fairseq"
        for precision in PRECISIONS:
            meaning = f"{what}; fairseq: {THEIRS}; ours: rotary positions, {precision}; {SAME}; {words}"
            name = f"fairseq / ours in {precision}, {part}, {size}"
            found.append(ratio(name, seconds, theirs, f"{part}, {precision}", meaning, goal))
    name, theirs = f"fairseq / ours in fp32, encoder, kernel {OUR_KERNEL}, {size}", f"encoder, fairseq {OUR_KERNEL}"
    meaning = f"features to states, the kernel of fairseq's depthwise convolution as small as ours; {words}"
    return [*found, ratio(name, seconds, theirs, "encoder, fp32", meaning)]
