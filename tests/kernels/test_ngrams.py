"""Blocking of repeated n-grams against its definition, fairseq's loop and, if it is built, fairseq's CUDA kernel."""

import importlib.util

import pytest
import torch
from fairseq.ngram_repeat_block import NGramRepeatBlock

from slam_plugin import compat
from slam_plugin.kernels.ngrams import MODULE, block_repeats

ROWS, LENGTH, SYMBOLS, START, PAD = 7, 24, 5, 2, 1


def hypotheses(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make fairseq's buffer of tokens after ``step`` steps, and scores of the next token."""
    generator = torch.Generator().manual_seed(step)
    tokens = torch.full((ROWS, LENGTH), PAD)
    tokens[:, 0] = START
    tokens[:, 1 : step + 1] = torch.randint(START + 1, SYMBOLS, (ROWS, step), generator=generator)
    return tokens, torch.randn(ROWS, SYMBOLS, generator=generator)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_no_ngram_is_written_twice(size):
    blocked = 0
    for step in range(LENGTH):
        tokens, scores = hypotheses(step)
        found = block_repeats(tokens, scores.clone(), size, step)
        for row, said in enumerate(tokens[:, 1 : step + 1].tolist()):
            known = {tuple(said[i : i + size]) for i in range(len(said) - size + 1)}
            for symbol in range(SYMBOLS):
                ngram = tuple((said + [symbol])[-size:])
                expected = -torch.inf if ngram in known else scores[row, symbol]
                assert found[row, symbol] == expected, (step, said, symbol)
        blocked += int(found.isinf().sum())
    assert blocked > 0


@pytest.mark.parametrize("size", [2, 3, 4])
def test_it_is_fairseqs_loop_over_what_was_written(size):
    compat.apply()
    block, loop = NGramRepeatBlock(size, use_extension=False), NGramRepeatBlock._no_repeat_ngram.__wrapped__
    for step in range(LENGTH):
        tokens, scores = hypotheses(step)
        expected = loop(block, tokens[:, : step + 1], scores.clone(), ROWS, 1, step)
        assert torch.equal(block(tokens, scores, ROWS, 1, step), expected)


@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec(f"fairseq.{MODULE}") is None,
    reason="no GPU, or the kernel is not built",
)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_it_is_fairseqs_cuda_kernel(size):
    kernel = NGramRepeatBlock(size)
    assert kernel.use_extension
    for step in range(LENGTH):
        tokens, scores = (tensor.cuda() for tensor in hypotheses(step))
        expected = kernel(tokens, scores.clone(), ROWS, 1, step)
        assert torch.equal(block_repeats(tokens, scores, size, step), expected)
