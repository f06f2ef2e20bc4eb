"""What a workaround is."""

from collections.abc import Callable
from typing import NamedTuple


class Workaround(NamedTuple):
    """One workaround: its name, the reason for it, and ``install``, which runs once in a process."""

    name: str
    reason: str
    install: Callable[[], None]
