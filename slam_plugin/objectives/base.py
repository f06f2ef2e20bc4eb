"""What an objective is: a head and a loss, the kinds of batch it reads, how these are prepared, and what it logs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpanMask(NamedTuple):
    """Spans to mask: the expected share of masked positions and the length of a span."""

    rate: float
    span: int


@dataclass(frozen=True)
class Preparation:
    """How the batches of a kind are prepared.

    Attributes:
        speech_mask, text_mask: spans to mask on each side; None leaves a side unmasked.
        false_pairs: where false transcripts come from, "batch" or "text"; None makes true pairs only.
    """

    speech_mask: SpanMask | None = None
    text_mask: SpanMask | None = None
    false_pairs: str | None = None


@dataclass
class MaskedPass:
    """One micro-batch after the trunk: what objectives read.

    ``encoded`` is the trunk's ``Encoded``; ``generator`` draws what is random on the device (the batch's own key seeds
    it); ``cache`` keeps what several objectives of the pass share, by name.
    """

    batch: Mapping[str, Any]
    encoded: Any
    generator: torch.Generator
    training: bool
    cache: dict[str, Any]

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        """``make()`` the first time, the same object afterwards."""
        if name not in self.cache:
            self.cache[name] = make()
        return self.cache[name]


@dataclass(frozen=True)
class Surroundings:
    """What an objective is built into: the trunk's sizes, the vocabulary and the objectives built before it."""

    dim: int
    text_embedding: nn.Embedding | None
    token_counts: Tensor | None  # (vocabulary,) how often each symbol occurs in training text
    built: Mapping[str, "Objective"]


class Config(Protocol):
    """An objective's section of ``corpora.yaml``."""

    weight: float
    options: Mapping[str, Any]


class Output(NamedTuple):
    """A mean loss that always hangs on the graph (zero where there was no target) and sums to log."""

    loss: Tensor
    logs: dict[str, Tensor]


class Objective(nn.Module):
    """Base of the objectives.

    Attributes:
        name: as written in ``corpora.yaml``.
        Options: frozen dataclass of its options there, each with a default; ValueError for one out of its bounds.
        kinds: the kinds of batch it reads.
        requires: objectives that must be there as well.
        ratios: metric -> its count. Both are keys of ``Output.logs`` and sums; their quotient is logged.
    """

    name: ClassVar[str]
    Options: ClassVar[type]
    kinds: ClassVar[tuple[str, ...]]
    requires: ClassVar[tuple[str, ...]] = ()
    ratios: ClassVar[Mapping[str, str]]

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    @classmethod
    def preparation(cls, options: Any) -> Preparation:
        """How an objective with these ``Options`` needs its batches; what it has no opinion on is None."""
        return Preparation()

    def forward(self, view: MaskedPass) -> Output:
        raise NotImplementedError

    def zero_logs(self) -> dict[str, float]:
        """Every key that this objective logs, at zero: the fixed schema of a step without it."""
        return dict.fromkeys((*self.ratios, *self.ratios.values()), 0.0)


class Bound(NamedTuple):
    """What a number has to be, in words and as a test."""

    words: str
    holds: Callable[[float], bool]


def at_least(least: int) -> Bound:
    return Bound(f"at least {least}", lambda value: value >= least)


POSITIVE = Bound("more than 0", lambda value: value > 0)
SHARE = Bound("more than 0 and less than 1", lambda value: 0 < value < 1)


def check_bounds(objective: str, options: Any, **bounds: Bound) -> None:
    """Raise ValueError that names the first of an objective's ``options`` that is out of its bound."""
    for name, bound in bounds.items():
        found = getattr(options, name)
        if not bound.holds(found):
            raise ValueError(f"objectives.{objective}.{name}: found {found}, expected {bound.words}")


@dataclass(frozen=True)
class NoOptions:
    """For an objective without options."""


REGISTRY: dict[str, type[Objective]] = {}


def register(cls: type[Objective]) -> type[Objective]:
    """Class decorator: make an objective known by its name."""
    REGISTRY[cls.name] = cls
    return cls


def options_of(cls: type[Objective]) -> dict[str, tuple[type, Any]]:
    """The options that an objective takes in ``corpora.yaml`` beside its weight: name -> (type, default)."""
    return {field.name: (type(field.default), field.default) for field in fields(cls.Options)}


def check_requirements(configs: Mapping[str, Config]) -> None:
    """Raise ValueError where an objective lacks another one that it requires."""
    for name in configs:
        missing = [other for other in REGISTRY[name].requires if other not in configs]
        if missing:
            raise ValueError(f"objectives.{name}: needs {', '.join(missing)} as well, found {', '.join(configs)}")


def build_objectives(configs: Mapping[str, Config], surroundings: Surroundings) -> nn.ModuleDict:
    """Build the objectives that ``configs`` names, each after those it requires (the order of registration)."""
    check_requirements(configs)
    built: dict[str, Objective] = {}
    for name, cls in REGISTRY.items():
        if name in configs:
            parts = Surroundings(**{**vars(surroundings), "built": built})
            built[name] = cls(parts, configs[name].weight, cls.Options(**configs[name].options))
    return nn.ModuleDict(built)


def merged_preparation(configs: Mapping[str, Config], kind: str) -> Preparation:
    """How a kind's batches are prepared: what its objectives ask for, which must agree."""
    asked: dict[str, tuple[str, Any]] = {}
    for name, config in configs.items():
        cls = REGISTRY[name]
        if kind not in cls.kinds:
            continue
        for part, wish in vars(cls.preparation(cls.Options(**config.options))).items():
            other, found = asked.setdefault(part, (name, wish)) if wish is not None else (name, wish)
            if found != wish:
                raise ValueError(f"objectives.{name} asks for {part} {wish} in {kind}, objectives.{other} for {found}")
    return Preparation(**{part: wish for part, (_, wish) in asked.items()})


def mean_or_zero(total: Tensor, count: Tensor) -> Tensor:
    """``total / count``, and a zero that still hangs on the graph where nothing was counted."""
    return total / count.clamp(min=1)


class Classified(NamedTuple):
    """Sums over the rows of a classification."""

    loss: Tensor
    correct: Tensor
    count: Tensor


def classify(logits: Tensor, targets: Tensor) -> Classified:
    """Cross-entropy in fp32 of (rows, classes) logits against (rows,) targets; zero rows give zeros on the graph."""
    logits = logits.float()
    loss = F.cross_entropy(logits, targets, reduction="sum")
    correct = (logits.detach().argmax(-1) == targets).sum()
    return Classified(loss, correct, torch.tensor(targets.numel(), device=logits.device))
