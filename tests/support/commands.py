"""fairseq's commands, each in a fork of a process that has imported fairseq: importing takes longer than most runs."""

import importlib
import multiprocessing
import os
import sys
from pathlib import Path

import torch

PLUGIN = Path(__file__).resolve().parents[2] / "slam_plugin"
# What the commands import; torch's optimizers import torch._dynamo, which takes longer than all the rest of a toy run.
PRELOADED = [
    "fairseq_cli.train",
    "fairseq_cli.generate",
    "fairseq_cli.hydra_train",
    "slam_plugin.tasks.pretraining",
    "slam_plugin.tasks.speech_to_text",
    "slam_plugin.tasks.translation",
    "slam_plugin.tasks.joint_translation",
    "slam_plugin.tasks.sentence_prediction",
    "slam_plugin.models.pretraining",
    "slam_plugin.models.transducer",
    "slam_plugin.models.classifier",
    "torch._dynamo",
    "tests.support.warm_plugin",
    "tests.support.warm",  # the last one: it freezes what is there
]


def fairseq(command: str, log: Path, *arguments: object) -> str:
    """Run ``fairseq-COMMAND --user-dir slam_plugin ARGUMENTS`` and return its output. AssertionError if it fails."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run, args=(command, log, [*map(str, arguments), "--user-dir", str(PLUGIN)]))
    process.start()
    process.join(timeout=600)  # on a busy machine
    process.kill()
    output = log.read_text()
    if process.exitcode != 0:
        raise AssertionError(f"fairseq-{command} ended with {process.exitcode}: {output[-4000:]}")
    return output


def _run(command: str, log: Path, arguments: list[str]) -> None:
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    sys.argv = [f"fairseq-{command}", *arguments]
    importlib.import_module(f"fairseq_cli.{command}").cli_main()
