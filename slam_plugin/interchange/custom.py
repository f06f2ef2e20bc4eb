"""From a checkpoint of any shape to a folder that transformers loads with the code in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from slam_plugin.data.constants import MEL_BINS, SAMPLE_RATE
from slam_plugin.data.text.vocabulary import MODEL_FILE, Vocabulary
from slam_plugin.interchange.exported import (
    CTC,
    CTC_LAYER,
    FEATURES,
    TOKENIZER,
    VOCABULARY,
    Export,
    ctc_layer,
    finite_weights,
    require_fit,
    require_speech,
)
from slam_plugin.interchange.folders import CONFIG
from slam_plugin.interchange.sources import portable_sources
from slam_plugin.interchange.tokenizer import BLANK, UNKNOWN, ctc_rows
from slam_plugin.models.base.trunk import trunk_arguments
from slam_plugin.models.base.warm_start import SourceCheckpoint, trunk_weights
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.modules.lora import is_adapter
from slam_plugin.modules.trunk import Trunk

MODEL_TYPE = "slam"
_MODEL, _FOR_CTC = "SlamModel", "SlamForCTC"
_PREFIX = {_MODEL: "trunk.", _FOR_CTC: "slam.trunk."}  # of the trunk's weights there
_CODE = "slam_plugin.interchange.custom_code."
_MODELING, _CONFIGURATION = "modeling_slam", "configuration_slam"
_FEATURE_EXTRACTION, _TOKENIZATION = "feature_extraction_slam", "tokenization_slam"
_AUTO_MAP = {
    "AutoConfig": f"{_CONFIGURATION}.SlamConfig",
    "AutoModel": f"{_MODELING}.{_MODEL}",
    "AutoModelForCTC": f"{_MODELING}.{_FOR_CTC}",
}
_EXTRACTOR = {
    "auto_map": {"AutoFeatureExtractor": f"{_FEATURE_EXTRACTION}.SlamFeatureExtractor"},
    "feature_extractor_type": "SlamFeatureExtractor",
    "feature_size": MEL_BINS,
    "sampling_rate": SAMPLE_RATE,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
}
_NOTES = (
    "transformers runs the Python files of this folder if trust_remote_code is true. Read them before.",
    "The files are SLAM's own modules. They need torch and torchaudio, and sentencepiece to encode text, but not SLAM.",
    "Give it mono sound at 16 kHz.",
)


def export_with_code(source: SourceCheckpoint, differences: Sequence[str]) -> Export:
    """Return a folder with the trunk, and the CTC layer of a recognizer, and with the code of both.

    Raises :class:`DataError` if the checkpoint has no speech side, or its weights do not fit its configuration or are
    not finite.

    Args:
        differences: options of the trunk that no class of transformers has, for the card.
    """
    kind = _FOR_CTC if source.config._name == CTC else _MODEL
    arguments = trunk_arguments(source.config)
    weights = {_PREFIX[kind] + name: value for name, value in _speech_side(source, arguments).items()}
    front_end = arguments.pop("front_end")
    config: dict[str, Any] = {"architectures": [kind], "auto_map": _AUTO_MAP, "model_type": MODEL_TYPE}
    # Without our kernels: transformers would refuse files that import a package which may be absent.
    config |= {"trunk": {**arguments, "fused": False}, "front_end": front_end}
    taken = {name for name in source.weights if is_adapter(name)}
    taken |= {name for name in source.weights for ours in weights if name.endswith(ours.removeprefix("slam."))}
    code = [_CONFIGURATION, _MODELING, _FEATURE_EXTRACTION]
    files: dict[str, dict[str, Any] | bytes] = {FEATURES: {**_EXTRACTOR, "front_end": front_end}}
    if kind == _FOR_CTC:
        vocabulary = Vocabulary.from_state(source.task["vocabulary"], source.path)
        rows = ctc_rows(vocabulary)
        weights |= ctc_layer(source, arguments["dim"], rows, len(vocabulary.dictionary))
        config |= {"vocab_size": len(rows), "final_dropout": float(source.config.final_dropout)}
        files |= _tokenizer(vocabulary, rows)
        taken |= {*CTC_LAYER}
        code.append(_TOKENIZATION)
    files[CONFIG] = {**config, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    sources = portable_sources([_CODE + name for name in code])
    files |= {name: text.encode() for name, text in sorted(sources.items())}
    notes = [*_NOTES, f"No class of transformers has these options of the trunk: {', '.join(differences)}."]
    return Export(kind, files, finite_weights(weights, source.path), taken, notes, has_code=True)


def _speech_side(source: SourceCheckpoint, arguments: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights of the trunk's speech side and of the shared layers, by their names in the trunk."""
    own = {**arguments, "front_end": FrontEnd(**arguments["front_end"]), "vocab_size": None, "padding_idx": 0}
    found = trunk_weights(source)
    require_speech(source, found)
    with torch.device("meta"):  # names and shapes, without memory
        expected = Trunk(**own).state_dict()
    require_fit(source, found, expected)
    return {name: found[name] for name in expected}


def _tokenizer(vocabulary: Vocabulary, rows: Sequence[int]) -> dict[str, dict[str, Any] | bytes]:
    """Return the files of the tokenizer, whose ids name ``rows`` of the vocabulary."""
    names = [BLANK, UNKNOWN, *(vocabulary.dictionary.symbols[row] for row in rows[2:])]
    config = {
        "auto_map": {"AutoTokenizer": [f"{_TOKENIZATION}.SlamTokenizer", None]},
        "tokenizer_class": "SlamTokenizer",
        "pad_token": BLANK,
        "unk_token": UNKNOWN,
        "bos_token": None,
        "eos_token": None,
        "clean_up_tokenization_spaces": False,  # true would remove spaces before punctuation
    }
    return {
        VOCABULARY: {name: number for number, name in enumerate(names)},
        TOKENIZER: config,
        MODEL_FILE: vocabulary.model,
    }
