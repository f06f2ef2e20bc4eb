"""The CTC head of a source checkpoint: the linear layer over the trunk's states that a new model takes along."""

import logging
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from fairseq.dataclass import FairseqDataclass
from torch import Tensor, nn

from slam_plugin.data.vocabulary import Vocabulary
from slam_plugin.models.pretrained import Earlier

logger = logging.getLogger(__name__)

# The layers that hold a CTC head as they are -> the vocabulary of the checkpoint that says what its rows mean.
_LAYERS = {
    "output": "vocabulary",  # slam_ctc
    "objectives.ctc.to_symbols": "vocabulary",  # pre-training
}


@dataclass
class CtcHeadConfig(FairseqDataclass):
    """Where the CTC head of a new model comes from."""

    fresh_ctc_head: bool = field(
        default=False,
        metadata={"help": "initialize the CTC head at random even if the checkpoint of --pretrained has one"},
    )


class CtcHead(NamedTuple):
    """A CTC head. Row i scores symbol i of its vocabulary; the row of ``<s>`` scores the blank."""

    weight: Tensor  # (symbols, dim)
    bias: Tensor  # (symbols,)
    vocabulary_hash: str
    names: tuple[str, ...]  # of the weights it was made of


def ctc_head(earlier: Earlier) -> CtcHead | None:
    """Return the CTC head that a checkpoint holds, None if it holds none."""
    weights = earlier.weights
    for layer, vocabulary in _LAYERS.items():
        names = f"{layer}.weight", f"{layer}.bias"
        if names[0] in weights:
            weight, bias = (weights[name] for name in names)
            return CtcHead(weight, bias, earlier.task[vocabulary]["hash"], names)
    return None


def take_ctc_head(layer: nn.Linear, vocabulary: Vocabulary, earlier: Earlier, fresh: bool) -> tuple[str, ...]:
    """Copy the CTC head of a checkpoint into ``layer`` if both score the same symbols; the log says what was done.

    Args:
        layer: from the trunk's states to the symbols of ``vocabulary``.
        fresh: leave the layer as it is.
    Returns:
        the names of the checkpoint's weights that were taken
    """
    head = ctc_head(earlier)
    if head is None:
        logger.info("%s: has no CTC head, this one starts at random", earlier.path)
        return ()
    if fresh:
        logger.info("%s: left the CTC head: --fresh-ctc-head", earlier.path)
        return ()
    if head.vocabulary_hash != vocabulary.hash:
        found = head.vocabulary_hash, vocabulary.hash, vocabulary.source
        logger.info("%s: left the CTC head: another vocabulary, found %s, expected %s (%s)", earlier.path, *found)
        return ()
    with torch.no_grad():
        layer.weight.copy_(head.weight)
        layer.bias.copy_(head.bias)
    logger.info("%s: took the CTC head (%d symbols)", earlier.path, len(head.bias))
    return head.names
