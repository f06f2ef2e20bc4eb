"""Beam search over a Transformer decoder: fairseq's hypotheses and scores, computed faster."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from fairseq.models.transformer import TransformerDecoderBase
from torch import Tensor

from slam_plugin.decoding.decoder_step import Caches, DecoderStep
from slam_plugin.kernels.ngrams import block_repeats

BLOCK = 64  # scores in a block of top()
DIRECT = 64  # top() uses torch.topk directly if there are fewer than DIRECT blocks for each score wanted


class BeamHypothesis(NamedTuple):
    """A hypothesis of a sentence.

    Attributes:
        tokens: (length,) ids, without the start symbol and ``</s>``; on the CPU.
        score: the sum of ``token_scores`` over (length + 1) ** length penalty.
        token_scores: (length + 1,) log-probability of each token, the last ``</s>``'s; on the CPU.
    """

    tokens: Tensor
    score: float
    token_scores: Tensor


class Candidates(NamedTuple):
    """The likeliest continuations of the hypotheses of each sentence, (batch, 2 * beam) each, best first.

    Attributes:
        scores: log-probability of the whole hypothesis after it is continued.
        parents: index, within the sentence, of the hypothesis that is continued.
        symbols: the symbol that is appended.
    """

    scores: Tensor
    parents: Tensor
    symbols: Tensor

    def of(self, sentences: Tensor) -> "Candidates":
        """Return the candidates of ``sentences``, in that order."""
        return Candidates(*(field[sentences] for field in self))

    def at(self, places: Tensor) -> "Candidates":
        """Return the candidates at ``places`` (batch, n) of each sentence's list."""
        return Candidates(*(field.gather(1, places) for field in self))


class Live:
    """The sentences still being decoded: with one hypothesis each at first, then with a whole beam.

    Attributes:
        tokens: (batch * hypotheses, 1 + step) the start symbol and the tokens so far.
        scores: (batch * hypotheses, step) log-probability of the hypothesis up to each token.
        sentences: (batch,) number of each sentence in the input batch.
        limits: (batch,) maximum number of tokens, ``</s>`` not counted.
        finished: (batch,) number of hypotheses that have ended.
    """

    def __init__(self, start: Tensor, limits: Tensor) -> None:
        self.tokens = start[:, None]
        self.scores = torch.zeros(len(start), 0, device=start.device)
        self.sentences, self.limits = torch.arange(len(start), device=start.device), limits
        self.finished = torch.zeros_like(limits)

    @property
    def step(self) -> int:
        """Return the number of tokens of each hypothesis so far."""
        return self.scores.size(1)

    @property
    def hypotheses(self) -> int:
        """Return the number of live hypotheses per sentence."""
        return len(self.tokens) // len(self.sentences)

    def follow(self, rows: Tensor, chosen: Candidates) -> None:
        """Replace the hypotheses by ``rows`` of themselves, each with the symbol of its chosen candidate appended.

        Args:
            rows: (batch * beam,) rows of ``tokens``, numbered as before :meth:`keep`, which leaves ``tokens`` alone.
            chosen: (batch, beam) candidates of the sentences that are kept.
        """
        self.tokens = torch.cat((self.tokens[rows], chosen.symbols.flatten()[:, None]), dim=1)
        self.scores = torch.cat((self.scores[rows], chosen.scores.flatten()[:, None]), dim=1)

    def keep(self, order: Tensor) -> None:
        """Keep only the sentences ``order``, in that order. :meth:`follow` then selects their hypotheses."""
        self.sentences, self.limits, self.finished = self.sentences[order], self.limits[order], self.finished[order]


class BeamSearch:
    """Finds the hypotheses of fairseq's ``SequenceGenerator`` with one model and length-normalized scores.

    Args:
        decoder: see :class:`DecoderStep`; its weights are read here.
        beam: hypotheses kept, and returned, for each sentence.
        max_len_a, max_len_b: a hypothesis has at most ``max_len_a`` times the number of encoder states of its sentence
            plus ``max_len_b`` tokens, ``</s>`` not counted, and fits the decoder's positions. fairseq counts the padded
            input of the longest sentence in the batch instead.
        min_len: minimum number of tokens of a hypothesis, ``</s>`` not counted.
        len_penalty: above 1 favors longer hypotheses.
        unk_penalty: above 0 favors fewer unknown symbols.
        no_repeat_ngram_size: n-grams of this size occur at most once in a hypothesis; 0 is off.
        suppress: symbols that are never output, besides padding.
    """

    def __init__(
        self,
        decoder: TransformerDecoderBase,
        *,
        beam: int,
        max_len_a: float = 0.0,
        max_len_b: int = 200,
        min_len: int = 1,
        len_penalty: float = 1.0,
        unk_penalty: float = 0.0,
        no_repeat_ngram_size: int = 0,
        suppress: Sequence[int] = (),
    ) -> None:
        symbols = decoder.dictionary
        if not 1 <= beam <= len(symbols) // 2:
            raise ValueError(f"beam: found {beam}, expected 1 to {len(symbols) // 2}, half of the decoder's symbols")
        self.beam, self.min_len, self.len_penalty = beam, min_len, len_penalty
        self.max_len_a, self.max_len_b, self.longest = max_len_a, max_len_b, decoder.max_positions() - 1
        self.unk_penalty, self.ngram = unk_penalty, no_repeat_ngram_size
        self.eos, self.unk = symbols.eos(), symbols.unk()
        self.never = torch.tensor([symbols.pad(), *suppress], device=decoder.embed_tokens.weight.device)
        self.decoder = DecoderStep(decoder)

    @torch.inference_mode()
    def __call__(self, encoder_out: Mapping[str, Sequence[Tensor]], start: Tensor) -> list[list[BeamHypothesis]]:
        """Return the hypotheses of each sentence, best first.

        Args:
            encoder_out: ``encoder_out`` [(T, batch, D)] and ``encoder_padding_mask`` [(batch, T)], True at padding.
            start: (batch,) the symbol that each sentence begins with, ``</s>`` or a language's tag; on the same device.

        Raises ValueError if a sentence's length limit is below ``min_len``, or if nothing that the options allow has a
        probability.
        """
        limits = self._limits(encoder_out)
        shortest = int(limits.min())  # until this step no sentence reaches its limit, and some checks are skipped
        found: list[list[BeamHypothesis]] = [[] for _ in start]
        caches = self.decoder.begin(encoder_out, hypotheses=1)
        live = Live(start, limits)
        while len(live.sentences):
            candidates = self._candidates(self._scores(live, caches, shortest), live)
            ends = candidates.symbols == self.eos
            # A sentence can only be done if one of its best candidates ends, or at its limit.
            if live.step >= shortest or ends[:, : self.beam].any():
                order = self._finish(candidates, ends, live, found)
            else:
                order = torch.arange(len(ends), device=ends.device)
            self._continue(candidates, ends, order, live, caches)
        if not all(found):
            raise ValueError("found no hypothesis with a probability above 0 that the search options allow")
        return [sorted(hypotheses, key=lambda hypothesis: -hypothesis.score) for hypotheses in found]

    def _limits(self, encoder_out: Mapping[str, Sequence[Tensor]]) -> Tensor:
        """Return the maximum number of tokens of each sentence (batch,)."""
        states, mask = encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
        lengths = torch.full(states.shape[1:2], len(states), device=states.device) if mask is None else (~mask).sum(1)
        limits = (self.max_len_a * lengths + self.max_len_b).long().clamp(max=self.longest)
        if int(limits.min()) < self.min_len:
            raise ValueError(f"min_len: found {self.min_len}, expected at most the length limit {int(limits.min())}")
        return limits

    def _scores(self, live: Live, caches: Caches, shortest: int) -> Tensor:
        """Return the log-probability of each next symbol (batch, hypotheses, symbols), -inf if it is not allowed."""
        scores = self.decoder(live.tokens[:, -1], caches).log_softmax(dim=-1)
        # Apply the options: suppressed symbols, penalty of unknown ones, minimum length, no repeated n-grams.
        scores.index_fill_(1, self.never, -torch.inf)
        if self.unk_penalty:
            scores[:, self.unk] -= self.unk_penalty
        if live.step < self.min_len:
            scores[:, self.eos] = -torch.inf
        if self.ngram:
            block_repeats(live.tokens, scores, self.ngram, live.step)
        scores = scores.view(len(live.sentences), live.hypotheses, -1)
        # A sentence at its limit can only end.
        if live.step >= shortest:
            full = live.step >= live.limits
            ends = scores[full, :, self.eos]
            scores[full] = -torch.inf
            scores[full, :, self.eos] = ends
        return scores

    def _candidates(self, scores: Tensor, live: Live) -> Candidates:
        """Return the 2 * beam likeliest continuations of each sentence: up to ``beam`` of them may end."""
        symbols = scores.size(-1)
        if live.step:
            scores += live.scores[:, -1].view(*scores.shape[:2], 1)
        best, places = top(scores.flatten(1), 2 * self.beam)
        return Candidates(best, places // symbols, places % symbols)

    def _finish(
        self, candidates: Candidates, ends: Tensor, live: Live, found: Sequence[list[BeamHypothesis]]
    ) -> Tensor:
        """Add the ended ones of the ``beam`` best candidates to ``found``. Return the sentences that are not done.

        A sentence is done if ``beam`` hypotheses have ended or it is at its limit. The sentences (left,) are numbered
        within the live batch, in the order of :func:`left`.
        """
        # Which of the beam best candidates end (batch, beam), no more of a sentence than its beam has room for.
        ended = ends[:, : self.beam] & candidates.scores[:, : self.beam].isfinite()
        ended &= live.finished[:, None] + ended.cumsum(1) <= self.beam
        live.finished += ended.sum(1)
        # Their hypotheses: rows of the live batch, the scores after each token, and what each token added.
        sentence, place = ended.nonzero(as_tuple=True)
        rows = sentence * live.hypotheses + candidates.parents[sentence, place]
        totals = torch.cat((live.scores[rows], candidates.scores[sentence, place][:, None]), dim=1)
        token_scores = totals.diff(dim=1, prepend=torch.zeros_like(totals[:, :1])).cpu()
        scores = (totals[:, -1] / totals.size(1) ** self.len_penalty).tolist()
        tokens = live.tokens[rows, 1:].cpu()
        for row, number in enumerate(live.sentences[sentence].tolist()):
            found[number].append(BeamHypothesis(tokens[row], scores[row], token_scores[row]))
        return left((live.finished >= self.beam) | (live.step >= live.limits))

    def _continue(self, candidates: Candidates, ends: Tensor, order: Tensor, live: Live, caches: Caches) -> None:
        """Continue the sentences ``order`` with their ``beam`` best candidates that did not end."""
        hypotheses, width = live.hypotheses, ends.size(1)
        # Drop the sentences that are done.
        if len(order) < len(ends):
            live.keep(order)
            caches.keep(order)
            candidates, ends = candidates.of(order), ends[order]
        # Choose the best candidates that did not end: those that did rank behind all others.
        ranks = torch.arange(width, device=ends.device) + width * ends
        chosen = candidates.at(ranks.topk(self.beam, largest=False).indices)
        # Append their symbols to the hypotheses that they continue: rows of the batch before sentences were dropped.
        rows = (order[:, None] * hypotheses + chosen.parents).flatten()
        live.follow(rows, chosen)
        caches.follow(rows)


def top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the ``count`` largest of ``scores`` (batch, n), largest first, and their places: both (batch, count).

    ``Tensor.topk``, faster for large n: the largest scores are all in the ``count`` blocks with the largest maxima, and
    a maximum is found much faster than an order.
    """
    batch, total = scores.shape
    if total < DIRECT * BLOCK * count:
        return scores.topk(count)
    # Cut into blocks, but for a rest shorter than a block, and find the blocks with the largest maxima.
    whole = total - total % BLOCK
    blocks = scores[:, :whole].view(batch, -1, BLOCK)
    best_blocks = blocks.amax(dim=2).topk(count).indices
    # Search the scores of these blocks and the rest: places (batch, count * BLOCK + rest).
    places = best_blocks[:, :, None] * BLOCK + torch.arange(BLOCK, device=scores.device)
    rest = torch.arange(whole, total, device=scores.device).expand(batch, -1)
    places = torch.cat((places.flatten(1), rest), dim=1)
    best, within = scores.gather(1, places).topk(count)
    # From places among the searched scores back to places among all.
    return best, places.gather(1, within)


def left(done: Tensor) -> Tensor:
    """Return the indices (left,) of the False entries of ``done`` (batch,), in an order that moves few of them.

    Index n stays at place n if possible; the gaps that done entries leave are filled with the last indices. Caches then
    copy only what moves (:meth:`Caches.keep`).
    """
    going = (~done).nonzero()[:, 0]
    order = torch.arange(len(going), device=done.device)
    # The first len(going) places hold as many done entries as there are going ones after these places.
    order[done[: len(going)]] = going[going >= len(going)]
    return order
