"""Contrastive loss and quantizer of speech pre-training against fairseq's."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import NamedTuple

import torch
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model
from fairseq.modules import GumbelVectorQuantizer
from torch import Tensor
from torch.nn import functional as F

from benchmarks.figures import Figure, Goal, Scale, ratio
from benchmarks.timing import minima
from slam_plugin.modules.contrast import contrastive_logits, draw_distractors
from slam_plugin.modules.quantizer import GumbelQuantizer

CODES, CODE_DIM, DIM = 1024, 256, 256
DISTRACTORS = 100
TEMPERATURE = 0.1  # of the similarities
GUMBEL_TEMPERATURE = 2.0
MASKED = 171  # of an utterance of 14 s: a rate of .49 at 25 Hz

CONTRAST_GOAL = Goal(">=", 100)
QUANTIZER_GOAL = Goal(">=", 25)


class Frames(NamedTuple):
    """Masked frames: context and targets (batch, masked, C), both leaves, and the targets' codes (batch, masked)."""

    context: Tensor
    targets: Tensor
    codes: Tensor


def frames(batch: int, masked: int, codes: int = CODES, dim: int = CODE_DIM) -> Frames:
    """Return random frames. Every target is a row of one codebook."""
    drawn = torch.randint(codes, (batch, masked))
    targets = torch.randn(codes, dim)[drawn]
    return Frames(torch.randn(batch, masked, dim, requires_grad=True), targets.requires_grad_(), drawn)


def our_loss(given: Frames, indices: Tensor, usable: Tensor) -> Tensor:
    """Return the summed loss with distractors ``indices`` (batch, masked, K) into the utterance's masked frames."""
    logits = contrastive_logits(*given, indices, usable, TEMPERATURE).flatten(0, 1)
    return F.cross_entropy(logits, _first(logits), reduction="sum")


def fairseqs_draw(given: Frames, distractors: int) -> tuple[Tensor, Tensor]:
    """Return negatives (K, batch, masked, C) and their indices (batch, masked * K) into all frames of the batch."""
    model = SimpleNamespace(n_negatives=distractors, cross_sample_negatives=0)
    return Wav2Vec2Model.sample_negatives(model, given.targets, given.targets.size(1))


def fairseqs_loss(given: Frames, negatives: Tensor) -> Tensor:
    """Return the same loss from fairseq's functions."""
    model = SimpleNamespace(logit_temp=TEMPERATURE)
    scores = Wav2Vec2Model.compute_preds(model, given.context, given.targets, negatives)
    logits = Wav2Vec2Model.get_logits(model, {"x": scores}).float()
    return F.cross_entropy(logits, _first(logits), reduction="sum")


def _first(logits: Tensor) -> Tensor:
    return torch.zeros(len(logits), dtype=torch.long)


def quantizers(dim: int, codes: int, code_dim: int) -> tuple[GumbelQuantizer, GumbelVectorQuantizer]:
    """Return our quantizer and fairseq's with the same parameters."""
    mine = GumbelQuantizer(dim, codes, code_dim)
    temperature = (GUMBEL_TEMPERATURE, GUMBEL_TEMPERATURE, 1.0)
    theirs = GumbelVectorQuantizer(dim, codes, temperature, 1, combine_groups=False, vq_dim=code_dim, time_first=True)
    theirs.weight_proj.load_state_dict(mine.to_logits.state_dict())
    theirs.vars.data.copy_(mine.codebook.detach()[None])
    return mine, theirs


def figures(scale: Scale) -> list[Figure]:
    """Return the ratios of both, with their random draws, forward and backward."""
    return [_contrast(scale), _quantizer(scale)]


def _contrast(scale: Scale) -> Figure:
    given = frames(scale.batch, MASKED)
    counts = torch.full((scale.batch,), MASKED)
    generator = torch.Generator().manual_seed(0)
    leaves = (given.context, given.targets)

    def mine() -> Sequence[Tensor]:
        loss = our_loss(given, *draw_distractors(counts, MASKED, DISTRACTORS, generator))
        return torch.autograd.grad(loss, leaves)

    def theirs() -> Sequence[Tensor]:
        return torch.autograd.grad(fairseqs_loss(given, fairseqs_draw(given, DISTRACTORS)[0]), leaves)

    seconds = minima({"ours": mine, "fairseq": theirs}, scale.rounds)
    name = f"fairseq / ours, contrastive loss, {given.codes.numel()} frames"
    meaning = f"drawing {DISTRACTORS} distractors, similarities, loss and gradients; fairseq gathers frames"
    return ratio(name, seconds, "fairseq", "ours", meaning, CONTRAST_GOAL)


def _quantizer(scale: Scale) -> Figure:
    mine, theirs = quantizers(DIM, CODES, CODE_DIM)
    count = scale.batch * MASKED
    states, direction = torch.randn(count, DIM, requires_grad=True), torch.randn(count, CODE_DIM)
    generator = torch.Generator().manual_seed(0)

    def run_mine() -> Sequence[Tensor]:
        found = mine(states, GUMBEL_TEMPERATURE, generator)
        return _gradients(found.vectors, found.diversity_loss, direction, (states, *mine.parameters()))

    def run_theirs() -> Sequence[Tensor]:
        found = theirs(states[None], produce_targets=True)
        diversity = 1.0 - found["prob_perplexity"] / CODES
        return _gradients(found["x"][0], diversity, direction, (states, *theirs.parameters()))

    runs: dict[str, Callable[[], Sequence[Tensor]]] = {"ours": run_mine, "fairseq": run_theirs}
    seconds = minima(runs, scale.rounds)
    name = f"fairseq / ours, quantizer, {count} frames"
    meaning = f"noise, {CODES} codes of {CODE_DIM}, diversity loss and gradients; fairseq multiplies frames x codes x C"
    return ratio(name, seconds, "fairseq", "ours", meaning, QUANTIZER_GOAL)


def _gradients(vectors: Tensor, diversity: Tensor, direction: Tensor, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
    return torch.autograd.grad((vectors * direction).sum() + diversity, leaves)
