"""Objectives: a head and a loss, the kinds of batch it reads, how they are masked, and the metrics it logs."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.modules.cross_entropy import linear_cross_entropy, needs_chunks
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.modules.masking import MaskingSpec
from slam_plugin.modules.schedule import Schedule
from slam_plugin.modules.selection import LISTS, Selection, select_positions, unpack

# The passes of a micro-batch through the trunk. A pass runs once, and only if an objective reads it.
MASKED = "masked"  # everything in the batch, with masks
CLEAN = "clean"  # everything in the batch, without masks
ALONE = "alone"  # the speech alone, without masks
AUGMENTED = "augmented"  # the speech alone, after SpecAugment


@dataclass
class MaskedPass:
    """The input of objectives: one micro-batch and its passes through the trunk.

    Attributes:
        encode: runs the pass of a name above and returns the trunk's ``Encoded``.
        generator: generator of random draws on the device, seeded by the batch's own key.
        encode_states: runs only the shared layers, on states (batch, T, dim) with their padding mask (batch, T), up to
            "middle" or "top". Returns states (batch, T, dim).
        encode_rematched: runs the shared layers on each text of a pass with another utterance. Takes the pass's name,
            its ``Encoded`` and the rows (batch,) of the utterances, and returns ``Encoded``.
    """

    batch: Mapping[str, Any]
    encode: Callable[[str], Any]
    generator: torch.Generator
    training: bool
    cache: dict[str, Any] = field(default_factory=dict)
    encode_states: Callable[[Tensor, Tensor | None, str], Tensor] | None = None
    encode_rematched: Callable[[str, Any, Tensor], Any] | None = None

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        """Return ``make()`` at the first call with ``name``, and the same object afterwards."""
        if name not in self.cache:
            self.cache[name] = make()
        return self.cache[name]

    def encoding(self, name: str) -> Any:
        """Return the trunk's ``Encoded`` of the pass ``name``, which runs at the first call."""
        return self.shared(f"pass {name}", lambda: self.encode(name))

    @property
    def encoded(self) -> Any:
        """Return the trunk's ``Encoded`` of the masked pass."""
        return self.encoding(MASKED)

    def selected(self, name: str) -> Selection:
        """Return the positions ``name`` of the batch: one of the names of :mod:`slam_plugin.modules.selection`.

        A collated batch brings their lists along. For one that was made by hand they are made here from its masks, for
        which a GPU has to be waited for.
        """
        return self.shared("selections", self._selections)[name]

    def _selections(self) -> dict[str, Selection]:
        if LISTS in self.batch:
            return unpack(self.batch)
        padding_mask = self.encoded.speech_padding_mask if "mask_indices" in self.batch else None
        return select_positions(self.batch, padding_mask)


@dataclass(frozen=True)
class BuildContext:
    """Build context of an objective: the trunk's sizes, the vocabulary and the objectives built before it."""

    dim: int
    features: int  # mel bins of a 10 ms frame
    front_end: FrontEnd  # geometry of the trunk's front end
    text_embedding: nn.Embedding
    token_counts: Tensor  # (vocabulary,) counts of the symbols in training text
    word_starts: Tensor  # (vocabulary,) True at the symbols that begin a word
    bos: int  # the symbol that begins every text and occurs nowhere else
    eos: int  # the symbol that ends every sentence and occurs nowhere else
    # builds the frozen network whose states were clustered, from the arguments in the clusters' file
    teacher: Callable[..., nn.Module]
    built: Mapping[str, "Objective"] = field(default_factory=dict)


class Config(Protocol):
    """An objective's section of ``corpora.yaml``."""

    weight: Schedule | float
    options: Mapping[str, Any]


class Output(NamedTuple):
    """A mean loss that is always part of the graph (zero without targets), and sums to log."""

    loss: Tensor
    logs: dict[str, Tensor]


class Schema(NamedTuple):
    """Metrics that an objective logs.

    Attributes:
        ratios: metric -> its count. Both are keys of ``Output.logs`` and sums; their quotient is logged. Options may
            exclude some, for the whole run: see :meth:`Objective.zero_logs`.
        histogram: name of the codes that validation counts under :func:`counts_key`. Logged as ``NAME_perplexity``
            and ``NAMEs_used``.
        guesses: prefix of metrics -> the histogram of the frequencies for a guess by chance. Logged as ``..._chance``
            and ``..._chance_loss``: the baseline, which falls if a codebook collapses.
    """

    ratios: Mapping[str, str]
    histogram: str | None = None
    guesses: Mapping[str, str] = MappingProxyType({})


class Objective(nn.Module):
    """Base of the objectives.

    Attributes:
        name: as written in ``corpora.yaml``.
        Options: frozen dataclass of its options, each with a default. Raises ValueError for one out of bounds.
        kinds: the kinds of batch it reads.
        requires: objectives that it needs in the same run.
        logged: schema of its metrics.
        reads: the passes that it reads, each with the highest speech states it reads (one of the trunk's ``PLACES``).
            Layers above these are not run if the pass has no text.
        weight: factor of its loss at the present update; ``weights`` has that of every update.
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
        """Set the values of an update. fairseq calls it before each update and after loading a checkpoint."""
        self.weight = self.weights(num_updates)

    @classmethod
    def masking_spec(cls, options: Any) -> MaskingSpec:
        """Return the masking that these ``Options`` require, None in the fields that they leave open."""
        return MaskingSpec()

    @classmethod
    def check_siblings(cls, names: Collection[str]) -> None:
        """Raise ValueError if the objectives ``names`` lack one that this one builds on."""
        missing = [other for other in cls.requires if other not in names]
        if missing:
            raise ValueError(f"objectives.{cls.name}: needs {', '.join(missing)} as well, found {', '.join(names)}")

    @classmethod
    def schema(cls) -> Schema:
        """Return the metrics that it logs, independent of the other objectives."""
        return cls.logged

    def forward(self, view: MaskedPass) -> Output:
        raise NotImplementedError

    def continues(self, weights: Mapping[str, Tensor]) -> bool:
        """Return whether a checkpoint's ``weights`` of this objective were trained on the same targets."""
        return True

    def zero_logs(self) -> dict[str, float | Tensor]:
        """Return all keys that this objective logs, at zero, for steps in which it is inactive."""
        ratios = self.schema().ratios
        return dict.fromkeys((*ratios, *ratios.values()), 0.0)


class MaskedObjective(Objective):
    """Objective that predicts masked positions of speech or of text. TLM calls it on pairs.

    Attributes:
        predicted: metric -> count in :meth:`predict`, as in ``Schema.ratios``.
    """

    predicted: ClassVar[Mapping[str, str]]

    def predict(self, view: MaskedPass, true_pairs: bool = False) -> Output:
        """Return loss and logs over the batch, or over its true pairs alone."""
        raise NotImplementedError

    def forward(self, view: MaskedPass) -> Output:
        return self.predict(view)


class Bound(NamedTuple):
    """Bound of an option: a description and a test."""

    words: str
    holds: Callable[[Any], bool]


def at_least(least: int) -> Bound:
    return Bound(f"at least {least}", lambda value: value >= least)


def one_of(*choices: str) -> Bound:
    return Bound(f"one of {', '.join(choices)}", lambda value: value in choices)


POSITIVE = Bound("more than 0", lambda value: value > 0)
SHARE = Bound("more than 0 and less than 1", lambda value: 0 < value < 1)


def check_bounds(objective: str, options: Any, **bounds: Bound) -> None:
    """Raise ValueError that names the first of an objective's ``options`` that is out of bounds."""
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
    """Return an objective's options in ``corpora.yaml`` besides its weight: name -> (type, default)."""
    defaults = {field.name: field.default for field in fields(cls.Options)}
    return {name: (Path if isinstance(value, Path) else type(value), value) for name, value in defaults.items()}


def declared_options() -> dict[str, dict[str, tuple[type, Any]]]:
    """Return :func:`options_of` all registered objectives, by name."""
    return {name: options_of(cls) for name, cls in REGISTRY.items()}


def check_requirements(configs: Mapping[str, Config]) -> None:
    """Raise ValueError if an objective requires another one that is missing."""
    for name in configs:
        REGISTRY[name].check_siblings(configs)


def build_objectives(configs: Mapping[str, Config], context: BuildContext) -> nn.ModuleDict:
    """Build the objectives in ``configs``, each after those it builds on (the order of registration)."""
    check_requirements(configs)
    built: dict[str, Objective] = {}
    for name, cls in REGISTRY.items():
        if name in configs:
            parts = replace(context, built=dict(built))
            built[name] = cls(parts, configs[name].weight, cls.Options(**configs[name].options))
    return nn.ModuleDict(built)


def merged_masking_spec(configs: Mapping[str, Config], kind: str) -> MaskingSpec:
    """Merge the masking specs that a kind's objectives require. Raises ValueError if two of them differ."""
    asked: dict[str, tuple[str, Any]] = {}  # field -> the first objective that requires a value, and that value
    for name, config in configs.items():
        # Only objectives that read this kind have a say.
        cls = REGISTRY[name]
        if kind not in cls.kinds:
            continue
        # Keep the first value that is required for each field; None requires nothing.
        for part, wish in vars(cls.masking_spec(cls.Options(**config.options))).items():
            other, found = asked.setdefault(part, (name, wish)) if wish is not None else (name, wish)
            # All others must require the same value.
            if found != wish:
                raise ValueError(f"objectives.{name} requires {part} {wish} in {kind}, objectives.{other} {found}")
    # Fields that no objective requires keep their defaults.
    return MaskingSpec(**{part: wish for part, (_, wish) in asked.items()})


def mean_or_zero(total: Tensor, count: Tensor) -> Tensor:
    """Return ``total / count``, or a zero that is still part of the graph if nothing was counted."""
    return total / count.clamp(min=1)


def counts_key(histogram: str) -> str:
    """Return the key under which the counts (codes,) of a :class:`Schema`'s histogram are logged."""
    return f"_{histogram}_counts"


class Classified(NamedTuple):
    """Sums over the rows of a classification: loss, correct ones and number."""

    loss: Tensor
    correct: Tensor
    count: Tensor


def classify(logits: Tensor, targets: Tensor) -> Classified:
    """Return the summed fp32 cross-entropy of logits (rows, classes) and targets (rows,), and the counts.

    Without rows, the loss is a zero that still has a gradient.
    """
    logits = logits.float()
    loss = F.cross_entropy(logits, targets, reduction="sum")
    correct = (logits.detach().argmax(-1) == targets).sum()
    return Classified(loss, correct, torch.full((), targets.numel(), device=logits.device))


def classify_by_linear(states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Classified:
    """Return :func:`classify` of the logits that a linear layer makes of states (rows, dim), however many they are.

    Args:
        weight: (classes, dim).
        bias: (classes,); None for no bias.
        targets: (rows,).
    """
    if not needs_chunks(states, weight):
        return classify(F.linear(states, weight, bias), targets)
    loss, correct = linear_cross_entropy(states, weight, bias, targets)
    return Classified(loss, correct, torch.full((), targets.numel(), device=states.device))
