"""The scripts for clusters (examples/slam/cluster) on two ranks, under torchrun and under a stand-in for SLURM."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from slam_plugin import launch
from slam_plugin.program import STOPPED
from slam_plugin.saved.reading import read_state
from tests.support import training

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "examples/slam/cluster"
RANKS = {"distributed_backend": "gloo", "ddp_backend": "legacy_ddp", "disable_validation": True}
OVERLAPPING = {"ddp_backend": "pytorch_ddp", "find_unused_parameters": True, "gradient_as_bucket_view": True}

# Tasks as slurmstepd would start them. One that fails ends the others. The file `tasks` has their process numbers.
SRUN = f"""#!{sys.executable}
import os, signal, subprocess, sys, time
from pathlib import Path
assert sys.argv[1] == "--kill-on-bad-exit=1"
ids = [{{"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)}} for task in range(int(os.environ["SLURM_NTASKS"]))]
tasks = [subprocess.Popen(sys.argv[2:], env=os.environ | own, start_new_session=True) for own in ids]
Path("tasks").write_text(" ".join(str(task.pid) for task in tasks))
while None in (codes := [task.poll() for task in tasks]):
    for task in tasks:
        if task.poll() is None and any(codes):
            os.killpg(task.pid, signal.SIGTERM)
    time.sleep(0.02)
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""
SCONTROL = """#!/bin/sh
if [ "$1 $2" = "show hostnames" ]; then echo 127.0.0.1; echo other; else echo "$@" >> scontrol.log; fi
"""


def start(folder: Path, *words: str | Path, **variables: str) -> subprocess.Popen:
    """Start a script in ``folder``, with its output in ``folder/log``, the environment and the stand-ins."""
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MASTER_PORT": str(training.free_port())}
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(
            ["bash", *words], env=environment | variables, cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )


def wait_for(process: subprocess.Popen, is_so: Callable[[], bool], log: Path) -> None:
    while not is_so():
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.01)


def has_logged(log: Path, update: int) -> bool:
    return f'"num_updates": "{update}"' in log.read_text()


def updates(run: training.Run) -> int:
    return run.checkpoint()["optimizer_history"][-1]["num_updates"]


def expect_equal(checkpoint: Path, expected: Path) -> None:
    found, wanted = (torch.load(path, weights_only=True) for path in (checkpoint, expected))
    for part in ("model", "last_optimizer_state"):
        assert training.differing(found[part], wanted[part]) == [], part


def write_recipe(folder: Path, data: Path, **flags: Any) -> None:
    """Write the toy command as a recipe of fairseq-hydra-train."""
    cfg = OmegaConf.to_container(training.configuration(data, **flags), resolve=True, enum_to_str=True)
    parts = ("common", "distributed_training", "dataset", "optimization", "checkpoint", "model", "task", "optimizer")
    recipe = {part: {k: v for k, v in cfg[part].items() if v is not None} for part in (*parts, "lr_scheduler")}
    recipe["criterion"] = {"_name": "slam_pretraining"}
    recipe["model"]["_name"] = "slam_pretraining"
    (folder / "toy.yaml").write_text(yaml.safe_dump(recipe))


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """Stand-ins for SLURM's commands in ``bin``. Return the variables of a job of two tasks."""
    (tmp_path / "bin").mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NTASKS": "2", "SLAM_CLUSTER": str(CLUSTER)}


def test_a_job_under_slurm_saves_at_the_signal_is_queued_again_and_ends_with_the_same_numbers(
    toy, tmp_path, slurm, reference_of_two
):
    log, saved = tmp_path / "log", tmp_path / "saved"
    write_recipe(tmp_path, toy, **RANKS, save_dir=saved)
    job = [CLUSTER / "train.sbatch", "fairseq-hydra-train", "--config-dir", str(tmp_path), "--config-name", "toy"]
    process = start(tmp_path, *job, **slurm)
    wait_for(process, lambda: log.exists() and has_logged(log, 1), log)
    for task in map(int, (tmp_path / "tasks").read_text().split()):
        os.killpg(task, signal.SIGUSR1)
    assert process.wait(600) == STOPPED, log.read_text()[-3000:]
    assert (tmp_path / "scontrol.log").read_text() == "requeue 7\n" and not list(tmp_path.glob("*.stopped"))
    reached = updates(training.Run(0, log.read_text(), saved))
    assert 1 <= reached < training.UPDATES
    expect_equal(saved / "checkpoint_last.pt", reference_of_two.after(reached))

    assert start(tmp_path, *job, **slurm).wait(600) == 0, log.read_text()[-3000:]
    assert (tmp_path / "scontrol.log").read_text() == "requeue 7\n"
    expect_equal(saved / "checkpoint_last.pt", reference_of_two.folder / "checkpoint_last.pt")


def test_ranks_of_torchrun_train_as_those_that_are_started_by_hand_and_stop_at_a_signal(
    toy, tmp_path, reference_of_two
):
    """Under torchrun with torch's DDP, by hand with legacy_ddp.

    The sum over two ranks has one order, but a gradient may lie in memory in another one, in which its norm is summed.
    """
    log, saved = tmp_path / "log", tmp_path / "saved"
    command = training.command(toy, saved, **RANKS | OVERLAPPING, max_update=1000, save_interval_updates=1)
    process = start(tmp_path, CLUSTER / "torchrun.sh", "fairseq-train", *command, NPROC="2")
    wait_for(process, lambda: has_logged(log, 2), log)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(600) == STOPPED, log.read_text()[-3000:]
    assert not list(tmp_path.glob("stopped*"))
    expected = reference_of_two.after(2)
    found, wanted = (read_state(path)["model"] for path in (saved / expected.name, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    run = training.Run(0, log.read_text(), saved)
    assert f"after update {updates(run)}, saved in {saved}" in run.output


def test_what_a_rank_ends_with(tmp_path):
    """Code 75 becomes the file, and every other code stays. srun's variables become torchrun's."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/python"
    program.write_text(
        '#!/bin/sh\necho "$RANK $LOCAL_RANK $WORLD_SIZE $PYTORCH_CUDA_ALLOC_CONF $@" >> log.of.rank\nexit $CODE\n'
    )
    program.chmod(0o755)
    srun = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8", "SLAM_STOPPED": "marker"}
    own = {"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "PYTORCH_CUDA_ALLOC_CONF": "mine", **srun}
    for code, variables in ((0, srun), (1, srun), (75, own)):
        expected = 0 if code == 75 else code
        assert start(tmp_path, CLUSTER / "rank.sh", "a", "b c", CODE=str(code), **variables).wait() == expected
        assert (tmp_path / "marker").exists() == (code == 75)
    lines = (tmp_path / "log.of.rank").read_text().splitlines()
    assert lines == ["5 1 8 expandable_segments:True -m slam_plugin.launch a b c"] * 2 + [
        "2 0 4 mine -m slam_plugin.launch a b c"
    ]


def test_a_signal_before_the_program_handles_it_stops_the_rank(tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/python"
    program.write_text("#!/bin/sh\nkill -$SENT $PPID\nkill -$SENT $$\n")
    program.chmod(0o755)
    variables = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "SLAM_STOPPED": "marker"}
    for sent in ("USR1", "TERM"):
        assert start(tmp_path, CLUSTER / "rank.sh", "a", SENT=sent, **variables).wait() == 0
        (tmp_path / "marker").unlink()
    program.write_text("#!/bin/sh\nkill -TERM $$\n")  # alone, as a killer of processes out of memory sends it
    assert start(tmp_path, CLUSTER / "rank.sh", "a", **variables).wait() == 143
    assert not (tmp_path / "marker").exists()


def test_a_job_without_nodes_ends_and_one_that_cannot_be_queued_again_says_so(tmp_path, slurm):
    """``srun`` stops as after a signal."""
    (tmp_path / "bin/srun").write_text('#!/bin/sh\ntouch "$SLAM_STOPPED"\n')
    (tmp_path / "bin/scontrol").write_text('#!/bin/sh\nif [ "$1" = show ]; then echo "$NODE"; else exit 1; fi\n')
    log = tmp_path / "log"
    assert start(tmp_path, CLUSTER / "train.sbatch", "a", NODE="node-1", **slurm).wait() == STOPPED
    assert "job 7 was not queued again: submit the same command" in log.read_text()
    assert start(tmp_path, CLUSTER / "train.sbatch", "a", NODE="", **slurm).wait() == 1
    assert "found no node in SLURM_JOB_NODELIST (n[1-2])" in log.read_text()


@pytest.mark.parametrize("arguments", [[], ["fairseq-trian", "data"]])
def test_only_programs_of_fairseq_are_launched(arguments):
    found = re.escape(arguments[0]) if arguments else "no program"
    with pytest.raises(SystemExit, match=f"found {found}, expected one of .*fairseq-hydra-train.*fairseq-train"):
        launch.main(arguments)
