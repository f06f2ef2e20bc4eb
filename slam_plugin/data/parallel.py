"""An ordered map over many items by a few threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 32


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Yield the results of ``function`` in the order of ``items``, computed by ``jobs`` threads.

    One job runs in the caller's thread. Threads suffice because decoders, numpy and torch release the interpreter's
    lock while they compute. Unlike ``Executor.map`` it takes only a few items ahead, so that millions of them do not
    become futures at once.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}, expected at least 1")
    if jobs == 1:
        yield from map(function, items)
        return
    waiting = deque()
    with ThreadPoolExecutor(jobs) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > _AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
