"""What fails in fairseq without the workarounds of slam_plugin.compat.

Each scenario runs with all workarounds, and without its own.

    python tests/support/compat_scenarios.py FOLDER

prints one JSON line per run: {"scenario", "workaround", "applied", "error"}; error is null if all went well. fairseq is
imported once and each run is a fork of that process, so real training and generation take a second instead of ten.
"""

import json
import os
import resource
import shutil
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import fairseq_cli.generate
import fairseq_cli.train
import numpy as np
import sacrebleu
import torch
import torch._dynamo  # the optimizers would import it in every fork
from fairseq import checkpoint_utils, utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.scoring.bleu import BleuConfig, Scorer

from slam_plugin import compat
from slam_plugin.data.errors import DataError
from tests.support import hostile
from tests.support.compat_launching import (
    exchange_on_processors,
    launch_on_processors,
    launch_on_unequal_machines,
    launch_with_a_gpu_each,
    track_a_resumed_run,
    track_two_epochs,
)
from tests.support.compat_running import SENTENCES, expect, finish, prepare_data, run_main, start, train, train_once
from tests.support.compat_training import (
    add_ranks_without_numbers_of_the_host,
    count_each_batch,
    draw_other_noise_on_each_rank,
    log_at_an_interval,
    lose_a_rank,
    resume_on_two_ranks,
    skip_a_bad_update,
    start_a_finished_run_again,
    stop_after_interruptions,
    stop_at_a_signal,
    train_twice_at_once,
)

# ---------------------------------------------------------------------------------------------------------------------
# checkpoint types


def resume(folder: Path) -> None:
    """--arch transformer stores an argparse.Namespace and --eval-bleu numpy arrays."""
    train("--restore-file=once/checkpoint_last.pt", f"--save-dir={folder / 'resumed'}", "--max-epoch=2")
    state = checkpoint_utils.load_checkpoint_to_cpu(str(folder / "resumed/checkpoint_last.pt"))
    expect(state["extra_state"]["train_iterator"]["epoch"] == 3, "the second epoch was not trained")


def generate(folder: Path) -> None:
    """Every sentence of the test set gets a hypothesis. Their number is no multiple of 8."""
    run_main(fairseq_cli.generate, "data", "--path=once/checkpoint_last.pt", "--beam=2", "--cpu", "--max-tokens=64",
             f"--results-path={folder}")  # fmt: skip
    hypotheses = [line for line in (folder / "generate-test.txt").read_text().splitlines() if line.startswith("H-")]
    expect(len(hypotheses) == len(SENTENCES), f"{len(hypotheses)} hypotheses")


def load_numpy_values(folder: Path) -> None:
    """Numbers and arrays, under the names of numpy 2 and under those of numpy 1."""
    values = {"scalar": np.float64(1.5), "array": np.arange(3), "args": Namespace(arch="x"), "extra_state": {}}
    state = values | {"optimizer_history": [{"optimizer_name": "a", "lr_scheduler_state": {}, "num_updates": 1}]}
    new, old = folder / "new.pt", folder / "old.pt"
    torch.save(state, new, _use_new_zipfile_serialization=False)
    old.write_bytes(new.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    expect(old.stat().st_size < new.stat().st_size, "nothing was renamed")
    for path in (new, old):
        with open(path, "rb") as file:
            loaded = torch.load(file)
        expect(loaded["scalar"] == 1.5 and loaded["array"].tolist() == [0, 1, 2], "the values changed")


# ---------------------------------------------------------------------------------------------------------------------
# refusal by name


class Payload:
    """An object that runs a command if it is unpickled without protection."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def refuse_code(folder: Path) -> None:
    """It is refused and not run. The error names the file and the code."""
    path, marker = folder / "code.pt", folder / "ran"
    torch.save({"model": {}, "args": Payload(marker)}, path)
    message = error_of(lambda: checkpoint_utils.load_checkpoint_to_cpu(str(path)))
    expect(not marker.exists(), "the code in the checkpoint was run")
    expect(str(path) in message and "posix.system" in message, f"unclear: {message}")
    expect("weights_only" not in message, f"advises to switch the protection off: {message}")


def name_torn_file(folder: Path) -> None:
    whole = Path("once/checkpoint_last.pt").read_bytes()
    for size in (0, 3, len(whole) // 2, len(whole) - 1):
        path = folder / f"torn{size}.pt"
        path.write_bytes(whole[:size])
        message = error_of(lambda path=path: checkpoint_utils.load_checkpoint_to_cpu(str(path)))
        expect(str(path) in message and "weights_only" not in message, f"unclear at {size} bytes: {message}")


def error_of(function: Callable[[], object]) -> str:
    try:
        function()
    except Exception as error:
        return str(error)
    return "no error"


def name_flipped_bit(folder: Path) -> None:
    """One bit of a weight. The checksum of the file shows it."""
    path = folder / "flipped.pt"
    path.write_bytes(with_flipped_bit(Path("once/checkpoint_last.pt")))
    message = error_of(lambda: checkpoint_utils.load_checkpoint_to_cpu(str(path)))
    expect(str(path) in message and "is damaged" in message, f"it loads: {message}")


def with_flipped_bit(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    return bytes(content)


# ---------------------------------------------------------------------------------------------------------------------
# written list


def build_what_is_named(folder: Path) -> None:
    """A checkpoint of plain values names a model of fairseq that runs strings of its configuration."""
    canary = folder / "ran"
    state = torch.load("once/checkpoint_last.pt")
    state["cfg"]["model"] = hostile.fconv(canary)
    torch.save(state, folder / "evil.pt")
    flags = ["data", f"--path={folder / 'evil.pt'}", "--cpu", "--max-tokens=64"]
    message = error_of(lambda: run_main(fairseq_cli.generate, *flags))
    expect(not canary.exists(), "code in the checkpoint was run")
    expect(f"{folder / 'evil.pt'}: found a checkpoint of the task translation" in message, f"unclear: {message}")


# ---------------------------------------------------------------------------------------------------------------------
# whole saves, sound checkpoints


def save_on_a_full_disk(folder: Path) -> None:
    """The disk takes half of the file, and all of it when fairseq tries again."""
    path, state = folder / "saved.pt", {"model": torch.arange(50_000)}
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    time.sleep = lambda seconds: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    checkpoint_utils.torch_persistent_save(state, str(path))
    try:
        found = torch.load(path)
    except Exception as error:
        raise AssertionError(f"saved, and not to be read: {error}") from None
    expect(torch.equal(found["model"], state["model"]), "other weights")
    expect([file.name for file in folder.glob("saved*")] == ["saved.pt"], "the unfinished file is left")


def resume_beside_a_damaged_one(folder: Path) -> None:
    shutil.copytree("once", folder / "saved")
    last = folder / "saved/checkpoint_last.pt"
    last.write_bytes(with_flipped_bit(last))
    train(f"--save-dir={folder / 'saved'}", "--max-epoch=2")
    state = checkpoint_utils.load_checkpoint_to_cpu(str(last))
    expect(state["extra_state"]["train_iterator"]["epoch"] == 3, "the second epoch was not trained")


def restore_an_absent_file(folder: Path) -> None:
    absent = folder / "absent.pt"
    try:
        train(f"--save-dir={folder / 'saved'}", f"--restore-file={absent}", "--max-epoch=1")
    except DataError as error:
        expect(f"{absent}: found no such file" in str(error), f"unclear: {error}")
    else:
        raise AssertionError("it trains from nothing")


# ---------------------------------------------------------------------------------------------------------------------
# atomic copies


def survive_kill(folder: Path) -> None:
    """After a kill at any point of the second save, the files are whole, old or new, and a third save works."""
    for point in ("half of the copy", "before fsync", "before rename", "after rename"):
        save_dir = folder / point.replace(" ", "_")
        finish(start(save_version, save_dir, 1, None, log=folder / "save.log"))
        error = finish(start(save_version, save_dir, 2, point, log=folder / "save.log"))
        expect(error in (None, "killed"), f"{point}: {error}")
        check_versions(save_dir, {1, 2}, point)
        expect(finish(start(save_version, save_dir, 3, None, log=folder / "save.log")) is None, f"{point}: third save")
        check_versions(save_dir, {3}, point)
        left = sorted(path.name for path in save_dir.iterdir())
        expect(left == ["checkpoint_best.pt", "checkpoint_last.pt"], f"{point}: left behind {left}")


def check_versions(save_dir: Path, allowed: set[int], point: str) -> None:
    for name in ("checkpoint_best.pt", "checkpoint_last.pt"):
        try:
            values = torch.load(save_dir / name)["model"].unique().tolist()
        except Exception as error:
            raise AssertionError(f"killed at {point}: {name} is not whole: {error}") from None
        expect(len(values) == 1 and values[0] in allowed, f"killed at {point}: {name} holds {values}")


def save_version(save_dir: Path, version: int, kill_at: str | None) -> None:
    """Call fairseq's save_checkpoint with a state full of ``version``. The process kills itself in the copy."""

    class Trainer(SimpleNamespace):
        def consolidate_optimizer(self) -> None:
            pass

        def get_num_updates(self) -> int:
            return version

        def save_checkpoint(self, filename: str, extra_state: dict) -> str:
            state = {"model": torch.full((50_000,), version), "extra_state": extra_state}
            checkpoint_utils.torch_persistent_save(state, filename)
            if kill_at is not None:  # the first file is written; the rest are copies
                kill_self(kill_at)
            return filename

    trainer = Trainer(
        data_parallel_rank=0, should_save_checkpoint_on_current_rank=True, checkpoint_suffix="", task=None
    )
    epochs = SimpleNamespace(epoch=1, end_of_epoch=lambda: True, state_dict=dict)
    cfg = CheckpointConfig(save_dir=str(save_dir), no_epoch_checkpoints=True)
    checkpoint_utils.save_checkpoint(cfg, trainer, epochs, 1.0 / version)


def kill_self(point: str) -> None:
    sendfile, replace = os.sendfile, os.replace

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if point == "half of the copy":

        def half(target, source, offset, count):
            sendfile(target, source, offset, os.fstat(source).st_size // 2)
            die()

        os.sendfile = half
    elif point == "before fsync":
        os.fsync = lambda handle: die()
    elif point == "before rename":
        os.replace = lambda source, target: die()
    else:

        def renamed(source, target):
            replace(source, target)
            die()

        os.replace = renamed


# ---------------------------------------------------------------------------------------------------------------------
# n-gram blocking, empty sentences, own folder


def repeat_nothing(folder: Path) -> None:
    """Hypotheses of five words, none of which is there twice."""
    run_main(fairseq_cli.generate, "data", "--path=once/checkpoint_last.pt", "--beam=2", "--cpu", "--max-tokens=64",
             "--min-len=5", "--max-len-b=5", "--no-repeat-ngram-size=1", f"--results-path={folder}")  # fmt: skip
    lines = [line for line in (folder / "generate-test.txt").read_text().splitlines() if line.startswith("H-")]
    for words in (line.split("\t")[2].split() for line in lines):
        expect(len(words) == len(set(words)) == 5, f"it says {' '.join(words)}")


def score_empty_sentences(folder: Path) -> None:
    """BLEU of sentences of which some are empty is sacrebleu's; of no words at all it is 0."""
    del folder
    config = BleuConfig(pad=1, eos=2, unk=3)
    pairs = [("4 5 6 7 8 9", "4 5 6 7 5"), ("4 5", ""), ("", "6 7 8"), ("6 7 8 9 4", "6 7 8 9 4"), ("", "")]
    for end in ([], [2], [2, 1, 1]):
        scorer = Scorer(config)
        for reference, hypothesis in pairs:
            ids = [torch.IntTensor([*map(int, text.split()), *end]) for text in (reference, hypothesis)]
            scorer.add(*ids)
        references, hypotheses = zip(*pairs, strict=True)
        expected = sacrebleu.corpus_bleu(hypotheses, [references], tokenize="none", smooth_method="none", force=True)
        expect(abs(scorer.score() - expected.score) < 1e-4, f"found {scorer.score()}, expected {expected.score}")
    for reference, result in (([4, 5, 2], "BLEU4 = 0.00"), ([2], "no reference has a word")):
        scorer = Scorer(config)
        scorer.add(torch.IntTensor(reference), torch.IntTensor([]))
        expect(result in scorer.result_string(), scorer.result_string())


def load_by_other_path(folder: Path) -> None:
    (folder / "slam_plugin").symlink_to(compat.PLUGIN)
    os.chdir(folder)
    utils.import_user_module(Namespace(user_dir="slam_plugin"))
    expect_registered()


def load_by_same_path(folder: Path) -> None:
    del folder
    utils.import_user_module(Namespace(user_dir=str(compat.PLUGIN)))
    utils.import_user_module(Namespace(user_dir=str(compat.PLUGIN)))
    expect_registered()


def expect_registered() -> None:
    files = [path for room in ("tasks", "models") for path in (compat.PLUGIN / room).glob("[!_]*.py")]
    missing = [path.stem for path in files if f"slam_plugin.{path.parent.name}.{path.stem}" not in sys.modules]
    expect(bool(files) and not missing, f"not imported: {missing}")


# ---------------------------------------------------------------------------------------------------------------------
# running


SCENARIOS = [
    (resume, "checkpoint types"),
    (resume_on_two_ranks, "checkpoint types"),
    (generate, "checkpoint types"),
    (load_numpy_values, "checkpoint types"),
    (refuse_code, "refusal by name"),
    (name_torn_file, "refusal by name"),
    (name_flipped_bit, "refusal by name"),
    (build_what_is_named, "written list"),
    (survive_kill, "atomic copies"),
    (save_on_a_full_disk, "whole saves"),
    (resume_beside_a_damaged_one, "sound checkpoints"),
    (stop_after_interruptions, "early stopping"),
    (start_a_finished_run_again, "finished runs"),
    (skip_a_bad_update, "bad updates"),
    (log_at_an_interval, "late logs"),
    (count_each_batch, "dummy batches"),
    (draw_other_noise_on_each_rank, "noise of ranks"),
    (add_ranks_without_numbers_of_the_host, "sums on the device"),
    (train_twice_at_once, "one run in a folder"),
    (restore_an_absent_file, "sound checkpoints"),
    (stop_at_a_signal, "orderly stop"),
    (lose_a_rank, "meeting of ranks"),
    (launch_on_processors, "launched ranks"),
    (exchange_on_processors, "exchange on processors"),
    (launch_with_a_gpu_each, "launched ranks"),
    (launch_on_unequal_machines, "launched ranks"),
    (track_two_epochs, "one tracked run"),
    (track_a_resumed_run, "one tracked run"),
    (generate, "last batch"),
    (repeat_nothing, "n-gram blocking"),
    (score_empty_sentences, "empty sentences"),
    (load_by_other_path, "own folder"),
    (load_by_same_path, "own folder"),
]


def run_scenario(scenario: Callable[[Path], None], folder: Path, without: str | None) -> None:
    os.chdir(folder.parent)
    # The other scenarios train and decode with a task and a model of fairseq, which are not on the written list.
    left_out = {without} if scenario is build_what_is_named else {without, "written list"}
    compat.WORKAROUNDS = tuple(workaround for workaround in compat.WORKAROUNDS if workaround.name not in left_out)
    compat.apply()
    compat.apply()
    scenario(folder)


def main() -> None:
    root = Path(sys.argv[1]).resolve()
    for step in (prepare_data, train_once):
        error = finish(start(step, root, log=root / "prepare.log"))
        if error is not None:
            sys.exit(error)
    for scenario, workaround in SCENARIOS:
        for without in (None, workaround):
            folder = root / f"{scenario.__name__}_{workaround.replace(' ', '_')}_{without is None}"
            folder.mkdir()
            error = finish(start(run_scenario, scenario, folder, without, log=folder / "log"))
            outcome = {
                "scenario": scenario.__name__,
                "workaround": workaround,
                "applied": without is None,
                "error": error,
            }
            print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
