"""Blocks against fairseq's, for any division of the text into chunks."""

import numpy as np
import pytest
from fairseq.data import TokenBlockDataset

from slam_plugin.data.errors import DataError
from slam_plugin.data.text import blocks


@pytest.mark.parametrize("chunk", [1, 50, 1 << 15])
@pytest.mark.parametrize("seed", range(20))
def test_blocks_are_fairseqs(seed, chunk, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK", chunk)
    rng = np.random.default_rng(seed)
    most = int(rng.integers(7, 40))
    # A third of the sentences are too long for a block with another one, some for any block.
    sizes = rng.integers(2, 1 + most + most // 5, int(rng.integers(2, 600))).astype(np.int32)
    sizes[1:][rng.random(len(sizes) - 1) < rng.choice([0.0, 0.1, 0.6])] = 1
    theirs = TokenBlockDataset(sizes, sizes, block_size=most, pad=1, eos=2, break_mode="complete_doc")
    found = blocks.find_blocks(sizes, most, "text")
    assert found.lengths.tolist() == theirs.sizes.tolist()
    assert found.first.tolist() == theirs.block_to_dataset_index[:, 0].tolist()
    assert not theirs.block_to_dataset_index[:, 1].any()  # theirs begin with a sentence as well
    assert found.first.dtype == found.lengths.dtype == np.int32


def test_a_sentence_longer_than_sixteen_bits_keeps_its_length():
    sizes = np.array([70_000, 3, 1, 5], np.int32)
    assert blocks.find_blocks(sizes, 20, "text").lengths.tolist() == [70_000, 3, 5]


def test_a_sentence_without_a_token_is_named():
    with pytest.raises(DataError, match="text.bin: sentence 2 has no token"):
        blocks.find_blocks(np.array([3, 1, 0, 2], np.int32), 20, "text.bin")
