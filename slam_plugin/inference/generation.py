"""Text generation with a fine-tuned model: transcripts, translations, normalized text."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.data.text.languages import start_symbol
from slam_plugin.data.text.vocabulary import MASK
from slam_plugin.decoding.beam import BeamSearch
from slam_plugin.decoding.options import SearchOptions
from slam_plugin.inference.batches import in_batches
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.models.ctc import SlamCtc


class Hypothesis(NamedTuple):
    """A hypothesis and its log-probability: the mean over tokens for models with a decoder, else that of the whole."""

    text: str
    score: float


# (the encoder's arguments, the first symbol (batch,)) -> for each row its hypotheses, (tokens, score), best first
Search = Callable[[dict[str, Tensor], Tensor], list[list[tuple[Tensor, float]]]]


def generate(
    checkpoint: Checkpoint,
    ability: str,
    side: str,
    inputs: Iterable[Any],
    beam: int,
    nbest: int = 1,
    target: str | None = None,
    options: SearchOptions | None = None,
) -> Iterator[list[Hypothesis] | DataError]:
    """Yield the hypotheses of each input, best first, at most ``nbest``, or the error of an unusable input.

    Args:
        ability: "transcribe", "translate" or "normalize".
        side: type of the inputs, "speech" or "text".
        beam: hypotheses kept in the search.
        target: language to write; None for the model's only or default one.
        options: a language model, a lexicon, hotwords and the like, for CTC models alone.
    """
    checkpoint.require(ability)
    if options is not None and not isinstance(checkpoint.model, SlamCtc):
        raise DataError(f"{checkpoint.path}: language models, lexicons and hotwords are for CTC models; this is none")
    if not 1 <= nbest <= beam:
        raise DataError(f"nbest: found {nbest}, expected 1 to {beam}, the hypotheses that the search keeps (beam)")
    start = _start(checkpoint, target)
    if hasattr(checkpoint.model, "build_search"):
        search = _own_search(checkpoint, beam, options)
    else:
        search = _beam_search(checkpoint, beam)
    decode = checkpoint.vocabulary.decode

    def compute(padded: Tensor, padding_mask: Tensor) -> list[list[Hypothesis]]:
        if side == "speech":
            batch = {"features": padded, "padding_mask": padding_mask}
        else:
            batch = {"src_tokens": padded, "src_lengths": (~padding_mask).sum(1)}
        starts = torch.full((len(padded),), start, device=checkpoint.device)
        with torch.no_grad():
            found = search({name: tensor.to(checkpoint.device) for name, tensor in batch.items()}, starts)
        return [[Hypothesis(decode(tokens), score) for tokens, score in row[:nbest]] for row in found]

    return in_batches(inputs, checkpoint.side(side), compute)


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

    def search(batch: dict[str, Tensor], starts: Tensor) -> list[list[tuple[Tensor, float]]]:
        rows = beam_search(model.encoder(**batch), starts)
        return [[(found.tokens, found.score) for found in row] for row in rows]

    return search


def _own_search(checkpoint: Checkpoint, beam: int, options: SearchOptions | None) -> Search:
    """Return the search that a model without such a decoder defines (CTC, transducer)."""
    model = checkpoint.model
    own = model.build_search(checkpoint.vocabulary.dictionary, beam, *(() if options is None else (options,)))

    def search(batch: dict[str, Tensor], starts: Tensor) -> list[list[tuple[Tensor, float]]]:
        rows = own.generate([model], {"net_input": {**batch, "prev_output_tokens": starts[:, None]}})
        return [[(found["tokens"].cpu(), float(found["score"])) for found in row] for row in rows]

    return search
