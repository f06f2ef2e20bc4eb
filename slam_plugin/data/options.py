"""Options that kinds of corpora and objectives declare, as ``corpora.yaml`` may set them."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Option(NamedTuple):
    """A setting that a kind or an objective declares.

    A ``Path`` is relative to the data folder, a default as well. A ``Schedule`` is written as a number, or as a mapping
    from updates to numbers.
    """

    type: type
    default: Any


class Kind(NamedTuple):
    """A registered kind of corpus: its own options, and the endings of the files that an entry of ``train`` means."""

    options: Mapping[str, Option] = {}
    suffixes: tuple[str, ...] = ("",)
