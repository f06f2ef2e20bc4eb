"""Objectives: a head and a loss, the kinds of batch that it reads, their preparation, and the metrics it logs."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.modules.schedule import Schedule


class SpanMask(NamedTuple):
    """Spans to mask: the expected share of masked positions and the length of a span."""

    rate: float
    span: int


class SpecMask(NamedTuple):
    """SpecAugment of speech features: the most mel bins of a band, and the most 10 ms frames of a stretch."""

    freq_width: int
    time_width: int


@dataclass(frozen=True)
class MaskingSpec:
    """How the batches of a kind are masked, and what their pairs are.

    Attributes:
        speech_mask, text_mask: spans to mask on each side; None leaves a side unmasked.
        false_pairs: where false partners come from, "batch", "hard" or "text"; None makes true pairs only.
        augmentation: SpecAugment of the copy of the speech that the pass "augmented" reads; None makes no copy.
        partners: whether a transcript has "one" partner in a batch, a true or a false one, or "both".
    """

    speech_mask: SpanMask | None = None
    text_mask: SpanMask | None = None
    false_pairs: str | None = None
    augmentation: SpecMask | None = None
    partners: str | None = None


# The passes of a micro-batch through the trunk. A pass runs once, and only if an objective reads it.
MASKED = "masked"  # everything in the batch, as it is masked
CLEAN = "clean"  # everything in the batch, without masks
ALONE = "alone"  # the speech alone, without masks
AUGMENTED = "augmented"  # the speech alone, after SpecAugment


@dataclass
class MaskedPass:
    """The input of objectives: one micro-batch and its passes through the trunk.

    Attributes:
        encode: runs the pass of a name above and returns the trunk's ``Encoded``.
        generator: draws what is random on the device; the batch's own key seeds it.
        encode_states: runs the shared layers alone: states (batch, T, dim), their padding mask (batch, T), and up to
            which of "middle" and "top" -> states (batch, T, dim).
        encode_rematched: runs the shared layers over each text of a pass beside another utterance: the pass's name and
            its ``Encoded``, and the rows (batch,) of the utterances -> ``Encoded``.
    """

    batch: Mapping[str, Any]
    encode: Callable[[str], Any]
    generator: torch.Generator
    training: bool
    cache: dict[str, Any] = field(default_factory=dict)
    encode_states: Callable[[Tensor, Tensor | None, str], Tensor] | None = None
    encode_rematched: Callable[[str, Any, Tensor], Any] | None = None

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        """Return ``make()`` the first time that ``name`` is asked for, and the same object afterwards."""
        if name not in self.cache:
            self.cache[name] = make()
        return self.cache[name]

    def encoding(self, name: str) -> Any:
        """Return the trunk's ``Encoded`` of the pass ``name``, which is run the first time."""
        return self.shared(f"pass {name}", lambda: self.encode(name))

    @property
    def encoded(self) -> Any:
        """Return the trunk's ``Encoded`` of the masked pass."""
        return self.encoding(MASKED)

    def masked_speech(self) -> Tensor:
        """Return (batch, T), True at the states that are masked and valid."""
        masked, padding_mask = self.batch["mask_indices"], self.encoded.speech_padding_mask
        return masked if padding_mask is None else masked & ~padding_mask


@dataclass(frozen=True)
class BuildContext:
    """Parts that an objective is built from: the trunk's sizes, the vocabulary and the objectives built before it."""

    dim: int
    features: int  # mel bins of a 10 ms frame
    text_embedding: nn.Embedding
    token_counts: Tensor  # (vocabulary,) how often each symbol occurs in training text
    word_starts: Tensor  # (vocabulary,) True at the symbols that begin a word
    bos: int  # the symbol that begins every text and occurs nowhere else
    eos: int  # the symbol that ends every sentence and occurs nowhere else
    teacher: Callable[..., nn.Module]  # builds the frozen network that clusters are of, from the arguments they name
    built: Mapping[str, "Objective"] = field(default_factory=dict)


class Config(Protocol):
    """An objective's section of ``corpora.yaml``."""

    weight: Schedule | float
    options: Mapping[str, Any]


class Output(NamedTuple):
    """A mean loss that always hangs on the graph (zero where there was no target) and sums to log."""

    loss: Tensor
    logs: dict[str, Tensor]


class Schema(NamedTuple):
    """Metrics that an objective logs.

    Attributes:
        ratios: metric -> its count. Both are keys of ``Output.logs`` and sums; their quotient is logged. The options of
            a run may leave some out, but then for the whole run: see :meth:`Objective.zero_logs`.
        histogram: name of the codes that are counted in validation, under :func:`counts_key`. Logged as
            ``NAME_perplexity`` and ``NAMEs_used``.
        guesses: metrics' first part -> the histogram whose frequencies alone make a guess. Logged as ``..._chance``
            and ``..._chance_loss``: what has to be beaten, and what falls when a codebook collapses.
    """

    ratios: Mapping[str, str]
    histogram: str | None = None
    guesses: Mapping[str, str] = MappingProxyType({})


class Objective(nn.Module):
    """Base of the objectives.

    Attributes:
        name: as written in ``corpora.yaml``.
        Options: frozen dataclass of its options there, each with a default; ValueError for one out of its bounds.
        kinds: the kinds of batch it reads.
        requires: objectives that must be there as well.
        logged: what it logs.
        reads: the passes that it reads, each with the highest speech states read of it (one of the trunk's
            ``PLACES``). Layers above these are not run where the pass has no text.
        weight: the factor of its loss at the present update; ``weights`` has that of every update.
    """

    reads: Mapping[str, str] = MappingProxyType({"masked": "top"})
    name: ClassVar[str]
    Options: ClassVar[type]
    kinds: ClassVar[tuple[str, ...]]
    requires: ClassVar[tuple[str, ...]] = ()
    logged: ClassVar[Schema]

    def __init__(self, weight: Schedule | float) -> None:
        super().__init__()
        self.weights = Schedule.of(weight)
        self.weight = self.weights(0)

    def set_num_updates(self, num_updates: int) -> None:
        """Take on the values of an update; fairseq calls it before each, and with what a checkpoint came to."""
        self.weight = self.weights(num_updates)

    @classmethod
    def masking_spec(cls, options: Any) -> MaskingSpec:
        """Return the preparation of batches that these ``Options`` require, None in the fields left to others."""
        return MaskingSpec()

    @classmethod
    def check_siblings(cls, names: Collection[str]) -> None:
        """Raise ValueError if the objectives ``names`` lack one that this one builds on."""
        missing = [other for other in cls.requires if other not in names]
        if missing:
            raise ValueError(f"objectives.{cls.name}: needs {', '.join(missing)} as well, found {', '.join(names)}")

    @classmethod
    def schema(cls) -> Schema:
        """Return the metrics that it logs, whatever the other objectives are."""
        return cls.logged

    def forward(self, view: MaskedPass) -> Output:
        raise NotImplementedError

    def continues(self, weights: Mapping[str, Tensor]) -> bool:
        """Return whether ``weights``, an earlier checkpoint's of this name, are of the same targets as its own."""
        return True

    def zero_logs(self) -> dict[str, float | Tensor]:
        """Return every key that this objective logs, at zero: the fixed schema of a step without it."""
        ratios = self.schema().ratios
        return dict.fromkeys((*ratios, *ratios.values()), 0.0)


class MaskedObjective(Objective):
    """Objective that predicts masked positions of speech or of text. TLM asks it for the same on pairs.

    Attributes:
        predicted: metric -> count of :meth:`predict`, as in ``Schema.ratios``.
    """

    predicted: ClassVar[Mapping[str, str]]

    def predict(self, view: MaskedPass, rows: Tensor | None = None) -> Output:
        """Return loss and logs over the utterances or sentences that ``rows`` (batch,) keeps, all by default."""
        raise NotImplementedError

    def forward(self, view: MaskedPass) -> Output:
        return self.predict(view)


class Bound(NamedTuple):
    """Bound of an option, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def at_least(least: int) -> Bound:
    return Bound(f"at least {least}", lambda value: value >= least)


def one_of(*choices: str) -> Bound:
    return Bound(f"one of {', '.join(choices)}", lambda value: value in choices)


POSITIVE = Bound("more than 0", lambda value: value > 0)
SHARE = Bound("more than 0 and less than 1", lambda value: 0 < value < 1)


def check_bounds(objective: str, options: Any, **bounds: Bound) -> None:
    """Raise ValueError that names the first of an objective's ``options`` that is out of its bound."""
    for name, bound in bounds.items():
        found = getattr(options, name)
        if not bound.holds(found):
            raise ValueError(f"objectives.{objective}.{name}: found {found!r}, expected {bound.words}")


REGISTRY: dict[str, type[Objective]] = {}


def register(cls: type[Objective]) -> type[Objective]:
    """Register an objective under its name (class decorator)."""
    REGISTRY[cls.name] = cls
    return cls


def options_of(cls: type[Objective]) -> dict[str, tuple[type, Any]]:
    """Return the options that an objective takes in ``corpora.yaml`` beside its weight: name -> (type, default)."""
    defaults = {field.name: field.default for field in fields(cls.Options)}
    return {name: (Path if isinstance(value, Path) else type(value), value) for name, value in defaults.items()}


def check_requirements(configs: Mapping[str, Config]) -> None:
    """Raise ValueError if an objective lacks another one that it requires."""
    for name in configs:
        REGISTRY[name].check_siblings(configs)


def build_objectives(configs: Mapping[str, Config], context: BuildContext) -> nn.ModuleDict:
    """Build the objectives that ``configs`` names, each after those it builds on (the order of registration)."""
    check_requirements(configs)
    built: dict[str, Objective] = {}
    for name, cls in REGISTRY.items():
        if name in configs:
            parts = replace(context, built=dict(built))
            built[name] = cls(parts, configs[name].weight, cls.Options(**configs[name].options))
    return nn.ModuleDict(built)


def merged_masking_spec(configs: Mapping[str, Config], kind: str) -> MaskingSpec:
    """Merge the preparations that a kind's objectives require. Raises ValueError if two of them differ."""
    asked: dict[str, tuple[str, Any]] = {}
    for name, config in configs.items():
        cls = REGISTRY[name]
        if kind not in cls.kinds:
            continue
        for part, wish in vars(cls.masking_spec(cls.Options(**config.options))).items():
            other, found = asked.setdefault(part, (name, wish)) if wish is not None else (name, wish)
            if found != wish:
                raise ValueError(f"objectives.{name} asks for {part} {wish} in {kind}, objectives.{other} for {found}")
    return MaskingSpec(**{part: wish for part, (_, wish) in asked.items()})


def mean_or_zero(total: Tensor, count: Tensor) -> Tensor:
    """Return ``total / count``, and a zero that still hangs on the graph if nothing was counted."""
    return total / count.clamp(min=1)


def counts_key(histogram: str) -> str:
    """Return the key under which the counts (codes,) of a :class:`Schema`'s histogram are logged."""
    return f"_{histogram}_counts"


def of_rows(rows: Tensor | None, masked: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """Return the ``values`` (N, ...), one for each True in ``masked`` (batch, length), that ``rows`` (batch,) keeps."""
    if rows is None:
        return values
    kept = rows[:, None].expand_as(masked)[masked]  # (N,)
    return tuple(value[kept] for value in values)


class Classified(NamedTuple):
    """Sums over the rows of a classification."""

    loss: Tensor
    correct: Tensor
    count: Tensor


def classify(logits: Tensor, targets: Tensor) -> Classified:
    """Return the summed cross-entropy, in fp32, of logits (rows, classes) and targets (rows,), and their counts.

    Without rows, the loss is a zero that still has a gradient.
    """
    logits = logits.float()
    loss = F.cross_entropy(logits, targets, reduction="sum")
    correct = (logits.detach().argmax(-1) == targets).sum()
    return Classified(loss, correct, torch.full((), targets.numel(), device=logits.device))
