"""What models write: transcripts, translations, normalised text."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.data.languages import start_symbol
from slam_plugin.inference.batches import in_batches
from slam_plugin.inference.checkpoints import Checkpoint


class Written(NamedTuple):
    """A hypothesis and its log-probability: of the whole by CTC, the mean of its tokens by a decoder."""

    text: str
    score: float


def write(
    checkpoint: Checkpoint,
    ability: str,
    side: str,
    inputs: Iterable[Any],
    beam: int,
    nbest: int = 1,
    target: str | None = None,
) -> Iterator[list[Written] | DataError]:
    """The hypotheses of each input, the best first, at most ``nbest``.

    Args:
        ability: "transcribe", "translate" or "normalize".
        side: what the inputs are, "speech" or "text".
        beam: hypotheses kept in the search.
        target: the language to write; None of a model that writes one.
    """
    checkpoint.require(ability)
    if not 1 <= nbest <= beam:
        raise DataError(f"nbest: found {nbest}, expected 1 to {beam}, the hypotheses that the search keeps (beam)")
    task, model, vocabulary = checkpoint.task, checkpoint.model, checkpoint.vocabulary
    start = _start(checkpoint, target)
    generator = task.build_generator([model], SimpleNamespace(beam=beam))

    def compute(padded: Tensor, padding_mask: Tensor) -> list[list[Written]]:
        sample = {"net_input": _net_input(side, padded, padding_mask, start, checkpoint.device)}
        found = task.inference_step(generator, [model], sample)
        return [
            [Written(vocabulary.decode(each["tokens"].cpu()), float(each["score"])) for each in hypotheses[:nbest]]
            for hypotheses in found
        ]

    return in_batches(inputs, checkpoint.side(side), compute)


def _start(checkpoint: Checkpoint, target: str | None) -> int:
    """The decoder's first symbol, of the language asked for or else of the one that the model was trained to write."""
    config, vocabulary = checkpoint.config, checkpoint.vocabulary
    if target is None and vocabulary.languages:
        target = config.tgt_lang or config.get("target_lang")
    return start_symbol(vocabulary, target)


def _net_input(side: str, padded: Tensor, padding_mask: Tensor, start: int, device: torch.device) -> dict[str, Tensor]:
    """A batch as the collaters of the plugin's data sets make it, on the model's device."""
    starts = torch.full((len(padded), 1), start)
    if side == "speech":
        inputs = {"features": padded, "padding_mask": padding_mask}
    else:
        inputs = {"src_tokens": padded, "src_lengths": (~padding_mask).sum(1)}
    return {name: tensor.to(device) for name, tensor in {**inputs, "prev_output_tokens": starts}.items()}
