"""Any number of inputs through a model, in batches of similar length, each with its result or its error."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from slam_plugin.data.errors import DataError

# Inputs that are read, and sorted by length, together: what is in memory at one time.
POOL = 256

Result = TypeVar("Result")


class Side(NamedTuple):
    """One of the two things that a trunk reads, and how it is batched.

    Attributes:
        read: one input and its number -> (length, ...); :class:`DataError` where it cannot be used.
        pad: what follows a short item in a batch.
        budget: of one batch, padding included, in items' length.
    """

    read: Callable[[Any, int], Tensor]
    pad: float
    budget: int


def in_batches(
    inputs: Iterable[Any], side: Side, compute: Callable[[Tensor, Tensor], Sequence[Result]]
) -> Iterator[Result | DataError]:
    """The result of each input in order, or the error of reading it.

    Args:
        compute: (batch, longest, ...) and its padding mask (batch, longest) -> a result for each row.
    """
    numbered = enumerate(inputs)
    while pool := list(itertools.islice(numbered, POOL)):
        items: dict[int, Tensor] = {}
        results: dict[int, Result | DataError] = {}
        for number, source in pool:
            try:
                items[number] = side.read(source, number)
            except DataError as error:
                results[number] = error
        for batch in _cut({number: len(item) for number, item in items.items()}, side.budget):
            padded, padding_mask = pad([items[number] for number in batch], side.pad)
            results.update(zip(batch, compute(padded, padding_mask), strict=True))
        yield from (results[number] for number, _ in pool)


def pad(items: Sequence[Tensor], value: float) -> tuple[Tensor, Tensor]:
    """(batch, longest, ...) and padding (batch, longest)."""
    lengths = torch.tensor([len(item) for item in items])
    padded = nn.utils.rnn.pad_sequence(list(items), batch_first=True, padding_value=value)
    return padded, torch.arange(padded.size(1)) >= lengths[:, None]


def _cut(lengths: dict[int, int], budget: int) -> Iterator[list[int]]:
    """Keys by length, the longest first, in batches whose size after padding is within ``budget``, or of one item."""
    batch: list[int] = []
    for key in sorted(lengths, key=lambda key: -lengths[key]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch


def one_or_all(inputs: Any, compute: Callable[[list[Any]], Iterable[Result | DataError]]) -> Result | list[Result]:
    """A list for a list, one result for anything else; the first error is raised."""
    if isinstance(inputs, list):
        return [_checked(result) for result in compute(inputs)]
    return _checked(next(iter(compute([inputs]))))


def _checked(result: Result | DataError) -> Result:
    if isinstance(result, DataError):
        raise result
    return result
