"""Search for transducers (Graves 2012), greedy or with a beam, with the interface of fairseq's generators.

Both searches decode a batch of utterances at once: bookkeeping is in Python, utterance by utterance, and the networks
run on all utterances together.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from slam_plugin.decoding.base import AlignmentGenerator, AlignmentHypothesis, log_add

# At 25 states a second or more, 250 tokens a second: far above speech. It stops a model that has not learned to stop.
MAX_SYMBOLS = 10

Prefix = tuple[int, ...]  # the utterance's number in the batch, then the tokens so far


class Scorer:
    """A batch of speech, encoded by one or several models whose probabilities are averaged.

    Args:
        models: each with ``encode``, ``predict`` and ``join`` as :class:`slam_plugin.models.transducer.SlamTransducer`
            has them.
        forbidden: symbols of probability 0.
    """

    def __init__(
        self, models: Sequence[nn.Module], features: Tensor, padding_mask: Tensor, forbidden: Sequence[int] = ()
    ) -> None:
        self.models = models
        self._forbidden = list(forbidden)
        encoded = [model.encode(features, padding_mask) for model in models]
        self._states = [states for states, _ in encoded]
        self.lengths: list[int] = (~encoded[0][1]).sum(1).tolist()

    def log_probs(self, utterances: Sequence[int], times: Sequence[int], predicted: Sequence[Tensor]) -> Tensor:
        """Return the log-probabilities (N, symbols) of the next symbol.

        Args:
            utterances: utterance of each of the N rows; times: its encoder state.
            predicted: outputs (N, dim) of each model's prediction network.
        """
        device = self._states[0].device
        where = torch.tensor(utterances, device=device), torch.tensor(times, device=device)
        scores = [
            model.join(states[where], outputs).log_softmax(-1)
            for model, states, outputs in zip(self.models, self._states, predicted, strict=True)
        ]
        mean = scores[0] if len(scores) == 1 else torch.stack(scores).logsumexp(0) - math.log(len(scores))
        mean[:, self._forbidden] = -math.inf
        return mean


class Predictions:
    """Outputs and LSTM states of the prediction networks, one row per prefix.

    The same prefixes come up state after state, so that known ones are not computed again.

    Args:
        starts: (batch,), the first input of the prediction networks; the prefixes are then ``(0,)``, ``(1,)``, ...
    """

    def __init__(self, models: Sequence[nn.Module], starts: Tensor) -> None:
        self.models = models
        self._rows: dict[Prefix, int] = {(i,): i for i in range(len(starts))}
        self._held = [_flat(*model.predict(starts[:, None])) for model in models]

    def outputs(self, prefixes: Sequence[Prefix]) -> list[Tensor]:
        """Return each model's outputs (N, dim) for ``prefixes``."""
        rows = self._indices([self._rows[prefix] for prefix in prefixes])
        return [outputs[rows] for outputs, _, _ in self._held]

    def extend(self, prefixes: Sequence[Prefix]) -> None:
        """Compute the rows of new ``prefixes``. Without their last token they must have a row."""
        new = [prefix for prefix in dict.fromkeys(prefixes) if prefix not in self._rows]
        if not new:
            return
        rows = self._indices([self._rows[prefix[:-1]] for prefix in new])
        tokens = self._indices([prefix[-1] for prefix in new])[:, None]
        for i, (model, held) in enumerate(zip(self.models, self._held, strict=True)):
            state = held[1].index_select(1, rows), held[2].index_select(1, rows)
            computed = _flat(*model.predict(tokens, state))
            joined = zip(held, computed, (0, 1, 1), strict=True)
            self._held[i] = tuple(torch.cat((old, added), dim) for old, added, dim in joined)
        count = len(self._rows)
        self._rows.update((prefix, count + i) for i, prefix in enumerate(new))

    def keep(self, prefixes: Sequence[Prefix]) -> None:
        """Drop the rows of all other prefixes if they are at least half of all."""
        if len(self._rows) < 2 * len(prefixes):
            return
        rows = self._indices([self._rows[prefix] for prefix in prefixes])
        self._held = [
            (outputs[rows], hidden.index_select(1, rows), cell.index_select(1, rows))
            for outputs, hidden, cell in self._held
        ]
        self._rows = {prefix: i for i, prefix in enumerate(prefixes)}

    def _indices(self, values: list[int]) -> Tensor:
        return torch.tensor(values, device=self._held[0][0].device)


def _flat(predicted: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return predicted[:, 0], *state


def greedy(scorer: Scorer, starts: Tensor, blank: int, max_symbols: int) -> list[AlignmentHypothesis]:
    """Return for each utterance the path of the likeliest symbol at each step, with its log-probability.

    A blank goes to the next state; it is also taken after ``max_symbols`` symbols at one state.
    """
    batch = range(len(starts))
    predictions = Predictions(scorer.models, starts)
    prefixes: list[Prefix] = [(i,) for i in batch]
    token_scores: list[list[float]] = [[] for _ in batch]
    token_states: list[list[int]] = [[] for _ in batch]
    scores, times, written = [0.0 for _ in batch], [0 for _ in batch], [0 for _ in batch]
    while live := [i for i in batch if times[i] < scorer.lengths[i]]:
        predicted = predictions.outputs([prefixes[i] for i in live])
        log_probs = scorer.log_probs(live, [times[i] for i in live], predicted)
        best_scores, best = (values.tolist() for values in log_probs.max(-1))
        blank_scores = log_probs[:, blank].tolist()
        for i, token, score, blank_score in zip(live, best, best_scores, blank_scores, strict=True):
            if token == blank or written[i] == max_symbols:
                scores[i] += blank_score
                times[i], written[i] = times[i] + 1, 0
            else:
                scores[i] += score
                token_scores[i].append(score)
                token_states[i].append(times[i])
                prefixes[i], written[i] = (*prefixes[i], token), written[i] + 1
        predictions.extend(prefixes)
        predictions.keep(prefixes)
    found = zip(prefixes, scores, token_scores, token_states, strict=True)
    return [
        AlignmentHypothesis(prefix[1:], score, tuple(scored), tuple(states)) for prefix, score, scored, states in found
    ]


class Path(NamedTuple):
    """A prefix, its log-probability, and the log-probability and state of each token on the likeliest alignment."""

    prefix: Prefix
    score: float
    token_scores: tuple[float, ...]
    token_states: tuple[int, ...]

    @property
    def rank(self) -> float:
        """Return the length-normalized score, as torchaudio's search ranks: the start symbol and the end count too."""
        return self.score / (len(self.prefix) + 1)


def beam_search(
    scorer: Scorer, starts: Tensor, blank: int, beam: int, max_symbols: int
) -> list[list[AlignmentHypothesis]]:
    """Return the ``beam`` best hypotheses of each utterance, best first, as torchaudio's ``RNNTBeamSearch`` does.

    State by state, a path either ends the state with a blank or emits a symbol: at most ``max_symbols`` times, and only
    if it is likelier than the ``beam``-th best of the paths that have ended the state. Paths with the same symbols that
    end a state are merged, and their probabilities added. Scores are log-probabilities; :attr:`Path.rank` ranks.
    """
    predictions = Predictions(scorer.models, starts)
    beams = [[Path((i,), 0.0, (), ())] for i in range(len(starts))]
    for time in range(max(scorer.lengths)):
        live = [i for i, length in enumerate(scorer.lengths) if length > time]
        going = [path for i in live for path in beams[i]]
        ended: dict[int, dict[Prefix, Path]] = {i: {} for i in live}
        used: dict[Prefix, None] = {}
        for written in range(max_symbols + 1):
            if not going:
                break
            prefixes = [path.prefix for path in going]
            predictions.extend(prefixes)
            used.update(dict.fromkeys(prefixes))
            log_probs = scorer.log_probs(
                [prefix[0] for prefix in prefixes], [time] * len(going), predictions.outputs(prefixes)
            )
            _end(ended, going, log_probs[:, blank].tolist())
            going = _go_on(ended, going, log_probs, blank, beam, time) if written < max_symbols else []
        for i in live:
            beams[i] = sorted(ended[i].values(), key=lambda path: -path.rank)[:beam]
        predictions.keep(list(used))
    return [
        [AlignmentHypothesis(p.prefix[1:], p.score, p.token_scores, p.token_states) for p in paths] for paths in beams
    ]


def _end(ended: dict[int, dict[Prefix, Path]], going: Sequence[Path], blank_scores: Sequence[float]) -> None:
    """Add the blank to the paths ``going`` and merge them into those that have ended the state."""
    for path, blank_score in zip(going, blank_scores, strict=True):
        same = ended[path.prefix[0]]
        path = path._replace(score=path.score + blank_score)
        earlier = same.get(path.prefix)
        if earlier is not None:
            likelier = max(earlier, path, key=lambda p: p.score)
            path = likelier._replace(score=log_add(earlier.score, path.score))
        same[path.prefix] = path


def _go_on(
    ended: dict[int, dict[Prefix, Path]], going: Sequence[Path], log_probs: Tensor, blank: int, beam: int, time: int
) -> list[Path]:
    """Return for each utterance the ``beam`` likeliest paths with one more symbol that can still be among its best.

    The symbol is emitted at the state ``time``.
    """
    symbols = log_probs.index_fill(1, torch.tensor([blank], device=log_probs.device), -math.inf)
    scores, tokens = (values.tolist() for values in symbols.topk(min(beam, symbols.size(1) - 1)))
    longer: dict[int, list[tuple[float, Path, int, float]]] = {}
    for path, path_scores, path_tokens in zip(going, scores, tokens, strict=True):
        candidates = longer.setdefault(path.prefix[0], [])
        candidates += [(path.score + s, path, t, s) for s, t in zip(path_scores, path_tokens, strict=True)]
    following = []
    for i, candidates in longer.items():
        best = sorted((path.score for path in ended[i].values()), reverse=True)
        threshold = best[beam - 1] if len(best) >= beam else -math.inf
        candidates.sort(key=lambda candidate: -candidate[0])
        following += [
            Path((*path.prefix, token), score, (*path.token_scores, token_score), (*path.token_states, time))
            for score, path, token, token_score in candidates[:beam]
            if score > threshold
        ]
    return following


class TransducerGenerator(AlignmentGenerator):
    """Transducer search: greedy with a beam of 1, else :func:`beam_search`.

    Args:
        max_symbols: maximum number of symbols emitted at one state.
    """

    name = "transducer"

    def __init__(self, dictionary: Dictionary, beam: int, blank: int, max_symbols: int = MAX_SYMBOLS) -> None:
        super().__init__(dictionary, beam, blank)
        self.max_symbols = max_symbols

    def search(self, models: Sequence[nn.Module], inputs: Mapping[str, Tensor]) -> list[list[AlignmentHypothesis]]:
        scorer = Scorer(models, inputs["features"], inputs["padding_mask"], self.forbidden)
        starts = inputs["prev_output_tokens"][:, 0]
        if self.beam == 1:
            return [[hypothesis] for hypothesis in greedy(scorer, starts, self.blank, self.max_symbols)]
        return beam_search(scorer, starts, self.blank, self.beam, self.max_symbols)
