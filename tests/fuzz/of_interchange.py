"""Folders of transformers: the configuration, the weights, the pieces."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from slam_plugin.interchange.names import trunk_pairs
from slam_plugin.interchange.sizes import PRESET
from slam_plugin.interchange.w2v_bert_2 import read_speech
from slam_plugin.interchange.xlm_roberta import WORD_EMBEDDINGS, read_word_embeddings
from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.models.base.trunk_config import TrunkConfig
from tests.fuzz.reader import Reader
from tests.support.w2v_bert_2 import train_pieces

_DIM, _PIECES = 4, 24
_SPEECH = {
    "model_type": "wav2vec2-bert",
    "architectures": ["Wav2Vec2BertModel"],
    "hidden_size": _DIM,
    "num_attention_heads": 2,
    "intermediate_size": 3,
    "num_hidden_layers": 2,
    "conv_depthwise_kernel_size": 3,
    "hidden_act": "swish",
    "position_embeddings_type": "relative_key",
}
_TEXT = {"model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"], "hidden_size": _DIM}
_LINES = ["the cat sat on the mat", "a dog ran home and back", "rain fell all day"]


def _weights() -> dict[str, torch.Tensor]:
    """Return the tensors that the configuration describes, by the names of transformers."""
    sizes = {"encoder_dim": _DIM, "encoder_heads": 2, "encoder_ffn_dim": 3, "conv_kernel": 3}
    layers = {"speech_layers": 1, "multimodal_layers": 1}
    torch.manual_seed(0)
    own = build_trunk(TrunkConfig(size=PRESET, **sizes, **layers), None, 0).state_dict()
    found: dict[str, torch.Tensor] = {}
    for pair in trunk_pairs(1, 1):
        parts = zip(pair.theirs, pair.to_theirs(own[pair.ours]), strict=True)
        found |= {name: part.contiguous().clone() for name, part in parts}
    return found


def _write_whole(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(_SPEECH))
    save_file(_weights(), folder / "model.safetensors")


def _write_pickled(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(_SPEECH))
    torch.save(_weights(), folder / "pytorch_model.bin")


def _write_shards(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(_SPEECH))
    weights, places = _weights(), {}
    for number in range(2):
        name = f"model-0000{number + 1}-of-00002.safetensors"
        shard = dict(list(weights.items())[number::2])
        save_file(shard, folder / name)
        places |= dict.fromkeys(shard, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def _write_text(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(_TEXT))
    train_pieces(folder / "sentencepiece.bpe", _LINES, _PIECES)
    (folder / "sentencepiece.bpe.vocab").unlink()
    save_file({WORD_EMBEDDINGS: torch.randn(_PIECES + 2, _DIM)}, folder / "model.safetensors")


def _read_text(folder: Path) -> None:
    read_word_embeddings(folder, _DIM)


# A tensor that does not fit the configuration may be the fault of either file: the error names the folder and one.
_NAMED = ("config.json", "tensors", "index")

READERS = (
    Reader("interchange.whole", _write_whole, read_speech, named=_NAMED, weight=2),
    Reader("interchange.pickled", _write_pickled, read_speech, named=_NAMED, weight=1),
    Reader("interchange.shards", _write_shards, read_speech, named=_NAMED, weight=2),
    Reader("interchange.text", _write_text, _read_text, named=(WORD_EMBEDDINGS,), weight=1),
)
