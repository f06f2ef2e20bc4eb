"""From a checkpoint to a folder that transformers loads: without code of its own in the shape of w2v-BERT 2.0."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from slam_plugin.checkpoints import read_checkpoint
from slam_plugin.data.constants import MEL_BINS, SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.interchange.card import CARD, model_card
from slam_plugin.interchange.custom import export_with_code
from slam_plugin.interchange.exported import (
    CTC,
    CTC_LAYER,
    FEATURES,
    Export,
    ctc_layer,
    finite_weights,
    require_fit,
    require_speech,
)
from slam_plugin.interchange.folders import CONFIG, SAFETENSORS
from slam_plugin.interchange.names import MASK_VECTOR, trunk_pairs
from slam_plugin.interchange.sizes import PRESET, differences, their_config
from slam_plugin.interchange.tokenizer import ctc_tokenizer
from slam_plugin.interchange.w2v_bert_2 import CLASSES, MODEL_TYPE
from slam_plugin.models.base.encoder import MASK_VECTORS
from slam_plugin.models.base.presets import architecture
from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.models.base.trunk_config import TrunkConfig
from slam_plugin.models.base.warm_start import SourceCheckpoint, source_of, trunk_weights
from slam_plugin.modules.lora import is_adapter

_MODEL, _FOR_CTC = CLASSES
_EXTRACTOR = {
    "feature_extractor_type": "SeamlessM4TFeatureExtractor",
    "feature_size": MEL_BINS,
    "num_mel_bins": MEL_BINS,
    "sampling_rate": SAMPLE_RATE,
    "stride": 2,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
}


def export_weights(checkpoint: str | Path, out: str | Path) -> list[str]:
    """Write a folder of transformers. Return a report, a sentence an item.

    A ``slam_ctc`` model becomes a recognizer with its tokenizer, the trunk of any other checkpoint an encoder. In the
    shape of w2v-BERT 2.0 they are a ``Wav2Vec2BertForCTC`` and a ``Wav2Vec2BertModel``, in any other a ``SlamForCTC``
    and a ``SlamModel``, whose code is in the folder. Adapters are merged. The folder appears whole or not at all.
    Raises :class:`DataError` if ``out`` holds files already, or the checkpoint has no speech side, weights that do not
    fit its configuration, numbers that are not finite, or a vocabulary that the tokenizer cannot represent.

    Example::

        export_weights("runs/recognizer/checkpoint_best.pt", "recognizer")
    """
    out = Path(out)
    _check_free(out)
    state = read_checkpoint(checkpoint)
    source = source_of(checkpoint, state)
    made = _export(source)
    left = [name for name in source.weights if name not in made.taken and name != "vocabulary_hash"]
    report = _report(source, made, left)
    numbers = sum(value.numel() for value in made.weights.values())
    card = model_card(state, made.kind, numbers, [*report[1:], *made.notes], made.has_code)

    def write(folder: Path) -> None:
        for name, content in made.files.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else _json(content))
        (folder / CARD).write_text(card, encoding="utf-8")
        try:
            save_file(made.weights, folder / SAFETENSORS, metadata={"format": "pt"})
        except SafetensorError as error:
            raise DataError(f"{out}: could not be written ({error})") from error

    _write_folder(out, write)
    return report


def _export(source: SourceCheckpoint) -> Export:
    sizes = architecture(source.config)
    found = differences(sizes)
    return export_with_code(source, found) if found else _without_code(source, sizes)


def _without_code(source: SourceCheckpoint, sizes: Mapping[str, Any]) -> Export:
    """Return the folder of a checkpoint in the shape of w2v-BERT 2.0."""
    config = {"model_type": MODEL_TYPE, **their_config(sizes), **_training(source.config)}
    kind = _FOR_CTC if source.config._name == CTC else _MODEL
    ours, names = _speech_side(source, sizes)
    taken = {name for name in source.weights if name.endswith(tuple(f"trunk.{n}" for n in names)) or is_adapter(name)}
    masks = [name for name in MASK_VECTORS if name in source.weights]
    if masks:
        ours |= dict(zip(MASK_VECTOR.theirs, [source.weights[masks[0]]], strict=True))
    else:
        config |= {"apply_spec_augment": False, "mask_time_prob": 0.0}  # without them it has no mask vector
    weights = {CLASSES[kind] + name: value for name, value in ours.items()}
    files, notes = {FEATURES: dict(_EXTRACTOR)}, []
    if kind == _FOR_CTC:
        vocabulary = Vocabulary.from_state(source.task["vocabulary"], source.path)
        tokenizer = ctc_tokenizer(vocabulary, source.path)
        weights |= ctc_layer(source, sizes["encoder_dim"], tokenizer.rows, len(vocabulary.dictionary))
        config |= {"vocab_size": len(tokenizer.rows), "final_dropout": float(source.config.final_dropout)}
        files |= tokenizer.files
        files[FEATURES]["processor_class"] = "Wav2Vec2BertProcessor"
        taken |= {*CTC_LAYER}
        notes = _reading(tokenizer.letters)
    ids = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}  # the blank is the padding there
    files[CONFIG] = {"architectures": [kind], **config, **ids}
    return Export(kind, files, finite_weights(weights, source.path), {*taken, *masks}, notes)


def _training(config: Any) -> dict[str, Any]:
    """Return the fields that only matter if transformers trains the model further."""
    dropout = float(config.dropout)
    names = ("hidden_dropout", "attention_dropout", "activation_dropout", "conformer_conv_dropout")
    return {**dict.fromkeys(names, dropout), "layerdrop": 0.0}


def _speech_side(source: SourceCheckpoint, sizes: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights of the trunk's speech side by the names of transformers, and their names in the trunk."""
    pairs = trunk_pairs(sizes["speech_layers"], sizes["multimodal_layers"])
    found = trunk_weights(source)
    with torch.device("meta"):  # names and shapes, without memory
        expected = build_trunk(TrunkConfig(**sizes, size=PRESET), None, 0).state_dict()
    require_speech(source, found)
    require_fit(source, found, {pair.ours: expected[pair.ours] for pair in pairs})
    theirs: dict[str, Tensor] = {}
    for pair in pairs:
        theirs |= dict(zip(pair.theirs, pair.to_theirs(found[pair.ours]), strict=True))
    return theirs, [pair.ours for pair in pairs]


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _reading(letters: bool) -> list[str]:
    notes = [
        "Stereo: transformers reads the first channel, SLAM averages both. Give it mono sound at 16 kHz.",
        "The pipeline decodes padded states too: with batches, or an odd number of frames of 10 ms, symbols may follow "
        "the last word.",
    ]
    if not letters:
        notes.append(
            "The tokenizer only decodes. Its pieces are those of a SentencePiece model, by which labels for further "
            "training must be cut; the pipeline gives no times of words."
        )
    return notes


def _report(source: SourceCheckpoint, made: Export, left: list[str]) -> list[str]:
    adapters = sum(map(is_adapter, source.weights))
    numbers = sum(value.numel() for value in made.weights.values())
    report = [
        f"{source.path}: {made.kind}",
        f"written: {len(made.weights)} tensors ({numbers:,} numbers)",
        f"left out: {', '.join(dict.fromkeys(_part(name) for name in left)) or 'nothing'}",
    ]
    return [*report, f"merged: adapters, {adapters} tensors"] if adapters else report


def _part(name: str) -> str:
    """Return the module that a weight belongs to, such as ``text_embedding`` or ``objectives.stm``."""
    parts = name.removeprefix("encoder.").removeprefix("trunk.").split(".")
    return ".".join(parts[:2] if parts[0] == "objectives" else parts[:1])


def _check_free(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, expected the name of a new folder")
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out}: holds files already, expected a new or empty folder")


def _write_folder(out: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder beside ``out`` and rename it to ``out``, so that ``out`` is whole or does not appear."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        write(temporary)
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
