"""Search for CTC (Graves et al. 2006), best path or prefix beam, with the interface of fairseq's generators."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from slam_plugin.data.extras import require_packages
from slam_plugin.decoding.base import AlignmentGenerator, AlignmentHypothesis, log_add
from slam_plugin.decoding.options import SearchOptions


def best_path(log_probs: np.ndarray, blank: int) -> AlignmentHypothesis:
    """Return the best path through (frames, symbols), repeats merged and blanks dropped, with the path's score."""
    path = log_probs.argmax(axis=1)
    emissions = log_probs[np.arange(len(path)), path]
    begins = (path != blank) & (np.diff(path, prepend=blank) != 0)
    states = tuple(np.flatnonzero(begins).tolist())
    return AlignmentHypothesis(
        tuple(path[begins].tolist()), float(emissions.sum()), tuple(emissions[begins].tolist()), states
    )


def prefix_beam(log_probs: np.ndarray, blank: int, beam: int) -> list[AlignmentHypothesis]:
    """Return the ``beam`` likeliest hypotheses, best first, each scored over all its paths (Hannun 2014).

    Only the 2 * beam likeliest symbols of a frame extend a prefix. The search is exact if ``beam`` is at least the
    number of all prefixes. A token's score is its highest log-probability at a frame where it may begin.

    Args:
        log_probs: (frames, symbols).
    """
    # prefix -> log-probability of the paths that end in a blank, and of those that end in the prefix's last symbol
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    token_scores: dict[tuple[int, ...], tuple[float, ...]] = {(): ()}
    for frame in log_probs:
        # The scores of all prefixes after this frame, collected by add().
        likeliest = np.argsort(-frame, kind="stable")[: 2 * beam].tolist()
        scores = frame.tolist()
        following: dict[tuple[int, ...], tuple[float, float]] = {}
        rescored: dict[tuple[int, ...], tuple[float, ...]] = {}

        def add(prefix: tuple[int, ...], blank_score: float, symbol_score: float, following=following) -> None:
            old = following.get(prefix, (-math.inf, -math.inf))
            following[prefix] = (log_add(old[0], blank_score), log_add(old[1], symbol_score))

        for prefix, (ends_blank, ends_symbol) in beams.items():
            # The prefix stays the same: the frame is blank or repeats its last symbol.
            total = log_add(ends_blank, ends_symbol)
            repeated = ends_symbol + scores[prefix[-1]] if prefix else -math.inf
            add(prefix, total + scores[blank], repeated)
            rescored.setdefault(prefix, token_scores[prefix])
            # The prefix grows by a symbol; by the same symbol again only after a blank.
            for symbol in likeliest:
                before = ends_blank if prefix and symbol == prefix[-1] else total
                if symbol == blank or -math.inf in (before, scores[symbol]):
                    continue
                longer = (*prefix, symbol)
                add(longer, -math.inf, before + scores[symbol])
                earlier = token_scores[longer][-1] if longer in token_scores else -math.inf
                rescored[longer] = (*token_scores[prefix], max(earlier, scores[symbol]))
        best = sorted(following, key=lambda prefix, f=following: -log_add(*f[prefix]))[:beam]
        beams = {prefix: following[prefix] for prefix in best}
        token_scores = {prefix: rescored[prefix] for prefix in best}
    return [AlignmentHypothesis(prefix, log_add(*ends), token_scores[prefix]) for prefix, ends in beams.items()]


class CtcGenerator(AlignmentGenerator):
    """CTC search: best path with a beam of 1, else prefix beam. With ``options`` it is flashlight's search.

    Raises :class:`DataError` if flashlight is needed and absent, or a file of the options cannot be used.
    """

    name = "CTC"

    def __init__(self, dictionary: Dictionary, beam: int, blank: int, options: SearchOptions | None = None) -> None:
        super().__init__(dictionary, beam, blank)
        self._with_lm = None if options is None else self._flashlight(dictionary, options)

    def _flashlight(
        self, dictionary: Dictionary, options: SearchOptions
    ) -> Callable[[np.ndarray], list[AlignmentHypothesis]]:
        require_packages("decoding with a language model, a lexicon, hotwords or a beam threshold", "lm")
        from slam_plugin.decoding.lm_beam import LmBeam

        return LmBeam(dictionary.symbols, self.blank, self.forbidden, self.beam, options)

    def search(self, models: Sequence[nn.Module], inputs: Mapping[str, Tensor]) -> list[list[AlignmentHypothesis]]:
        outputs = [model(inputs["features"], inputs["padding_mask"]) for model in models]
        log_probs = torch.stack([output["logits"].float().log_softmax(-1) for output in outputs])
        log_probs = log_probs.logsumexp(0) - math.log(len(outputs))
        log_probs[..., self.forbidden] = -math.inf
        log_probs = log_probs.cpu().numpy()
        lengths = (~outputs[0]["padding_mask"]).sum(1).tolist()
        utterances = [frames[:length] for frames, length in zip(log_probs, lengths, strict=True)]
        if self._with_lm is not None:
            return [self._with_lm(frames) for frames in utterances]
        if self.beam == 1:
            return [[best_path(frames, self.blank)] for frames in utterances]
        return [prefix_beam(frames, self.blank, self.beam) for frames in utterances]
