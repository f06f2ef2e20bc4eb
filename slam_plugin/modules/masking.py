"""The masks, the augmentation and the partners of pairs that an objective requires in its batches."""

from dataclasses import dataclass
from typing import NamedTuple

from slam_plugin.modules.pseudo_speech import PseudoSpeechSpec


class SpanMask(NamedTuple):
    """Spans to mask: the expected share of masked positions, and the number of positions in a span."""

    rate: float
    span: int


class SpecMask(NamedTuple):
    """SpecAugment of speech features: maximum mel bins of a band, and maximum 10 ms frames of a stretch of time."""

    freq_width: int
    time_width: int


@dataclass(frozen=True)
class MaskingSpec:
    """Masking of the batches of a kind, and the partners in its pairs. The defaults require nothing.

    Attributes:
        speech_mask, text_mask: spans to mask on each side; None leaves a side unmasked.
        false_pairs: source of false partners, "batch", "hard" or "text"; None makes true pairs only.
        augmentation: SpecAugment of the copy of the speech for the pass "augmented"; None makes no copy.
        partners: whether a transcript has "one" partner in a batch, a true or a false one, or "both".
        pseudo_speech: spec of the pseudo-speech made of unpaired text; None makes none.
    """

    speech_mask: SpanMask | None = None
    text_mask: SpanMask | None = None
    false_pairs: str | None = None
    augmentation: SpecMask | None = None
    partners: str | None = None
    pseudo_speech: PseudoSpeechSpec | None = None
