"""Sentences and their target sentences: the dataset of text translation and text normalization."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset, data_utils
from torch import Tensor

from slam_plugin.data.datasets.speech_to_text import collate_targets
from slam_plugin.data.errors import Fault
from slam_plugin.data.randomness import generator
from slam_plugin.data.text.classes import Classes
from slam_plugin.data.text.indexed import index_hash, open_indexed


class Side(NamedTuple):
    """Sentences as ids (tokens,), each ending in ``</s>``, and their lengths (rows,) in tokens."""

    sentences: Sequence[Tensor]
    lengths: np.ndarray

    @classmethod
    def open(cls, path: Path, dictionary: Dictionary) -> Self:
        """Memory-map ``path.bin``. Raises the errors of :func:`open_indexed`."""
        sentences = open_indexed(path, dictionary)
        return cls(sentences, np.asarray(sentences.sizes))


class TextPairDataset(FairseqDataset):
    """Rows of two texts as ids, in batches of similar length. The trunk reads ``<s>`` source ``</s>``.

    Args:
        target: None if there is only text to decode.
        dictionary: gives the ids of ``<s>``, ``</s>`` and padding, which both sides share.
        start: the decoder's first symbol.
        seed: seed of the order of rows.
        shuffle: shuffle rows of equal length, so that batches differ from seed to seed (training).
        classes: classes of the rows, included in batches.
    """

    def __init__(
        self,
        source: Side,
        target: Side | None,
        dictionary: Dictionary,
        start: int,
        seed: int = 0,
        shuffle: bool = False,
        classes: Classes | None = None,
    ) -> None:
        self.source, self.target, self.start = source.sentences, None if target is None else target.sentences, start
        self.bos, self.eos, self.pad = dictionary.bos(), dictionary.eos(), dictionary.pad()
        self.source_lengths = source.lengths + 1  # with <s>
        self.target_lengths = None if target is None else target.lengths
        self.seed, self.shuffle, self.classes = seed, shuffle, classes

    def __len__(self) -> int:
        return len(self.source)

    def fingerprints(self) -> dict[str, str]:
        """Return a hash of the sentence lengths of each file (see :func:`index_hash`)."""
        sides = [side for side in (self.source, self.target) if side is not None]
        return {f"{side.path}.idx": index_hash(side.path) for side in sides}

    def describe(self, index: int) -> str:
        """Return the file and number of row ``index``, from 0."""
        return f"{self.source.path}.bin: sentence {index}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``id``, ``source`` (tokens,) with ``<s>`` and ``</s>``, ``target`` (tokens,) without, or None."""
        source = self.source[index]
        return {
            "id": index,
            "source": torch.cat((source.new_tensor([self.bos]), source)),
            "target": None if self.target is None else self.target[index][:-1],
        }

    def collater(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Pad items at the end to a batch.

        Returns:
            ``id`` (batch,), ``nsentences``, ``ntokens`` (``</s>`` included), ``target`` (batch, L) ending in ``</s>``,
            and under ``net_input``: ``src_tokens`` (batch, S), ``src_lengths`` (batch,), and ``prev_output_tokens``
            (batch, L), which begins with the start symbol and without targets holds nothing else. With classes, their
            codes ``classes`` (batch,) and the ``class_names`` of the whole dataset.
        """
        if not samples:
            return {}
        sources, ids = [sample["source"] for sample in samples], torch.tensor([sample["id"] for sample in samples])
        starts = [self.start] * len(samples)
        previous, target, ntokens = collate_targets(starts, [s["target"] for s in samples], self.pad, self.eos)
        batch = {
            "id": ids,
            "nsentences": len(samples),
            "ntokens": ntokens,
            "target": target,
            "net_input": {
                "src_tokens": torch.nn.utils.rnn.pad_sequence(sources, batch_first=True, padding_value=self.pad),
                "src_lengths": torch.tensor([len(source) for source in sources]),
                "prev_output_tokens": previous,
            },
        }
        if self.classes is not None:
            batch.update(classes=torch.from_numpy(self.classes.codes[ids.numpy()]), class_names=self.classes.names)
        return batch

    # ---- for fairseq's batching

    def num_tokens(self, index: int) -> int:
        return max(self.size(index))

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        lengths = self.source_lengths[indices]
        return lengths if self.target_lengths is None else np.maximum(lengths, self.target_lengths[indices])

    def size(self, index: int) -> tuple[int, int]:
        """Return the tokens of the source, with ``<s>`` and ``</s>``, and of the target, with ``</s>``."""
        return int(self.source_lengths[index]), 0 if self.target_lengths is None else int(self.target_lengths[index])

    def ordered_indices(self) -> np.ndarray:
        """Return rows by length of the source, then of the target, longest first, so that memory is tried first.

        Not numpy's global generator: fairseq makes batches once per start and seeds numpy by the epoch of that start,
        so a resumed run would have other batches.
        """
        rows = generator(self.seed, "order").permutation(len(self)) if self.shuffle else np.arange(len(self))
        if self.target_lengths is not None:
            rows = rows[np.argsort(-self.target_lengths[rows], kind="stable")]
        return rows[np.argsort(-self.source_lengths[rows], kind="stable")]

    def filter_indices_by_size(self, indices: np.ndarray, max_sizes: Any) -> tuple[np.ndarray, list[int]]:
        return data_utils.filter_paired_dataset_indices_by_size(
            self.source_lengths, self.target_lengths, indices, max_sizes
        )


def empty_sentences(path: Path, side: Side) -> list[Fault]:
    """Return a fault for each sentence of ``path.bin`` that is ``</s>`` alone, by its line from 1."""
    rows = np.flatnonzero(side.lengths < 2).tolist()
    return [Fault(str(path), None, f"line {row + 1} of its text: found nothing, expected a sentence") for row in rows]
