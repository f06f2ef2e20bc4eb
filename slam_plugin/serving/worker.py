"""One thread that computes for a server, with a bounded number of requests that wait for it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from slam_plugin.serving.bounds import RequestError, Stopped

Result = TypeVar("Result")


class Stop:
    """A sign to running work that its request has ended. The work calls :meth:`check` between its steps."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """End the work at its next check."""
        self._event.set()

    def check(self) -> None:
        """Raise :class:`Stopped` if the request has ended."""
        if self._event.is_set():
            raise Stopped


class Worker:
    """Runs one piece of work at a time in a thread, so that the event loop never waits for the model.

    Example::

        worker = Worker(queue=8)
        with worker.place():
            result = await worker.run(lambda stop: slam.transcribe(data), ended=disconnected(request))
        worker.close()
    """

    def __init__(self, queue: int) -> None:
        self._places, self._taken = queue + 1, 0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="slam-model")
        self._stops: set[Stop] = set()

    @property
    def taken(self) -> int:
        """Return the number of requests that are received, wait or are computed."""
        return self._taken

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take one of the places within the block. Raises :class:`RequestError` (503) if all are taken."""
        if self._taken >= self._places:
            raise RequestError(503, f"all {self._places} places are taken; try again later")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def run(self, work: Callable[[Stop], Result], ended: asyncio.Future) -> Result:
        """Return what ``work`` returns in the thread, or raise its error.

        If ``ended`` is done first, or if the caller is cancelled (by a timeout), work that has not begun never does,
        and work that has begun is told to stop. Raises :class:`Stopped` in the first case.
        """
        stop = Stop()
        self._stops.add(stop)
        computed = asyncio.get_running_loop().run_in_executor(self._executor, self._unless_stopped, work, stop)
        try:
            await asyncio.wait({computed, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not computed.done():
                raise Stopped
            return computed.result()
        finally:
            stop.set()
            self._stops.discard(stop)
            if not computed.done():
                computed.cancel()

    @staticmethod
    def _unless_stopped(work: Callable[[Stop], Result], stop: Stop) -> Result:
        stop.check()
        return work(stop)

    def close(self) -> None:
        """Stop all work. Work that has begun ends at its next check."""
        for stop in self._stops:
            stop.set()
        self._executor.shutdown(wait=False, cancel_futures=True)
