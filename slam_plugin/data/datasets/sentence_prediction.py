"""Sentences or pairs of sentences, each with a class or a number: the dataset of ``slam_sentence_prediction``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from torch import LongTensor, Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.data.randomness import generator
from slam_plugin.data.text.indexed import index_hash

MIN_POSITIONS = 8  # hardly a pair of words fits into fewer


class SentencePredictionDataset(FairseqDataset):
    """Rows of :func:`join_sentences`, in batches of similar length.

    Args:
        sides: binarized text, the first sentences of all rows and, for pairs, the second ones; each ends in ``</s>``.
        targets: (rows,) classes or numbers; None if unlabeled.
        most: maximum number of tokens in a row; longer ones are cut.
        seed: seed of the order of rows of equal length.
        shuffle: shuffle rows of equal length, so that batches differ from seed to seed (training).
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
        # Each side keeps its own </s> and gets <s> or another </s> before it.
        whole = np.sum([np.asarray(side.sizes, dtype=np.int64) + 1 for side in sides], axis=0)
        self.sizes = np.minimum(whole, most)
        self.cut = int((whole > most).sum())

    def __len__(self) -> int:
        return len(self.sizes)

    def fingerprints(self) -> dict[str, str]:
        """Return a hash of the sentence lengths of each file of texts (see :func:`index_hash`)."""
        return {f"{side.path}.idx": index_hash(side.path) for side in self.sides}

    def describe(self, index: int) -> str:
        """Return the file and number of row ``index``, from 0."""
        return f"{self.sides[0].path}.bin: sentence {index}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``id``, ``tokens`` (length,) and ``target``, a scalar, None without targets."""
        sentences = [side[int(index)][:-1] for side in self.sides]
        tokens = join_sentences(sentences, self.dictionary, self.most)
        return {"id": int(index), "tokens": tokens, "target": None if self.targets is None else self.targets[index]}

    def collater(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Pad rows at the end to a batch.

        Returns:
            ``id`` (batch,), ``nsentences``, ``ntokens``, ``target`` (batch,) if there are targets, and under
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

    # ---- for fairseq's batching

    def num_tokens(self, index: int) -> int:
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        return self.sizes[indices]

    def size(self, index: int) -> int:
        return int(self.sizes[index])

    def ordered_indices(self) -> np.ndarray:
        """Return rows by length, longest first, so that the first batch shows whether memory suffices."""
        rows = generator(self.seed, "order").permutation(len(self)) if self.shuffle else np.arange(len(self))
        return rows[np.argsort(-self.sizes[rows], kind="stable")]


def join_sentences(sentences: Sequence[Tensor], dictionary: Dictionary, most: int) -> LongTensor:
    """Return ``<s> a </s>``, as in pre-training, or ``<s> a </s> </s> b </s>`` for two sentences, (length,).

    The doubled ``</s>`` of RoBERTa (Liu et al. 2019, section 4.1) distinguishes a pair from two sentences of one text.
    If the row is longer than ``most``, the ends of the longer sentences are cut first, so that neither displaces the
    other. All ``<s>`` and ``</s>`` stay.
    """
    if most < MIN_POSITIONS:
        raise DataError(f"longest input: found {most} tokens, expected at least {MIN_POSITIONS}")
    left = most - 2 * len(sentences)
    kept: dict[int, Tensor] = {}
    by_length = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    for taken, i in enumerate(by_length):  # shorter ones leave the unused part of their share
        kept[i] = sentences[i][: left // (len(sentences) - taken)]
        left -= len(kept[i])
    end = torch.tensor([dictionary.eos()])
    parts = [part for i in range(len(sentences)) for part in (end, kept[i], end)]
    return torch.cat((torch.tensor([dictionary.bos()]), *parts[1:]))
