"""Options that kinds of corpora and objectives declare for ``corpora.yaml``."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class Option(NamedTuple):
    """A setting that a kind or an objective declares.

    A ``Path``, also a default one, is relative to the data folder. A ``Schedule`` is written as a number, or as a
    mapping from updates to numbers.
    """

    type: type
    default: Any


# Options by name: type and default, as an Option or as a plain pair.
Declared = Mapping[str, tuple[type, Any]]


class Kind(Protocol):
    """A registered kind of corpus: its own options, and the file suffixes that an entry of ``train`` stands for."""

    options: Mapping[str, Option]
    suffixes: tuple[str, ...]
