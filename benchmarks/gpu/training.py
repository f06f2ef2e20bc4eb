"""A training run by ``fairseq-train``, with workers, as a user starts it."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.gpu.data import CORPORA
from benchmarks.gpu.records import Record
from benchmarks.gpu.scale import Job
from benchmarks.share import FLAGS, PLUGIN

WORKERS = 8


def run(log: Record, job: Job) -> None:
    """Log the wall time of the whole command, and the speed that it logs itself."""
    with tempfile.TemporaryDirectory() as saved:
        start = time.perf_counter()
        done = subprocess.run(
            _command(job, Path(saved)), cwd=PLUGIN.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        took = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"fairseq-train: found exit status {done.returncode}\n{done.stdout[-4000:]}")
    logged = last_log(done.stdout)
    log(f"{job.scale.updates} updates, start included", took, "s")
    for name, unit in (("ups", "updates a second"), ("audio_seconds_per_second", "s/s"), ("data_wait", "%")):
        log(name, float(logged[name]), unit)


def last_log(output: str) -> Mapping[str, str]:
    """Return the last figures inside an epoch that a run with ``--log-format json`` printed."""
    lines = [line for line in output.splitlines() if '"ups"' in line]
    return json.loads(lines[-1][lines[-1].index("{") :])


def _command(job: Job, saved: Path) -> list[str]:
    scale = job.scale
    values = FLAGS | {
        "arch": f"slam_pretraining_{scale.size}",
        "corpora": job.data / CORPORA,
        "autocast": "bf16",
        "dropout": 0.0,
        "steps-per-epoch": scale.updates,
        "max-update": scale.updates,
        "num-workers": WORKERS if scale.on_gpu else 0,
        "log-interval": max(1, scale.updates // 3),
        "save-dir": saved,
    }
    switches = ["--disable-validation", "--no-save"] + ([] if scale.on_gpu else ["--cpu"])
    flags = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "slam_plugin.launch", "fairseq-train", str(job.data), *switches, *flags]
