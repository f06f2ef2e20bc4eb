"""From a folder of transformers' w2v-BERT 2.0 to a checkpoint that pre-training and fine-tuning start from.

Source: Seamless Communication 2023, "Seamless: Multilingual Expressive and Streaming Speech Translation".
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf
from torch import Tensor

from slam_plugin import compat
from slam_plugin.checkpoints import write_checkpoint
from slam_plugin.data.errors import DataError
from slam_plugin.data.shapes import check_shapes
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.interchange.folders import CONFIG, Weights, read_config
from slam_plugin.interchange.names import MASK_VECTOR, trunk_pairs
from slam_plugin.interchange.sizes import PRESET, trunk_sizes
from slam_plugin.interchange.xlm_roberta import copy_rows, read_word_embeddings
from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.models.base.trunk_config import TrunkConfig
from slam_plugin.models.base.warm_start import PRETRAINED
from slam_plugin.modules.text import TextEmbedding
from slam_plugin.saved.reading import check_state

MODEL_TYPE = "wav2vec2-bert"
# Class -> the prefix of the model's weights in its files.
CLASSES = {"Wav2Vec2BertModel": "", "Wav2Vec2BertForCTC": "wav2vec2_bert."}
UNUSED = {"Wav2Vec2BertModel": (), "Wav2Vec2BertForCTC": ("lm_head.weight", "lm_head.bias")}
SEED = 1  # of what begins afresh
TASK = "slam_pretraining"
_SHOWN = 5  # symbols of a report


class Taken(NamedTuple):
    """The contents that were read from a folder.

    Attributes:
        sizes: every field of the trunk.
        weights: by our names, those of the trunk with the prefix that they have in a checkpoint of pre-training.
        report: sentences on what was taken, what was not used, and what begins afresh.
    """

    sizes: dict[str, Any]
    weights: dict[str, Tensor]
    report: list[str]


def import_weights(
    folder: str | Path,
    vocabulary: str | Path,
    out: str | Path,
    speech_layers: int | None = None,
    text_embedding: str | Path | None = None,
) -> list[str]:
    """Write a checkpoint with the weights of a folder of transformers. Return a report, a sentence an item.

    Raises :class:`DataError` if the folder is not one of ``CLASSES``, its weights are not those that its configuration
    describes, or the trunk cannot represent it. Nothing is written then.

    Example::

        import_weights("w2v-bert-2.0", "data", "start.pt", text_embedding="xlm-roberta-large")

    Args:
        vocabulary: folder with ``dict.txt`` and ``spm.model``, of the text side.
        speech_layers: how many of the layers are the speech encoder; None for a third.
        text_embedding: folder of an XLM-R, whose word embeddings the text side begins with.
    """
    if Path(out).is_dir():
        raise DataError(f"{out}: is a folder, expected the name of the checkpoint to write")
    words = Vocabulary.load(vocabulary)
    speech = read_speech(Path(folder), speech_layers)
    text = _text_side(words, speech.sizes["encoder_dim"], text_embedding)
    weights = {**speech.weights, **text.weights, "vocabulary_hash": _bytes_of(words.hash)}
    state = {
        "cfg": _configuration(vocabulary, speech.sizes),
        "model": weights,
        "task_state": {"vocabulary": words.state(), "objectives": {}, "dead_codebooks": {}},
        "optimizer_history": [{"optimizer_name": "none", "lr_scheduler_state": {}, "num_updates": 0}],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
    }
    check_state(out, state)
    write_checkpoint(out, state)
    objectives = "begins afresh: the quantizer and the heads of all objectives, when pre-training starts"
    return [*speech.report, *text.report, objectives]


def read_speech(folder: Path, speech_layers: int | None = None) -> Taken:
    """Return the trunk's speech side from a folder of transformers. Raises the errors of :func:`import_weights`."""
    config = read_config(folder, tuple(CLASSES), MODEL_TYPE)
    (kind,) = config["architectures"]
    sizes = trunk_sizes(config, folder / CONFIG, speech_layers)
    layers = sizes["speech_layers"], sizes["multimodal_layers"]
    pairs = trunk_pairs(*layers)
    with torch.device("meta"):  # names and shapes, without memory
        trunk = build_trunk(TrunkConfig(**sizes, size=PRESET), None, 0)
        own = {**trunk.state_dict(), MASK_VECTOR.ours: torch.empty(trunk.dim)}
    weights, prefix = Weights(folder), CLASSES[kind]
    masks = f"{prefix}{MASK_VECTOR.theirs[0]}" in weights.shapes
    read = [*pairs, *([MASK_VECTOR] if masks else [])]
    expected = {
        f"{prefix}{name}": part.shape
        for pair in read
        for name, part in zip(pair.theirs, pair.to_theirs(own[pair.ours]), strict=True)
    }
    fault = f"{folder}: its tensors are not those that its {CONFIG} describes"
    check_shapes(fault, weights.shapes, expected, optional=UNUSED[kind])
    taken = {pair.ours: pair.to_ours([weights.read(prefix + name) for name in pair.theirs]) for pair in read}
    numbers = sum(value.numel() for value in taken.values())
    unused = [name for name in UNUSED[kind] if name in weights.shapes]
    report = [
        f"{folder}: {kind}, {sum(layers)} layers: {layers[0]} of the speech encoder, {layers[1]} shared with text",
        f"taken: {len(expected)} tensors ({numbers:,} numbers): front end, layers{', mask vector' if masks else ''}",
        f"not used: {', '.join(unused) or 'nothing'}",
    ]
    if not masks:
        report.append(f"begins afresh: the mask vector, as there is no {MASK_VECTOR.theirs[0]}")
    named = {name if name == MASK_VECTOR.ours else PRETRAINED + name: value for name, value in taken.items()}
    return Taken(sizes, named, report)


def _text_side(words: Vocabulary, dim: int, folder: str | Path | None) -> Taken:
    """Return the text embedding: newly initialized, with the rows of an XLM-R's folder for the pieces in it."""
    dictionary = words.dictionary
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        own = TextEmbedding(len(dictionary), dim, dictionary.pad()).state_dict()
    weights = {f"{PRETRAINED}text_embedding.{name}": value for name, value in own.items()}
    if folder is None:
        return Taken({}, weights, [f"begins afresh: the text embedding, {len(dictionary):,} rows, and its norm"])
    embeddings = read_word_embeddings(Path(folder), dim)
    absent = copy_rows(embeddings, dictionary.symbols, own["tokens.weight"])
    report = [
        f"{folder}: taken: {len(dictionary) - len(absent):,} of {len(dictionary):,} rows of the text embedding",
        f"begins afresh: {len(absent):,} rows of the text embedding, which have no piece there: {_shown(absent)}",
        "begins afresh: the text embedding's norm, as XLM-R's is of words with other positions",
        f"not used: the other weights of {folder}",
    ]
    return Taken({}, weights, report)


def _configuration(data: str | Path, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that fairseq-train saves, of a pre-training with the trunk's ``sizes``."""
    compat.register()
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in sizes.items()]
    criterion = [f"--criterion={TASK}", "--optimizer=slam_adamw"]
    parser = options.get_training_parser()
    parsed = options.parse_args_and_arch(
        parser, [str(data), f"--task={TASK}", f"--arch={TASK}_{PRESET}", *criterion, *flags]
    )
    logging.getLogger("hydra").setLevel(logging.INFO)  # fairseq's import lets through what is for debugging
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hydra's warnings about fairseq
        cfg = convert_namespace_to_omegaconf(parsed)
    cfg.model._name = TASK  # not the arch, whose preset is in the sizes
    return OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)


def _bytes_of(hexadecimal: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(hexadecimal)), dtype=torch.uint8)


def _shown(symbols: Sequence[str]) -> str:
    rest = f" and {len(symbols) - _SHOWN} more" if len(symbols) > _SHOWN else ""
    return " ".join(symbols[:_SHOWN]) + rest
