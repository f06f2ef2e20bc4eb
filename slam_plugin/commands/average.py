"""Average the weights of several checkpoints of one run, which often gives a better model.

    slam average --inputs runs/st/checkpoint.best_*.pt --output runs/st/checkpoint_average.pt

The result can be decoded with and passed to ``--pretrained`` like any checkpoint (Popel and Bojar 2018). It has no
optimizer state: no run can resume from it. fairseq has a script for averaging, which its wheels do not contain.

Adapters (``--lora-rank``) are merged into the weights first, and the result has none: the mean of products of two
matrices is not the product of their means.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from slam_plugin.checkpoints import read_checkpoint, write_checkpoint
from slam_plugin.data.errors import DataError
from slam_plugin.models.base.adapters import merged_weights
from slam_plugin.program import Program

# What checkpoints of one run must share; other options, such as the length of training, may change when a run resumes.
_SAME = ("common.seed", "checkpoint.save_dir", "model", "task._name")
_VOCABULARIES = ("vocabulary", "source_vocabulary", "transcript_vocabulary")


def average(inputs: Sequence[str | Path], output: str | Path) -> None:
    """Write to ``output`` the first checkpoint of ``inputs`` with the mean of the weights of all.

    Raises :class:`DataError` if there are fewer than two inputs, one cannot be read, or they are not of one run.
    """
    if len({Path(path).absolute() for path in inputs}) < max(2, len(inputs)):
        raise DataError(f"--inputs: found {len(inputs)} checkpoints, expected two or more different ones")
    first = _read_merged(inputs[0])
    described = _description(first)
    total = {name: value.double() if value.is_floating_point() else value for name, value in first["model"].items()}
    for path in inputs[1:]:
        state = _read_merged(path)
        _refuse_others(_description(state), described, path, inputs[0])
        _add(total, state["model"], path, inputs[0])
    mean = {
        name: (total[name] / len(inputs) if value.is_floating_point() else value).to(value.dtype)
        for name, value in first["model"].items()
    }
    state = {name: value for name, value in first.items() if name != "last_optimizer_state"}
    state["cfg"] = OmegaConf.to_container(first["cfg"], resolve=True, enum_to_str=True)
    if "lora_rank" in state["cfg"]["model"]:
        state["cfg"]["model"]["lora_rank"] = 0
    write_checkpoint(output, {**state, "model": mean})


def _read_merged(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint and merge its adapters into its weights. The configuration keeps their rank."""
    state = read_checkpoint(path)
    return {**state, "model": merged_weights(state["model"], str(path))}


def _description(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that checkpoints of one run must share, by name."""
    fields: dict[str, Any] = {}
    for name in _SAME:
        value = OmegaConf.select(state["cfg"], name)
        fields |= {f"{name}.{key}": value[key] for key in value} if isinstance(value, DictConfig) else {name: value}
    vocabularies = state.get("task_state", {})
    return fields | {name: vocabularies[name]["hash"] for name in _VOCABULARIES if name in vocabularies}


def _refuse_others(found: Mapping[str, Any], expected: Mapping[str, Any], path: Any, first: Any) -> None:
    differing = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    if differing:
        values = "; ".join(f"{name}: found {found.get(name)}, expected {expected.get(name)}" for name in differing)
        raise DataError(f"{path}: is not a checkpoint of the same run as {first}: {values}")


def _add(total: dict[str, Tensor], weights: Mapping[str, Tensor], path: Any, first: Any) -> None:
    odd = sorted(total.keys() ^ weights.keys())
    odd += [name for name in total if name in weights and total[name].shape != weights[name].shape]
    if odd:
        raise DataError(f"{path}: its weights differ in name or shape from those of {first}: {', '.join(odd[:3])}")
    for name, value in weights.items():
        if value.is_floating_point():
            total[name] += value
        elif not torch.equal(total[name], value):
            raise DataError(f"{path}: {name} holds other integers than in {first}, which cannot be averaged")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--inputs", nargs="+", required=True, metavar="FILE", help="checkpoints of one run")
    parser.add_argument("--output", required=True, metavar="FILE", help="checkpoint to write")


def run(options: argparse.Namespace) -> None:
    """Write the averaged checkpoint and print its path."""
    average(options.inputs, options.output)
    print(options.output)


main = Program("slam average", __doc__, add_arguments, run)
