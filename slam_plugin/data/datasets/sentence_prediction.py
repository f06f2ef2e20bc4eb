"""Sentences, or pairs of sentences, each with a class or a number: the data set of ``slam_sentence_prediction``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from torch import LongTensor, Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.data.randomness import generator

LEAST_POSITIONS = 8  # below, hardly a pair of words fits


class SentencePredictionDataset(FairseqDataset):
    """Rows as :func:`join_sentences` makes them, in batches of similar length.

    Args:
        sides: binarised text, the first sentences of all rows and, of pairs, the second ones; each ends in ``</s>``.
        targets: (rows,) classes or numbers; None where there are none.
        most: tokens of the longest row; longer ones are cut.
        seed: of the order of rows of equal length.
        shuffle: mix rows of equal length, so that batches differ from seed to seed (training).
    """

    def __init__(
        self,
        sides: Sequence[FairseqDataset],
        targets: Tensor | None,
        dictionary: Dictionary,
        most: int,
        seed: int = 0,
        shuffle: bool = False,
    ) -> None:
        self.sides, self.targets, self.dictionary, self.most = sides, targets, dictionary, most
        self.seed, self.shuffle = seed, shuffle
        # Beside its own </s>, which stays, each side has <s> or another </s> before it.
        whole = np.sum([np.asarray(side.sizes, dtype=np.int64) + 1 for side in sides], axis=0)
        self.sizes = np.minimum(whole, most)
        self.cut = int((whole > most).sum())

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``id``, ``tokens`` (length,) and ``target``, a scalar, None without targets."""
        sentences = [side[int(index)][:-1] for side in self.sides]
        tokens = join_sentences(sentences, self.dictionary, self.most)
        return {"id": int(index), "tokens": tokens, "target": None if self.targets is None else self.targets[index]}

    def collater(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Pad at the end.

        Returns:
            ``id`` (batch,), ``nsentences``, ``ntokens``, ``target`` (batch,) where there are targets, and under
            ``net_input``: ``src_tokens`` (batch, L), ``src_lengths`` (batch,).
        """
        if not samples:
            return {}
        rows = [sample["tokens"] for sample in samples]
        lengths = torch.tensor([len(row) for row in rows])
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.dictionary.pad())
        batch = {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "nsentences": len(samples),
            "ntokens": int(lengths.sum()),
            "net_input": {"src_tokens": tokens, "src_lengths": lengths},
        }
        if self.targets is not None:
            batch["target"] = torch.stack([sample["target"] for sample in samples])
        return batch

    # ---- what fairseq's batching asks

    def num_tokens(self, index: int) -> int:
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        return self.sizes[indices]

    def size(self, index: int) -> int:
        return int(self.sizes[index])

    def ordered_indices(self) -> np.ndarray:
        """Rows by length, longest first, so that the first batch shows whether memory suffices."""
        rows = generator(self.seed, "order").permutation(len(self)) if self.shuffle else np.arange(len(self))
        return rows[np.argsort(-self.sizes[rows], kind="stable")]


def join_sentences(sentences: Sequence[Tensor], dictionary: Dictionary, most: int) -> LongTensor:
    """``<s> a </s>``, as the trunk was pre-trained on, or of two sentences ``<s> a </s> </s> b </s>``, (length,).

    The doubled end, RoBERTa's (Liu et al. 2019, section 4.1), tells the border of a pair from that of two sentences of
    one text. What is longer than ``most`` loses the ends of its sentences, of the longest first, so that no sentence
    is lost to the other; the marks stay.
    """
    if most < LEAST_POSITIONS:
        raise DataError(f"longest input: found {most} tokens, expected at least {LEAST_POSITIONS}")
    left = most - 2 * len(sentences)
    kept: dict[int, Tensor] = {}
    by_length = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    for taken, i in enumerate(by_length):  # the shorter ones leave what they do not need of their share
        kept[i] = sentences[i][: left // (len(sentences) - taken)]
        left -= len(kept[i])
    end = torch.tensor([dictionary.eos()])
    parts = [part for i in range(len(sentences)) for part in (end, kept[i], end)]
    return torch.cat((torch.tensor([dictionary.bos()]), *parts[1:]))
