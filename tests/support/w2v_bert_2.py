"""Folders of transformers: random models of drawn sizes in the shape of w2v-BERT 2.0, and XLM-R. Data for them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slam_plugin.data.manifests.manifest import Manifest, write_manifest


def make_model(seed: int = 0, kind: str = "Wav2Vec2BertModel", **fields: Any) -> torch.nn.Module:
    """Return a model of drawn sizes, in which every parameter is drawn too."""
    import transformers

    random = np.random.default_rng(seed)
    heads = int(random.choice([2, 4, 6]))
    sizes = {
        "hidden_size": heads * int(random.choice([4, 8, 10])),
        "num_attention_heads": heads,
        "intermediate_size": int(random.integers(20, 70)),
        "num_hidden_layers": int(random.integers(3, 6)),
        "conv_depthwise_kernel_size": int(random.choice([3, 9, 31])),
        "vocab_size": 7,
    }
    config = transformers.Wav2Vec2BertConfig(**{**sizes, "apply_spec_augment": False, "layerdrop": 0.0, **fields})
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(config).eval()
    draw_all(model)
    return model


def draw_all(model: torch.nn.Module) -> None:
    """Draw every parameter: norms and biases start as ones and zeros, which would hide a missing one."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() > 1 else 0.5)


def save_pickled(model: torch.nn.Module, folder: Path) -> None:
    """Save a model as versions of transformers before 4.35 did."""
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def change_config(folder: Path, **fields: Any) -> None:
    """Overwrite fields of ``config.json``. None removes a field."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Change the tensors of ``model.safetensors``."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def train_pieces(prefix: Path, lines: list[str], pieces: int, **fields: Any) -> None:
    """Write a SentencePiece model of the lines to ``prefix`` with ``.model`` added."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(prefix), vocab_size=pieces, minloglevel=2, **fields
    )


def save_xlm_roberta(folder: Path, lines: list[str], pieces: int, dim: int, kind: str = "XLMRobertaModel") -> Path:
    """Save an XLM-R of one layer, with a SentencePiece model of the lines."""
    import transformers

    folder.mkdir(parents=True)
    train_pieces(folder / "sentencepiece.bpe", lines, pieces)
    config = transformers.XLMRobertaConfig(
        vocab_size=pieces + 2,
        hidden_size=dim,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    torch.manual_seed(0)
    getattr(transformers, kind)(config).save_pretrained(folder)
    return folder


def write_data(toy: Path, folder: Path) -> Path:
    """Write the toy corpus in the layout of ``slam prepare english``, as far as the example of w2v-BERT 2.0 reads it.

    The corpus of the games has the sound of recognition, each under a path of its own.
    """
    for name in ("text", "wav"):
        shutil.copytree(toy / name, folder / name, ignore=shutil.ignore_patterns("*.arrow", "*.checked"))
    for ending in ("bin", "idx"):
        shutil.copy(toy / f"text/a.{ending}", folder / f"text/train.{ending}")
    for place in (folder, folder / "asr"):
        place.mkdir(exist_ok=True)
        for name in ("dict.txt", "spm.model"):
            shutil.copy(toy / name, place)
    paired = {"train": "pairs/train", "valid": "pairs/valid"}
    sources = {"speech/train": "speech/a", "speech/valid": "speech/valid"}
    sources |= {f"pairs/{split}": name for split, name in paired.items()}
    sources |= {"asr/train_10": paired["train"], "asr/dev": paired["valid"], "asr/test": paired["valid"]}
    sources |= {"games/toy/train": paired["train"], "games/toy/test": paired["valid"]}
    for name, source in sources.items():
        manifest = Manifest.open(toy / f"{source}.tsv")
        above = "../" * name.count("/")
        rows = [manifest.row(number) for number in range(len(manifest))]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_manifest(folder / f"{name}.tsv", [{**row, "audio": above + row["audio"]} for row in rows], list(rows[0]))
    return folder
