"""Beam search over a Transformer decoder: fairseq's hypotheses and scores in less time."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from fairseq.models.transformer import TransformerDecoderBase
from torch import Tensor

from slam_plugin.decoding.decoder_step import Caches, DecoderStep
from slam_plugin.kernels.ngrams import block_repeats

BLOCK = 64  # scores among which one maximum is looked for
FEW = 64  # times as many scores as are wanted are searched directly


class Hypothesis(NamedTuple):
    """What was written for a sentence.

    Attributes:
        tokens: (length,) ids, without the start symbol and ``</s>``; on the CPU.
        score: the sum of ``token_scores`` over (length + 1) ** length penalty.
        token_scores: (length + 1,) log-probability of each token, the last ``</s>``'s; on the CPU.
    """

    tokens: Tensor
    score: float
    token_scores: Tensor


class Candidates(NamedTuple):
    """Continuations of a sentence's hypotheses, (batch, 2 * beam) each, the likeliest first.

    Attributes:
        scores: log-probability of the whole.
        parents: the hypothesis that is continued.
        symbols: by what.
    """

    scores: Tensor
    parents: Tensor
    symbols: Tensor

    def of(self, sentences: Tensor) -> "Candidates":
        """Those of some sentences, in their order."""
        return Candidates(*(field[sentences] for field in self))

    def at(self, places: Tensor) -> "Candidates":
        """Those at (batch, n) places in the order."""
        return Candidates(*(field.gather(1, places) for field in self))


class Live:
    """Sentences that are being decoded: one hypothesis of each at first, then a whole beam.

    Attributes:
        tokens: (batch * hypotheses, 1 + step) the start symbol and what was written.
        scores: (batch * hypotheses, step) log-probability after each token.
        sentences: (batch,) which sentence it is.
        limits: (batch,) tokens at most, ``</s>`` not counted.
        finished: (batch,) hypotheses that ended.
    """

    def __init__(self, start: Tensor, limits: Tensor) -> None:
        self.tokens = start[:, None]
        self.scores = torch.zeros(len(start), 0, device=start.device)
        self.sentences, self.limits = torch.arange(len(start), device=start.device), limits
        self.finished = torch.zeros_like(limits)

    @property
    def step(self) -> int:
        """Tokens written of each hypothesis."""
        return self.scores.size(1)

    @property
    def hypotheses(self) -> int:
        """Of each sentence."""
        return len(self.tokens) // len(self.sentences)

    def follow(self, rows: Tensor, chosen: Candidates) -> None:
        """Continue the hypotheses ``rows``, in the batch as it was before :meth:`keep`, by what was chosen."""
        self.tokens = torch.cat((self.tokens[rows], chosen.symbols.flatten()[:, None]), dim=1)
        self.scores = torch.cat((self.scores[rows], chosen.scores.flatten()[:, None]), dim=1)

    def keep(self, order: Tensor) -> None:
        """Only the sentences ``order`` go on."""
        self.sentences, self.limits, self.finished = self.sentences[order], self.limits[order], self.finished[order]


class BeamSearch:
    """Finds what fairseq's ``SequenceGenerator`` finds with one model, scores normalised by length.

    Args:
        decoder: see :class:`DecoderStep`; its weights are read here.
        beam: hypotheses kept of a sentence, and returned.
        max_len_a, max_len_b: a hypothesis has at most ``max_len_a`` times the encoder's states of its sentence plus
            ``max_len_b`` tokens, ``</s>`` not counted, and fits the decoder's positions. fairseq counts the padded
            input of the longest sentence in the batch instead.
        min_len: tokens of a hypothesis at least, ``</s>`` not counted.
        len_penalty: above 1 favours longer hypotheses.
        unk_penalty: above 0 fewer unknown symbols.
        no_repeat_ngram_size: no n-gram of so many tokens is written twice; 0 lets all pass.
        suppress: symbols that are never written, besides padding.
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
    def __call__(self, encoder_out: Mapping[str, Sequence[Tensor]], start: Tensor) -> list[list[Hypothesis]]:
        """The hypotheses of each sentence, the best first.

        Args:
            encoder_out: ``encoder_out`` [(T, batch, D)] and ``encoder_padding_mask`` [(batch, T)], True at padding.
            start: (batch,) the symbol that each sentence begins with, ``</s>`` or a language's tag; on the same device.

        Raises ValueError where a sentence may not be as long as ``min_len``, or where nothing that the options allow
        has a probability.
        """
        limits = self._limits(encoder_out)
        shortest = int(limits.min())
        found: list[list[Hypothesis]] = [[] for _ in start]
        caches = self.decoder.begin(encoder_out, hypotheses=1)
        live = Live(start, limits)
        while len(live.sentences):
            candidates = self._candidates(self._scores(live, caches, shortest), live)
            ends = candidates.symbols == self.eos
            if live.step >= shortest or ends[:, : self.beam].any():
                order = self._finish(candidates, ends, live, found)
            else:
                order = torch.arange(len(ends), device=ends.device)
            self._continue(candidates, ends, order, live, caches)
        if not all(found):
            raise ValueError("the decoder gives no hypothesis that the options allow a probability")
        return [sorted(hypotheses, key=lambda each: -each.score) for hypotheses in found]

    def _limits(self, encoder_out: Mapping[str, Sequence[Tensor]]) -> Tensor:
        """(batch,) tokens of the longest hypothesis of each sentence."""
        states, mask = encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
        lengths = torch.full(states.shape[1:2], len(states), device=states.device) if mask is None else (~mask).sum(1)
        limits = (self.max_len_a * lengths + self.max_len_b).long().clamp(max=self.longest)
        if int(limits.min()) < self.min_len:
            raise ValueError(f"found sentences of at most {int(limits.min())} tokens, expected min_len {self.min_len}")
        return limits

    def _scores(self, live: Live, caches: Caches, shortest: int) -> Tensor:
        """(batch, hypotheses, symbols) log-probability of each continuation, -inf where it is not allowed."""
        scores = self.decoder(live.tokens[:, -1], caches).log_softmax(dim=-1)
        scores.index_fill_(1, self.never, -torch.inf)
        if self.unk_penalty:
            scores[:, self.unk] -= self.unk_penalty
        if live.step < self.min_len:
            scores[:, self.eos] = -torch.inf
        if self.ngram:
            block_repeats(live.tokens, scores, self.ngram, live.step)
        scores = scores.view(len(live.sentences), live.hypotheses, -1)
        if live.step >= shortest:
            full = live.step >= live.limits
            ends = scores[full, :, self.eos]
            scores[full] = -torch.inf
            scores[full, :, self.eos] = ends
        return scores

    def _candidates(self, scores: Tensor, live: Live) -> Candidates:
        """Twice as many as there are hypotheses, because each of these may end."""
        symbols = scores.size(-1)
        if live.step:
            scores += live.scores[:, -1].view(*scores.shape[:2], 1)
        best, places = top(scores.flatten(1), 2 * self.beam)
        return Candidates(best, places // symbols, places % symbols)

    def _finish(self, candidates: Candidates, ends: Tensor, live: Live, found: Sequence[list[Hypothesis]]) -> Tensor:
        """Take what ended among the ``beam`` best candidates; the sentences that go on, in the order to go on in.

        A sentence is done when ``beam`` hypotheses have ended or it may not be longer.
        """
        ended = ends[:, : self.beam] & candidates.scores[:, : self.beam].isfinite()
        ended &= live.finished[:, None] + ended.cumsum(1) <= self.beam
        live.finished += ended.sum(1)
        sentence, place = ended.nonzero(as_tuple=True)
        rows = sentence * live.hypotheses + candidates.parents[sentence, place]
        totals = torch.cat((live.scores[rows], candidates.scores[sentence, place][:, None]), dim=1)
        token_scores = totals.diff(dim=1, prepend=torch.zeros_like(totals[:, :1])).cpu()
        scores = (totals[:, -1] / totals.size(1) ** self.len_penalty).tolist()
        tokens = live.tokens[rows, 1:].cpu()
        for number, each in enumerate(live.sentences[sentence].tolist()):
            found[each].append(Hypothesis(tokens[number], scores[number], token_scores[number]))
        return left((live.finished >= self.beam) | (live.step >= live.limits))

    def _continue(self, candidates: Candidates, ends: Tensor, order: Tensor, live: Live, caches: Caches) -> None:
        """Go on with the ``beam`` best candidates that did not end, of the sentences ``order``."""
        hypotheses, width = live.hypotheses, ends.size(1)
        if len(order) < len(ends):
            live.keep(order)
            caches.keep(order)
            candidates, ends = candidates.of(order), ends[order]
        ranks = torch.arange(width, device=ends.device) + width * ends
        chosen = candidates.at(ranks.topk(self.beam, largest=False).indices)
        rows = (order[:, None] * hypotheses + chosen.parents).flatten()
        live.follow(rows, chosen)
        caches.follow(rows)


def top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest of (batch, n) in order, and their places: both (batch, count).

    They lie in the ``count`` blocks with the largest maxima, and maxima are found much faster than order.
    """
    batch, total = scores.shape
    if total < FEW * BLOCK * count:
        return scores.topk(count)
    whole = total - total % BLOCK
    blocks = scores[:, :whole].view(batch, -1, BLOCK)
    likely = blocks.amax(dim=2).topk(count).indices
    places = likely[:, :, None] * BLOCK + torch.arange(BLOCK, device=scores.device)
    rest = torch.arange(whole, total, device=scores.device).expand(batch, -1)
    places = torch.cat((places.flatten(1), rest), dim=1)
    best, within = scores.gather(1, places).topk(count)
    return best, places.gather(1, within)


def left(done: Tensor) -> Tensor:
    """The numbers that are not ``done``, few of them out of place: the last fill the gaps."""
    going = (~done).nonzero()[:, 0]
    order = torch.arange(len(going), device=done.device)
    order[done[: len(going)]] = going[going >= len(going)]
    return order
