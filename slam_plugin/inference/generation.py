"""Text generation with a fine-tuned model: transcripts, translations, normalized text."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from slam_plugin.data.errors import DataError
from slam_plugin.data.text.languages import start_symbol
from slam_plugin.data.text.vocabulary import MASK
from slam_plugin.decoding.alignment import TokenTime, ctc_times, emission_times
from slam_plugin.decoding.beam import BeamSearch
from slam_plugin.inference.batches import in_batches
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.models.ctc import SlamCtc


class Hypothesis(NamedTuple):
    """A hypothesis and its log-probability: the mean over tokens for models with a decoder, else that of the whole."""

    text: str
    score: float


class Found(NamedTuple):
    """A hypothesis of a search: tokens (L,), its score, and the time of each token if it was asked for and is known."""

    tokens: Tensor
    score: float
    times: list[TokenTime] | None = None


# (the encoder's arguments, the first symbol (batch,)) -> the hypotheses of each row, best first
Search = Callable[[dict[str, Tensor], Tensor], list[list[Found]]]


def generate(
    checkpoint: Checkpoint,
    ability: str,
    side: str,
    inputs: Iterable[Any],
    beam: int,
    nbest: int = 1,
    target: str | None = None,
) -> Iterator[list[Hypothesis] | DataError]:
    """Yield the hypotheses of each input, best first, at most ``nbest``, or the error of an unusable input.

    Args:
        ability: "transcribe", "translate" or "normalize".
        side: type of the inputs, "speech" or "text".
        beam: hypotheses kept in the search.
        target: language to write; None for the model's only or default one.
    """
    if not 1 <= nbest <= beam:
        raise DataError(f"nbest: found {nbest}, expected 1 to {beam}, the hypotheses that the search keeps (beam)")
    search = searcher(checkpoint, ability, side, beam, target)
    decode = checkpoint.vocabulary.decode

    def compute(padded: Tensor, padding_mask: Tensor) -> list[list[Hypothesis]]:
        found = search(padded, padding_mask)
        return [[Hypothesis(decode(each.tokens), each.score) for each in row[:nbest]] for row in found]

    return in_batches(inputs, checkpoint.side(side), compute)


def searcher(
    checkpoint: Checkpoint, ability: str, side: str, beam: int, target: str | None = None, timed: bool = False
) -> Callable[[Tensor, Tensor], list[list[Found]]]:
    """Return the search for an ability: (batch, longest, ...) and padding mask -> hypotheses of each row, best first.

    Raises :class:`DataError` if the checkpoint has not the ability, or does not write ``target``.

    Args:
        timed: find the times of the best hypothesis's tokens, if the model follows the speech in time.
    """
    checkpoint.require(ability)
    start = _start(checkpoint, target)
    if hasattr(checkpoint.model, "build_search"):
        search = _own_search(checkpoint, beam, timed)
    else:
        search = _beam_search(checkpoint, beam)

    def run(padded: Tensor, padding_mask: Tensor) -> list[list[Found]]:
        if side == "speech":
            batch = {"features": padded, "padding_mask": padding_mask}
        else:
            batch = {"src_tokens": padded, "src_lengths": (~padding_mask).sum(1)}
        starts = torch.full((len(padded),), start, device=checkpoint.device)
        with torch.no_grad():
            return search({name: tensor.to(checkpoint.device) for name, tensor in batch.items()}, starts)

    return run


def _start(checkpoint: Checkpoint, target: str | None) -> int:
    """Return the first symbol, that of ``target``, or of the language that the model was trained to write."""
    config, vocabulary = checkpoint.config, checkpoint.vocabulary
    if target is None and vocabulary.languages:
        target = config.tgt_lang or config.get("target_lang")
    return start_symbol(vocabulary, target)


def _beam_search(checkpoint: Checkpoint, beam: int) -> Search:
    """Return the beam search over a Transformer decoder, without ``<mask>`` and language tags in the output."""
    model, vocabulary = checkpoint.model, checkpoint.vocabulary
    never = [vocabulary.dictionary.index(MASK), *vocabulary.languages.values()]
    beam_search = BeamSearch(model.decoder, beam=beam, suppress=never)

    def search(batch: dict[str, Tensor], starts: Tensor) -> list[list[Found]]:
        rows = beam_search(model.encoder(**batch), starts)
        return [[Found(each.tokens, each.score) for each in row] for row in rows]

    return search


def _own_search(checkpoint: Checkpoint, beam: int, timed: bool) -> Search:
    """Return the search that a model without such a decoder defines (CTC, transducer)."""
    model = checkpoint.model
    own = model.build_search(checkpoint.vocabulary.dictionary, beam)

    def search(batch: dict[str, Tensor], starts: Tensor) -> list[list[Found]]:
        with _outputs_of(model) as outputs:
            rows = own.generate([model], {"net_input": {**batch, "prev_output_tokens": starts[:, None]}})
        found = [[Found(each["tokens"].cpu(), float(each["score"])) for each in row] for row in rows]
        if not timed:
            return found
        if isinstance(model, SlamCtc):
            lengths = (~outputs[-1]["padding_mask"]).sum(1).tolist()
            states = [logits[:length] for logits, length in zip(outputs[-1]["logits"], lengths, strict=True)]
            times = [
                ctc_times(row.log_softmax(-1), best[0].tokens.tolist(), model.blank)
                for row, best in zip(states, found, strict=True)
            ]
        else:
            times = [emission_times(row[0]["states"], row[0]["positional_scores"].tolist()) for row in rows]
        return [[row[0]._replace(times=of_row), *row[1:]] for row, of_row in zip(found, times, strict=True)]

    return search


@contextmanager
def _outputs_of(model: nn.Module) -> Iterator[list[Any]]:
    """Collect the outputs of a model's calls within the block: a search calls the model itself."""
    outputs: list[Any] = []
    handle = model.register_forward_hook(lambda module, arguments, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
