"""Checkpoints of plain values that would run code, look things up or take all memory if fairseq built them."""

import copy
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

SOUND = Path(__file__).resolve().parents[1] / "fixtures/checkpoints_209b7f0"


def sound_state(name: str = "speech_translation") -> dict[str, Any]:
    """Return the state of a sound checkpoint."""
    from slam_plugin import compat

    compat.register()
    return torch.load(SOUND / f"{name}.pt", weights_only=True)


def code(canary: Path, value: str) -> str:
    """Return Python that makes the file ``canary`` and has the value ``value``."""
    return f"(__import__('pathlib').Path({str(canary)!r}).touch(), {value})[1]"


def fconv(canary: Path) -> dict[str, Any]:
    """Return the configuration of a model of fairseq whose builder runs strings."""
    layers = code(canary, "[(8, 3)]")
    return {"_name": "fconv", "encoder_layers": layers, "decoder_layers": layers, "decoder_attention": layers,
            "encoder_embed_dim": 8, "decoder_embed_dim": 8, "decoder_out_embed_dim": 8, "max_source_positions": 64,
            "max_target_positions": 64, "dropout": 0.0, "encoder_embed_path": None, "decoder_embed_path": None,
            "share_input_output_embed": False}  # fmt: skip


def changes(canary: Path) -> dict[str, dict[str, Any]]:
    """Return the changes of each hostile checkpoint: values by their places in the configuration."""
    run = code(canary, "(0.9, 0.98)")
    wer = {"_name": "ctc", "wer_args": code(canary, "('a', 'b', 1, 1)")}
    adam = {"_name": "adam", "lr": [0.1]}
    return {
        "model": {"model": fconv(canary)},
        "model by arch": {"model": {"arch": "fconv", **{k: v for k, v in fconv(canary).items() if k != "_name"}}},
        "model by its key": {"model": {"fconv": fconv(canary)}},
        "command line of a model": {"model": Namespace(**fconv(canary), arch="fconv")},
        "criterion": {"criterion": wer},
        "criterion in a command line": {"criterion": Namespace(**(wer | {"_name": "slam_ctc", "criterion": "ctc"}))},
        "adam_betas": {"optimizer": {**adam, "adam_betas": run}},
        "adam_betas of one": {"optimizer": {**adam, "adam_betas": "(0.9)"}},
        "adam_betas too large": {"optimizer": {**adam, "adam_betas": [0.9, 1.5]}},
        "optimizer": {"optimizer": {"_name": "adafactor", "adafactor_eps": run}},
        "task": {"task._name": "translation"},
        "task before _name": {"task.task": "translation"},
        "task and model of two kinds": {"model._name": "slam_classifier"},
        "bpe": {"bpe": {"_name": "gpt2", "gpt2_encoder_json": "http://localhost/x"}},
        "tokenizer": {"tokenizer": "nltk"},
        "looked up": {"task.data": "${oc.env:HOME}"},
        "looked up in another section": {"common.log_file": "x${oc.env:HOME}"},
        "looked up by its name": {"model._name": "${task._name}"},
        "10^9 layers": {"model.decoder_layers": 10**9},
        "500 layers": {"model.decoder_layers": 500},
        "wide": {"model.encoder_dim": 65536, "model.conv_groups": 2},
        "too many positions": {"model.decoder_max_positions": 10**9},
        "text for a size": {"model.encoder_dim": run},
        "negative": {"model.encoder_ffn_dim": -1},
        "infinite": {"model.dropout": float("inf")},
        "text for a number of the task": {"task.max_target_positions": "many"},
        "text for a choice": {"model.conv_norm": "batch"},
        "frames that make no state": {"model.frames_per_state": 3},
        "four stacked frames": {"model.front_end": "stacked", "model.frames_per_state": 4},
        "no value": {"model.size": "???"},
        "heads that do not divide": {"model.encoder_heads": 3},
        "nested deep": {"common.log_file": nested(50)},
        "nested wide": {"common.log_file": shared(40)},
        "a key that is no text": {"common": {1: 2}},
        "a tensor": {"common.seed": torch.zeros(1)},
    }


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def shared(depth: int) -> list:
    """Return a small value that has 2^depth parts if it is walked through."""
    value: list = ["x"]
    for _ in range(depth):
        value = [value, value]
    return value


def changed(state: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a checkpoint's state with other values in its configuration, by dotted places."""
    state = {**state, "cfg": copy.deepcopy(state["cfg"])}
    for place, value in values.items():
        *sections, name = place.split(".")
        section = state["cfg"]
        for key in sections:
            section = section[key]
        section[name] = value
    return state
