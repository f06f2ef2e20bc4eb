"""What a checkpoint can do, by the task that trained it. A new task is one line of ``KINDS``."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from slam_plugin.inference.inputs import Limits

# Ability: what a checkpoint that has it does.
VERBS = {
    "transcribe": "transcribes",
    "translate": "translates",
    "normalize": "normalizes",
    "classify": "classifies",
    "encode": "encodes",
    "attention": "shows attention",
}


class Kind(NamedTuple):
    """What is to be known of the checkpoints of one task; ``config`` is the task's.

    Attributes:
        abilities: (config, model) -> names out of ``VERBS``.
        frames: config -> the speech that the model takes, in frames of 10 ms.
        tokens: config -> the text that the model takes, in tokens, ``<s>`` and ``</s>`` included.
    """

    abilities: Callable[[Any, nn.Module], set[str]]
    frames: Callable[[Any], Limits] = lambda config: Limits(1, None)
    tokens: Callable[[Any], Limits] = lambda config: Limits(1, None)


def _from_speech(config: Any, model: nn.Module) -> set[str]:
    """A model with a search of its own, whose output follows the speech in time, is a recogniser if nothing is told."""
    untold = {"transcribe"} if hasattr(model, "build_search") else {"transcribe", "translate"}
    return _told({"transcribe": config.eval_wer, "translate": config.eval_bleu}, untold)


def _from_text(config: Any, model: nn.Module) -> set[str]:
    scored = {"normalize": config.eval_accuracy or config.eval_wer, "translate": config.eval_bleu}
    return _told(scored, set(scored))


def _told(scored: Mapping[str, bool], untold: set[str]) -> set[str]:
    """The abilities that validation scored; ``untold`` where it scored none."""
    return {ability for ability, score in scored.items() if score} or untold


def _source_positions(config: Any) -> Limits:
    return Limits(config.min_source_positions, config.max_source_positions)


KINDS: dict[str, Kind] = {
    "slam_pretraining": Kind(lambda config, model: {"attention"}),
    "slam_speech_to_text": Kind(_from_speech, frames=_source_positions),
    "slam_joint_translation": Kind(
        lambda config, model: {"translate"},
        frames=_source_positions,
        tokens=lambda config: Limits(1, config.max_target_positions),  # training has no longer text on either side
    ),
    "slam_translation": Kind(_from_text, tokens=lambda config: Limits(1, config.max_source_positions)),
    "slam_sentence_prediction": Kind(
        lambda config, model: {"classify"}, tokens=lambda config: Limits(1, config.max_positions)
    ),
}
