"""Workarounds for fairseq-generate: its search and its scores."""

import functools

from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.scoring.bleu import Scorer

from slam_plugin.compat.workaround import Workaround
from slam_plugin.kernels.ngrams import block_repeats


def _block_ngrams() -> None:
    original = NGramRepeatBlock._no_repeat_ngram

    @functools.wraps(original)
    def _no_repeat_ngram(self, tokens, lprobs, bsz, beam_size, step):
        return block_repeats(tokens, lprobs, self.no_repeat_ngram_size, step)

    NGramRepeatBlock._no_repeat_ngram = _no_repeat_ngram


def _score_empty_sentences() -> None:
    add, brevity, result_string = Scorer.add, Scorer.brevity, Scorer.result_string

    @functools.wraps(add)
    def safe_add(self, ref, pred):
        lengths = [int(((tokens != self.pad) & (tokens != self.eos)).sum()) for tokens in (ref, pred)]
        if all(lengths):
            add(self, ref, pred)
            return
        # What the library does otherwise: no n-gram of an empty sentence matches.
        self.stat.reflen += lengths[0]
        self.stat.predlen += lengths[1]
        for order in range(1, 5):
            name = f"count{order}"
            setattr(self.stat, name, getattr(self.stat, name) + max(0, lengths[1] - order + 1))

    Scorer.add = safe_add
    Scorer.brevity = functools.wraps(brevity)(lambda self: brevity(self) if self.stat.predlen else 0.0)
    Scorer.result_string = functools.wraps(result_string)(
        lambda self, order=4: result_string(self, order) if self.stat.reflen else "BLEU: no reference has a word"
    )


WORKAROUNDS = (
    Workaround(
        "n-gram blocking",
        "without fairseq's CUDA kernel, --no-repeat-ngram-size does nothing: the loop looks for repetitions of the end "
        "of the generator's buffer, which is padding (facebookresearch/fairseq issue 5206)",
        _block_ngrams,
    ),
    Workaround(
        "empty sentences",
        "fairseq-generate scores BLEU with a C library that reads before the beginning of an empty hypothesis: it dies "
        "of SIGSEGV or never ends, and its score divides by zero if all hypotheses are empty",
        _score_empty_sentences,
    ),
)
