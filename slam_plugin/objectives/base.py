"""What an objective is: a head and a loss, with a name, the kinds of batch it reads, its masking and what it logs."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpanMask(NamedTuple):
    """Spans to mask: the expected share of masked positions and the length of a span."""

    rate: float
    span: int


@dataclass(frozen=True)
class Masking:
    """How the batches of a kind are masked; None leaves a side unmasked."""

    speech: SpanMask | None = None
    text: SpanMask | None = None


@dataclass
class MaskedPass:
    """One micro-batch after the trunk: what objectives read.

    ``encoded`` is the trunk's ``Encoded``; ``generator`` draws what is random on the device (it is seeded by the batch's own
    key); ``cache`` keeps what several objectives of the pass share, by name.
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
    mask_token: int
    token_counts: Tensor | None  # (vocabulary,) how often each symbol occurs in training text
    built: Mapping[str, "Objective"]


class Output(NamedTuple):
    """A mean loss that always hangs on the graph (zero where there was no target) and sums to log."""

    loss: Tensor
    logs: dict[str, Tensor]


class Objective(nn.Module):
    """Base of the objectives. The keyword arguments of a subclass's ``__init__`` are its options in ``corpora.yaml``.

    Attributes:
        name: as written in ``corpora.yaml``.
        kinds: the kinds of batch it reads.
        requires: objectives that must be there as well.
        ratios: metric -> its count. Both are keys of ``Output.logs`` and sums; their quotient is logged.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    requires: ClassVar[tuple[str, ...]] = ()
    ratios: ClassVar[Mapping[str, str]]

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def masking(self, kind: str) -> Masking:
        """How batches of ``kind`` must be masked for this objective; a side it has no opinion on is None."""
        raise NotImplementedError

    def forward(self, view: MaskedPass) -> Output:
        raise NotImplementedError

    def zero_logs(self) -> dict[str, float]:
        """Every key that this objective logs, at zero: the fixed schema of a step without it."""
        return dict.fromkeys((*self.ratios, *self.ratios.values()), 0.0)


REGISTRY: dict[str, type[Objective]] = {}


def register(cls: type[Objective]) -> type[Objective]:
    """Class decorator: make an objective known by its name."""
    REGISTRY[cls.name] = cls
    return cls


def options_of(cls: type[Objective]) -> dict[str, inspect.Parameter]:
    """The options an objective takes in ``corpora.yaml``."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse an unknown objective, an unknown option or one of the wrong type, naming what was expected."""
    if name not in REGISTRY:
        raise ValueError(f"objectives.{name}: unknown, expected one of {', '.join(sorted(REGISTRY))}")
    known = options_of(REGISTRY[name])
    for key, value in options.items():
        if key not in known:
            raise ValueError(f"objectives.{name}.{key}: unknown option, expected one of {', '.join(known)}")
        expected = type(known[key].default)
        fits = isinstance(value, (int, float)) if expected is float else isinstance(value, expected)
        if not fits or (isinstance(value, bool) and expected is not bool):
            raise ValueError(f"objectives.{name}.{key}: found {value!r}, expected {expected.__name__}")


def build_objectives(configs: Mapping[str, Mapping[str, Any]], surroundings: Surroundings) -> nn.ModuleDict:
    """Build the objectives that ``configs`` names, each after those it requires (the order of registration)."""
    built: dict[str, Objective] = {}
    for name, options in configs.items():
        check_options(name, options)
        missing = [other for other in REGISTRY[name].requires if other not in configs]
        if missing:
            raise ValueError(f"objectives.{name}: needs {', '.join(missing)} as well, found {', '.join(configs)}")
    for name, cls in REGISTRY.items():
        if name in configs:
            parts = Surroundings(**{**vars(surroundings), "built": built})
            built[name] = cls(parts, **configs[name])
    return nn.ModuleDict(built)


def merged_masking(objectives: Mapping[str, Objective], kind: str) -> Masking:
    """The masking of a kind's batches: what its objectives ask for, which must agree."""
    sides: dict[str, tuple[str, SpanMask]] = {}
    for name, objective in objectives.items():
        if kind not in objective.kinds:
            continue
        for side, spec in vars(objective.masking(kind)).items():
            if spec is None:
                continue
            if side in sides and sides[side][1] != spec:
                other, found = sides[side]
                raise ValueError(f"objectives.{name} masks the {side} of {kind} by {spec}, objectives.{other} by {found}")
            sides[side] = (name, spec)
    return Masking(**{side: spec for side, (_, spec) in sides.items()})


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
