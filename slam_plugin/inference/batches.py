"""Running a model over any number of inputs, in batches of similar length: a result or an error for each input."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from slam_plugin.data.errors import DataError

# The most inputs, and the most full batches of them, that are read and sorted by length together. They are in memory at
# one time.
POOL, POOL_BATCHES = 256, 8

Result = TypeVar("Result")


class Side(NamedTuple):
    """How speech or text is read and batched.

    Attributes:
        read: (input, its number) -> tensor (length, ...); :class:`DataError` if the input cannot be used.
        pad: padding value.
        budget: maximum size of a batch, padding included, in the unit of the items' length.
    """

    read: Callable[[Any, int], Tensor]
    pad: float
    budget: int


def in_batches(
    inputs: Iterable[Any], side: Side, compute: Callable[[Tensor, Tensor], Sequence[Result]]
) -> Iterator[Result | DataError]:
    """Yield the result of each input in order, or the error of reading it.

    Args:
        compute: (batch, longest, ...) and padding mask (batch, longest) -> a result for each row.
    """
    for pool in _pools(inputs, side):
        results = dict(pool)
        items = {number: item for number, item in pool if not isinstance(item, DataError)}
        for batch in _cut({number: len(item) for number, item in items.items()}, side.budget):
            padded, padding_mask = pad([items[number] for number in batch], side.pad)
            results.update(zip(batch, compute(padded, padding_mask), strict=True))
        yield from (results[number] for number, _ in pool)


def _pools(inputs: Iterable[Any], side: Side) -> Iterator[list[tuple[int, Tensor | DataError]]]:
    """Yield pools of numbered items, or the errors of reading them."""
    pool: list[tuple[int, Tensor | DataError]] = []
    size = 0
    for number, source in enumerate(inputs):
        try:
            item = side.read(source, number)
            size += len(item)
        except DataError as error:
            item = error
        pool.append((number, item))
        if len(pool) == POOL or size >= POOL_BATCHES * side.budget:
            yield pool
            pool, size = [], 0
    if pool:
        yield pool


def pad(items: Sequence[Tensor], value: float) -> tuple[Tensor, Tensor]:
    """Return ``items`` padded with ``value`` (batch, longest, ...), and the padding mask (batch, longest)."""
    lengths = torch.tensor([len(item) for item in items])
    padded = nn.utils.rnn.pad_sequence(list(items), batch_first=True, padding_value=value)
    return padded, torch.arange(padded.size(1)) >= lengths[:, None]


def _cut(lengths: dict[int, int], budget: int) -> Iterator[list[int]]:
    """Yield batches of keys, longest first, each within ``budget`` after padding or of one item."""
    batch: list[int] = []
    for key in sorted(lengths, key=lambda key: -lengths[key]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch


def one_or_all(inputs: Any, compute: Callable[[list[Any]], Iterable[Result | DataError]]) -> Result | list[Result]:
    """Return a list of results for a list of inputs, else the one result. Raise the first error."""
    if isinstance(inputs, list):
        return [_checked(result) for result in compute(inputs)]
    return _checked(next(iter(compute([inputs]))))


def _checked(result: Result | DataError) -> Result:
    if isinstance(result, DataError):
        raise result
    return result
