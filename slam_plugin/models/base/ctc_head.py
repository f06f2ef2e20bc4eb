"""The CTC head of a source checkpoint: the linear layer over the trunk's states, which a new model may copy."""

import logging
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from fairseq.dataclass import FairseqDataclass
from torch import Tensor, nn

from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.models.base.warm_start import SourceCheckpoint

logger = logging.getLogger(__name__)

_OUTPUT = "output"  # of slam_ctc
_BESIDE = "ctc_layer"  # of slam_speech_to_text
_PRETRAINING = "objectives.ctc.to_symbols"
_EMBEDDING = "trunk.text_embedding.tokens.weight"
_TOP = "top"  # of the trunk: the states that a recognizer reads


@dataclass
class CtcHeadConfig(FairseqDataclass):
    """Where the CTC head of a new model comes from."""

    fresh_ctc_head: bool = field(
        default=False,
        metadata={"help": "initialize the CTC head at random even if the --pretrained checkpoint has one"},
    )


class CtcHead(NamedTuple):
    """A CTC head. Row i scores symbol i of its vocabulary. The row of ``<s>`` scores the blank."""

    weight: Tensor  # (symbols, dim)
    bias: Tensor  # (symbols,)
    vocabulary_hash: str
    place: str  # states that it reads: the end of the "speech" encoder, "middle" or "top" of the shared layers
    names: tuple[str, ...]  # the checkpoint's weights that only the head uses


def ctc_head(source: SourceCheckpoint) -> CtcHead | None:
    """Return the CTC head that a checkpoint holds, None if it holds none."""
    if f"{_OUTPUT}.bias" in source.weights:
        return _linear(source, _OUTPUT, "vocabulary", _TOP)
    if f"{_BESIDE}.bias" in source.weights:
        transcripts = "transcript_vocabulary" if "transcript_vocabulary" in source.task else "source_vocabulary"
        return _linear(source, _BESIDE, transcripts, _TOP)
    if f"{_PRETRAINING}.bias" in source.weights:
        # A checkpoint without its objectives is older than the choice of a layer.
        place = source.task.get("objectives", {}).get("ctc", {}).get("layer", "speech")
        if f"{_PRETRAINING}.blank_vector" in source.weights:
            return _tied(source, place)
        return _linear(source, _PRETRAINING, "vocabulary", place)
    return None


def _linear(source: SourceCheckpoint, layer: str, vocabulary: str, place: str) -> CtcHead:
    names = f"{layer}.weight", f"{layer}.bias"
    weight, bias = (source.weights[name] for name in names)
    return CtcHead(weight, bias, source.task[vocabulary]["hash"], place, names)


def _tied(source: SourceCheckpoint, place: str) -> CtcHead:
    """Return a head that scores symbols by the text embedding and the blank by a separate vector."""
    names = f"{_PRETRAINING}.blank_vector", f"{_PRETRAINING}.bias"
    weight, vocabulary = source.weights[_EMBEDDING].clone(), Vocabulary.from_state(source.task["vocabulary"])
    weight[vocabulary.dictionary.bos()] = source.weights[names[0]]
    return CtcHead(weight, source.weights[names[1]], vocabulary.hash, place, names)


def take_ctc_head(layer: nn.Linear, vocabulary: Vocabulary, source: SourceCheckpoint, fresh: bool) -> tuple[str, ...]:
    """Copy the CTC head of a checkpoint into ``layer`` if both score the same symbols. Log what was done.

    Args:
        layer: from the trunk's states to the symbols of ``vocabulary``.
        fresh: leave the layer as it is.
    Returns:
        the names of the checkpoint's weights that were taken
    """
    head = ctc_head(source)
    if head is None:
        logger.info("%s: no CTC head found, the new one is initialized at random", source.path)
        return ()
    if fresh:
        logger.info("%s: CTC head not taken: --fresh-ctc-head", source.path)
        return ()
    if head.place != _TOP:
        logger.info("%s: CTC head not taken: of layer %s, expected %s", source.path, head.place, _TOP)
        return ()
    if head.vocabulary_hash != vocabulary.hash:
        found = head.vocabulary_hash, vocabulary.hash, vocabulary.source
        logger.info("%s: CTC head not taken: of vocabulary %s, expected %s (%s)", source.path, *found)
        return ()
    with torch.no_grad():
        layer.weight.copy_(head.weight)
        layer.bias.copy_(head.bias)
    logger.info("%s: took the CTC head (%d symbols)", source.path, len(head.bias))
    return head.names
