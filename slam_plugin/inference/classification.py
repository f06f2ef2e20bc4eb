"""Classification and regression of sentences and sentence pairs with a fine-tuned model."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.inference.batches import in_batches
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.inference.inputs import read_sentences

Sentences = str | tuple[str, str]


class Label(NamedTuple):
    """The likeliest class and its probability."""

    label: str
    probability: float


def classify(checkpoint: Checkpoint, inputs: Iterable[Sentences]) -> Iterator[Label | float | DataError]:
    """Yield the class of each sentence or pair (its number for regression), or the error of an unusable input."""
    checkpoint.require("classify")
    task, model = checkpoint.task, checkpoint.model
    text, limits, normalization = checkpoint.side("text"), checkpoint.limits("text"), checkpoint.normalization

    # Read an input: one or two texts as the ids (L,) of a row.
    def read(sentences: Any, number: int) -> Tensor:
        texts = sentences if isinstance(sentences, tuple) else (sentences,)
        if len(texts) not in (1, 2):
            raise DataError(f"input {number}: found {len(texts)} sentences, expected one or a pair")
        return read_sentences(texts, f"input {number}", checkpoint.source_vocabulary, limits, normalization)

    # Predict a batch (batch, L): numbers, or the likeliest label of each row with its probability.
    def compute(padded: Tensor, padding_mask: Tensor) -> list[Label] | list[float]:
        with torch.no_grad():
            predicted = task.predict(model, padded.to(checkpoint.device)).cpu()
        if task.regresses:
            return predicted.tolist()
        probabilities, ids = predicted.max(1)
        return [Label(task.labels[i], p) for i, p in zip(ids.tolist(), probabilities.tolist(), strict=True)]

    # Batched as any text is, but read as above.
    return in_batches(inputs, text._replace(read=read), compute)
