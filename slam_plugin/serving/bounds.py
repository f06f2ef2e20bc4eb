"""Bounds of a server, and the errors that a request may cause, each with its HTTP status. Imports little."""

from typing import NamedTuple

MAX_SENTENCES, MAX_CHARACTERS = 20, 1000
MAX_BEAM = 20
# Recordings are averaged over channels; more of them only cost time.
MAX_CHANNELS = 32


class Bounds(NamedTuple):
    """What one request may cost.

    Attributes:
        max_bytes: of a request's body.
        max_seconds: of a recording.
        queue: requests that may wait while another one is computed.
        timeout: seconds of a request, from its first byte to its result.
    """

    max_bytes: int = 64 << 20
    max_seconds: float = 600.0
    queue: int = 8
    timeout: float = 300.0


class RequestError(Exception):
    """A request that gets no result, with the HTTP ``status`` of its answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Stopped(Exception):
    """Work whose request has ended: nobody waits for its result."""
