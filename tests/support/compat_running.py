"""Runs of real fairseq programs in forks of one process, and toy data for them."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import fairseq_cli.generate
import fairseq_cli.preprocess
import fairseq_cli.train

import tests.support.warm  # noqa: F401  (the parsers of every fork's configuration)

SENTENCES = ["aa bb cc dd", "bb cc", "dd dd aa ee", "cc ee ff", "ff aa", "ee bb ff cc aa"] * 2
TINY = [f"--{side}-{what}={size}" for side in ("encoder", "decoder") for what, size in
        (("layers", 1), ("embed-dim", 8), ("ffn-embed-dim", 8), ("attention-heads", 2))]  # fmt: skip
TRAIN = ["data", "--task=translation", "-sx", "-ty", "--arch=transformer", *TINY, "--optimizer=adam", "--max-tokens=64",
         "--cpu", "--num-workers=0", "--eval-bleu", "--no-epoch-checkpoints", "--log-format=simple"]  # fmt: skip


def prepare_data(folder: Path) -> None:
    """Make a toy parallel corpus in ``folder/data``, and a checkpoint of one epoch on it in ``folder/once``."""
    os.chdir(folder)
    for split in ("train", "valid"):
        for side in "xy":
            Path(f"{split}.{side}").write_text("".join(line + "\n" for line in SENTENCES))
    arguments = ["-sx", "-ty", "--trainpref=train", "--validpref=valid", "--testpref=valid", "--destdir=data"]
    run_main(fairseq_cli.preprocess, *arguments)


def train_once(folder: Path) -> None:
    os.chdir(folder)
    train("--save-dir=once", "--max-epoch=1")


def run_main(module, *arguments: str) -> None:
    sys.argv = [module.__name__, *arguments]
    module.cli_main()


def train(*arguments: str) -> None:
    run_main(fairseq_cli.train, *TRAIN, *arguments)


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def start(function: Callable, *arguments, log: Path) -> tuple[int, Path]:
    """Fork. The child runs ``function``, with its output in ``log`` and its error, if any, in ``log.error``."""
    error = Path(f"{log}.error")
    error.unlink(missing_ok=True)
    child = os.fork()
    if child:
        return child, error
    status = 1
    try:
        with open(log, "ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        function(*arguments)
        status = 0
    except BaseException:
        error.write_text(traceback.format_exc())
    finally:
        os._exit(status)


def finish(child: tuple[int, Path]) -> str | None:
    """Wait for a child of :func:`start`. Return its error, "killed", or None."""
    process, error = child
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status < 0:
        return "killed" if status == -signal.SIGKILL else f"died of signal {-status}"
    return error.read_text() if status else None
