"""A toy corpus of generated speech and text, and real fairseq-train runs on it."""

import contextlib
import copy
import functools
import json
import multiprocessing
import os
import re
import socket
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
import yaml

from slam_plugin.data.audio import frames_in
from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.manifests.manifest import write_manifest
from tests.support.commands import PRELOADED

ROOT = Path(__file__).resolve().parents[2]
WORDS = [first + last for first in ("ba", "de", "fi", "go", "lu") for last in ("ka", "men", "pi", "ros", "tu")]

# Kinds join in the middle of epochs of six plan steps; speech and text have two shards.
CORPORA = {
    "mode": "all",
    "stages": {0: ["speech"], 2: ["speech", "text"], 5: ["speech", "text", "pairs"]},
    "quota": {"speech": 1, "text": 2, "pairs": 1},
    "corpora": {
        "talk": {
            "kind": "speech",
            "train": ["speech/a.tsv", "speech/b.tsv"],
            "valid": "speech/valid.tsv",
            "audio_root": ".",
            "budget": 400,
            "min_length": 20,
            "max_length": 300,
        },
        "prose": {
            "kind": "text",
            "train": ["text/a", "text/b"],
            "valid": "text/valid",
            "budget": 128,
            "min_length": 3,
            "max_length": 64,
            "block": 24,
        },
        "told": {
            "kind": "pairs",
            "train": ["pairs/train.tsv"],
            "valid": "pairs/valid.tsv",
            "audio_root": ".",
            "budget": 400,
            "min_length": 20,
            "max_length": 300,
        },
    },
    "objectives": {
        "contrastive": {"codes": 16, "code_dim": 8, "distractors": 5, "mask_span": 3},
        "masked_prediction": {},
        "span_mlm": {},
        "tlm": {"speech_mask_span": 3},
        "stm": {},
    },
}
STEPS_PER_EPOCH, UPDATE_FREQ, UPDATES = 6, 2, 8

MODEL = {
    "encoder-dim": 32,
    "encoder-heads": 2,
    "encoder-ffn-dim": 64,
    "speech-layers": 1,
    "multimodal-layers": 1,
    "subsample-channels": 4,
}
FLAGS = {
    "user-dir": ROOT / "slam_plugin",
    "task": "slam_pretraining",
    "arch": "slam_pretraining_tiny",
    "criterion": "slam_pretraining",
    **MODEL,
    "dropout": 0.1,
    "autocast": "bf16",
    "optimizer": "adam",
    "adam-betas": "(0.9, 0.98)",
    "weight-decay": 0.1,
    "clip-norm": 1.0,
    "lr": 0.002,
    "lr-scheduler": "inverse_sqrt",
    "warmup-updates": 4,
    "warmup-init-lr": 0.0005,
    "steps-per-epoch": STEPS_PER_EPOCH,
    "update-freq": UPDATE_FREQ,
    "max-update": UPDATES,
    "num-workers": 0,
    "batch-size": 1,  # fairseq insists on one; the plan does not read it
    "seed": 1,
    "log-format": "json",
    "log-interval": 1,
    "cpu": True,
}


def build_toy(folder: Path) -> None:
    """Write speech in two shards, text in two shards and pairs, with vocabulary, ``CORPORA`` and validation data."""
    from data_prep.text.binarize import binarize
    from data_prep.text.vocab import train_vocabulary

    rng = np.random.default_rng(1)
    documents = {name: _documents(rng, count) for name, count in (("a", 12), ("b", 15), ("valid", 4))}
    train_vocabulary([line for text in documents.values() for line in text], folder, 60)
    for name, lines in documents.items():
        source = folder / "text" / f"{name}.txt"
        source.parent.mkdir(exist_ok=True)
        source.write_text("\n".join(lines) + "\n")
        binarize(source, folder, source.with_suffix(""))
    for name, count in (("a", 14), ("b", 11), ("valid", 6)):
        write_rows(folder, f"speech/{name}.tsv", [_utterance(folder, rng, f"{name}{i}") for i in range(count)])
    for name, count in (("train", 12), ("valid", 6)):
        rows = [_utterance(folder, rng, f"pair-{name}{i}") for i in range(count)]
        texts = [" ".join(rng.choice(WORDS, 3)) for _ in rows]
        write_rows(
            folder, f"pairs/{name}.tsv", [{**row, "tgt_text": text} for row, text in zip(rows, texts, strict=True)]
        )
    # As a spreadsheet may write it: a byte order mark, and CR LF line ends.
    second = folder / "speech/b.tsv"
    second.write_bytes(b"\xef\xbb\xbf" + second.read_bytes().replace(b"\n", b"\r\n"))
    write_corpora(folder)


def write_corpora(folder: Path, change: Callable[[dict], Any] = lambda corpora: None) -> Path:
    """Write ``corpora.yaml``: a copy of ``CORPORA`` after ``change``."""
    corpora = copy.deepcopy(CORPORA)
    change(corpora)
    path = folder / "corpora.yaml"
    path.write_text(yaml.safe_dump(corpora, sort_keys=False))
    return path


def write_rows(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    write_manifest(folder / name, rows, list(rows[0]))


def write_sound(folder: Path, name: str, samples: np.ndarray) -> dict[str, Any]:
    """Write a wav file of fp32 samples and return its row of a manifest."""
    (folder / "wav").mkdir(exist_ok=True)
    soundfile.write(folder / "wav" / f"{name}.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    return {"id": name, "audio": f"wav/{name}.wav", "n_frames": max(frames_in(len(samples)), 1)}


def _utterance(folder: Path, rng: np.random.Generator, name: str) -> dict[str, Any]:
    """Write half a second to a second of three tones and noise."""
    samples = int(SAMPLE_RATE * rng.uniform(0.5, 1.0))
    time = np.arange(samples) / SAMPLE_RATE
    pitch = np.repeat(rng.uniform(100, 2000, 3), -(-samples // 3))[:samples]
    return write_sound(folder, name, 0.3 * np.sin(2 * np.pi * pitch * time) + 0.05 * rng.standard_normal(samples))


def _documents(rng: np.random.Generator, count: int) -> list[str]:
    """Return lines of ``count`` documents, each followed by an empty one."""
    lines = []
    for _ in range(count):
        lines += [" ".join(rng.choice(WORDS, int(rng.integers(3, 9)))) for _ in range(int(rng.integers(2, 5)))] + [""]
    return lines


def configuration(data: Path, **flags: Any) -> Any:
    """Return fairseq's configuration of the command ``FLAGS`` with ``flags``."""
    cfg = copy.deepcopy(_configuration(tuple(command(Path("data"), Path("unused"), **flags))))
    cfg.task.data = str(data)  # not in the cached command: many tests have folders of their own
    return cfg


@functools.cache
def _configuration(arguments: tuple[str, ...]) -> Any:
    """Return the cached configuration: hydra takes half a second to make it."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    from slam_plugin import compat

    compat.register()
    parsed = options.parse_args_and_arch(options.get_training_parser(), list(arguments))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hydra's warnings about fairseq
        return convert_namespace_to_omegaconf(parsed)


def make_task(data: Path, **flags: Any) -> Any:
    """Return the task of that command, set up in this process."""
    from fairseq import tasks

    return tasks.setup_task(configuration(data, **flags).task)


def build_model(task: Any, **flags: Any) -> Any:
    """Return the model of that command with its initial weights."""
    from fairseq import utils

    utils.set_torch_seed(task.cfg.seed)
    return task.build_model(configuration(Path(task.cfg.data), **flags).model)


# ---------------------------------------------------------------------------------------------------------------------
# runs


class Run(NamedTuple):
    """A finished run. ``logs`` are fairseq's JSON logs: (tag, values by their names without the
    tag), without empty values."""

    code: int
    output: str
    folder: Path  # --save-dir

    @property
    def logs(self) -> list[tuple[str, dict[str, float]]]:
        found = re.findall(r"\| INFO \| (\w+) \| (\{.*\})$", self.output, re.MULTILINE)
        return [(tag, _plain(tag, json.loads(values))) for tag, values in found]

    def logged(self, tag: str) -> list[dict[str, float]]:
        return [values for name, values in self.logs if name == tag]

    def checkpoint(self, name: str = "checkpoint_last.pt") -> dict[str, Any]:
        from slam_plugin import compat

        compat.apply()
        return torch.load(self.folder / name, weights_only=True)

    def after(self, update: int) -> Path:
        """Return the checkpoint that was written after an update."""
        epoch, rest = divmod(update * UPDATE_FREQ, STEPS_PER_EPOCH)
        return self.folder / (f"checkpoint_{epoch + 1}_{update}.pt" if rest else f"checkpoint{epoch}.pt")


def _plain(tag: str, values: Mapping[str, Any]) -> dict[str, float]:
    return {name.removeprefix(f"{tag}_"): float(value) for name, value in values.items() if value is not None}


def command(data: Path, folder: Path, **flags: Any) -> list[str]:
    """Return the arguments of fairseq-train: ``FLAGS`` and ``flags``, with _ for - in names. None omits a flag."""
    named = {**FLAGS, "save-dir": folder, **{name.replace("_", "-"): value for name, value in flags.items()}}
    arguments = [str(data)]
    for name, value in named.items():
        if value is not None and value is not False:
            arguments += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return arguments


def train(
    data: Path,
    folder: Path,
    ranks: int = 1,
    disturb: Callable[[Sequence[BaseProcess], Path], None] = lambda processes, log: None,
    **flags: Any,
) -> Run:
    """Run ``fairseq-train`` in one process per rank, forks of one that has imported fairseq, to save time.

    ``disturb`` is called with the processes while they run, and with the log of rank 0. The exit code of the run is the
    first one that is not 0.
    """
    folder.mkdir(parents=True, exist_ok=True)
    commands = [command(data, folder, **flags)]
    if ranks > 1:
        address = {"distributed_init_method": f"tcp://127.0.0.1:{free_port()}", "distributed_world_size": ranks}
        # With the variables of torchrun, fairseq would divide by the number of GPUs.
        how = {"distributed_no_spawn": True, "distributed_backend": "gloo", "ddp_backend": "legacy_ddp", "device_id": 0}
        flags = {**how, **flags, **address}
        commands = [command(data, folder, **flags, distributed_rank=rank) for rank in range(ranks)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, "tests.support.training"])
    logs = [folder / f"rank{rank}.log" for rank in range(ranks)]
    processes = [
        context.Process(target=_fairseq_train, args=(arguments, log))
        for arguments, log in zip(commands, logs, strict=True)
    ]
    for process in processes:
        process.start()
    disturb(processes, logs[0])
    for process in processes:
        process.join(timeout=600)  # on a busy machine
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return Run(next((code for code in codes if code != 0), 0), log_of(folder), folder)


def log_of(folder: Path) -> str:
    """Return the output of rank 0 of a run that was saved in ``folder``."""
    return (folder / "rank0.log").read_text()


def _fairseq_train(arguments: list[str], log: Path) -> None:
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import fairseq_cli.train

    multiprocessing.set_start_method("fork", force=True)  # of a loader's workers, as under the shell
    torch.set_num_threads(1)
    sys.argv = ["fairseq-train", *arguments]
    fairseq_cli.train.cli_main()


def free_port() -> int:
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def differing(one: Any, other: Any, path: str = "") -> list[str]:
    """Return the paths of all values that are not bitwise equal in two nested states."""
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() == other.keys():
        return [place for key in one for place in differing(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [place for index, (a, b) in pairs for place in differing(a, b, f"{path}/{index}")]
    if torch.is_tensor(one) and torch.is_tensor(other):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [path]
    return [] if type(one) is type(other) and one == other else [path]
