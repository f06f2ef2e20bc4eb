"""A training run by ``fairseq-train``, with workers, as a user starts it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import paper
from benchmarks.gpu.records import Log
from benchmarks.gpu.scale import Scale
from benchmarks.share import FLAGS

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 8


def run(log: Log, scale: Scale) -> None:
    """Log the wall time of the whole command, and the speed that it logs itself."""
    with tempfile.TemporaryDirectory() as scratch:
        corpora = paper.write_data(Path(scratch), scale.updates, scale.pieces, scale.shorter)
        start = time.perf_counter()
        done = subprocess.run(
            _command(Path(scratch), corpora, scale),
            cwd=ROOT,
            env={**os.environ, "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        took = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"fairseq-train: found exit status {done.returncode}\n{done.stdout[-4000:]}")
    lines = [json.loads(line.split(" | ", 3)[-1]) for line in done.stdout.splitlines() if '"train_ups"' in line]
    log(f"fairseq-train, {scale.updates} updates, start included", took, "s")
    logged = lines[-1]
    notes = {key: float(logged[key]) for key in ("train_data_wait", "train_ups") if key in logged}
    log("fairseq-train, audio", float(logged.get("train_audio_seconds_per_second", 0.0)), "s/s", **notes)


def _command(data: Path, corpora: Path, scale: Scale) -> list[str]:
    values = FLAGS | {
        "arch": f"slam_pretraining_{scale.size}",
        "corpora": corpora,
        "autocast": "bf16",
        "dropout": 0.0,
        "steps-per-epoch": scale.updates,
        "max-update": scale.updates,
        "num-workers": WORKERS if scale.device.type == "cuda" else 0,
        "log-interval": 10,
        "save-dir": data / "saved",
    }
    switches = ["--disable-validation", "--no-save"] + ([] if scale.device.type == "cuda" else ["--cpu"])
    flags = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "slam_plugin.launch", "fairseq-train", str(data), *switches, *flags]
