"""The tests that differ on a GPU: our kernels compiled, and the waits of a step as CUDA counts them."""

import subprocess
import sys

from benchmarks.gpu.records import Record
from benchmarks.gpu.scale import Job
from benchmarks.share import PLUGIN

FILES = ("tests/kernels/gpu", "tests/objectives/test_syncs.py")


def run(log: Record, job: Job) -> None:
    """Run the tests and log their exit status. A trial on a processor only collects them."""
    collect = [] if job.scale.on_gpu else ["--collect-only"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *collect, *FILES]
    done = subprocess.run(command, cwd=PLUGIN.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print("\n".join(done.stdout.splitlines()[-40:]), flush=True)
    log("exit status of pytest", done.returncode, "")
    if done.returncode:
        raise RuntimeError(f"pytest: found exit status {done.returncode}")
