"""What a checkpoint can do, by the task that trained it. A new task is one line of ``TASK_ABILITIES``."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from slam_plugin.inference.inputs import Limits

# ability: the verb in "this checkpoint transcribes and encodes"
VERBS = {
    "transcribe": "transcribes",
    "translate": "translates",
    "normalize": "normalizes",
    "classify": "classifies",
    "encode": "encodes",
    "attention": "shows attention",
}


class TaskAbilities(NamedTuple):
    """The abilities and input limits of a task's checkpoints, from the task's configuration ``config``.

    Attributes:
        abilities: (config, model) -> names out of ``VERBS``.
        frames: config -> limits of speech, in frames of 10 ms.
        tokens: config -> limits of text, in tokens, ``<s>`` and ``</s>`` included.
    """

    abilities: Callable[[Any, nn.Module], set[str]]
    frames: Callable[[Any], Limits] = lambda config: Limits(1, None)
    tokens: Callable[[Any], Limits] = lambda config: Limits(1, None)


def _from_speech(config: Any, model: nn.Module) -> set[str]:
    """Return the abilities of a speech model, those that validation scored if it scored any.

    CTC and transducer models only transcribe, unless validation was set to score BLEU.
    """
    default = {"transcribe"} if hasattr(model, "build_search") else {"transcribe", "translate"}
    return _scored({"transcribe": config.eval_wer, "translate": config.eval_bleu}, default)


def _from_text(config: Any, model: nn.Module) -> set[str]:
    scored = {"normalize": config.eval_accuracy or config.eval_wer, "translate": config.eval_bleu}
    return _scored(scored, set(scored))


def _scored(scored: Mapping[str, bool], default: set[str]) -> set[str]:
    """Return the abilities that validation scored, ``default`` if none."""
    return {ability for ability, score in scored.items() if score} or default


def _source_positions(config: Any) -> Limits:
    return Limits(config.min_source_positions, config.max_source_positions)


TASK_ABILITIES: dict[str, TaskAbilities] = {
    "slam_pretraining": TaskAbilities(lambda config, model: {"attention"}),
    "slam_speech_to_text": TaskAbilities(_from_speech, frames=_source_positions),
    "slam_joint_translation": TaskAbilities(
        lambda config, model: {"translate"},
        frames=_source_positions,
        tokens=lambda config: Limits(1, config.max_target_positions),  # training limits source texts by it as well
    ),
    "slam_translation": TaskAbilities(_from_text, tokens=lambda config: Limits(1, config.max_source_positions)),
    "slam_sentence_prediction": TaskAbilities(
        lambda config, model: {"classify"}, tokens=lambda config: Limits(1, config.max_positions)
    ),
}
