"""What models write: transcripts, translations, normalised text."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.data.text.languages import start_symbol
from slam_plugin.data.text.vocabulary import MASK
from slam_plugin.decoding.beam import BeamSearch
from slam_plugin.inference.batches import in_batches
from slam_plugin.inference.checkpoints import Checkpoint


class Written(NamedTuple):
    """A hypothesis and its log-probability: the mean of its tokens by a decoder, else of the whole."""

    text: str
    score: float


# What the encoder takes, and the first symbol (batch,) -> of each row its hypotheses, tokens and score, the best first.
Search = Callable[[dict[str, Tensor], Tensor], list[list[tuple[Tensor, float]]]]


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
    start = _start(checkpoint, target)
    search = (_own_search if hasattr(checkpoint.model, "build_search") else _beam_search)(checkpoint, beam)
    decode = checkpoint.vocabulary.decode

    def compute(padded: Tensor, padding_mask: Tensor) -> list[list[Written]]:
        if side == "speech":
            batch = {"features": padded, "padding_mask": padding_mask}
        else:
            batch = {"src_tokens": padded, "src_lengths": (~padding_mask).sum(1)}
        starts = torch.full((len(padded),), start, device=checkpoint.device)
        with torch.no_grad():
            found = search({name: tensor.to(checkpoint.device) for name, tensor in batch.items()}, starts)
        return [[Written(decode(tokens), score) for tokens, score in row[:nbest]] for row in found]

    return in_batches(inputs, checkpoint.side(side), compute)


def _start(checkpoint: Checkpoint, target: str | None) -> int:
    """The first symbol, of the language asked for or else of the one that the model was trained to write."""
    config, vocabulary = checkpoint.config, checkpoint.vocabulary
    if target is None and vocabulary.languages:
        target = config.tgt_lang or config.get("target_lang")
    return start_symbol(vocabulary, target)


def _beam_search(checkpoint: Checkpoint, beam: int) -> Search:
    """Over a Transformer decoder, which never writes ``<mask>`` or the tag of a language."""
    model, vocabulary = checkpoint.model, checkpoint.vocabulary
    never = [vocabulary.dictionary.index(MASK), *vocabulary.languages.values()]
    beam_search = BeamSearch(model.decoder, beam=beam, suppress=never)

    def search(batch: dict[str, Tensor], starts: Tensor) -> list[list[tuple[Tensor, float]]]:
        rows = beam_search(model.encoder(**batch), starts)
        return [[(found.tokens, found.score) for found in row] for row in rows]

    return search


def _own_search(checkpoint: Checkpoint, beam: int) -> Search:
    """What a model without such a decoder brings."""
    model = checkpoint.model
    own = model.build_search(checkpoint.vocabulary.dictionary, beam)

    def search(batch: dict[str, Tensor], starts: Tensor) -> list[list[tuple[Tensor, float]]]:
        rows = own.generate([model], {"net_input": {**batch, "prev_output_tokens": starts[:, None]}})
        return [[(found["tokens"].cpu(), float(found["score"])) for found in row] for row in rows]

    return search
