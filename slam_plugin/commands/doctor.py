"""Check this machine and its packages for the plugin: what works, what does not, and how to fix it.

    slam doctor
    slam doctor --size xl --autocast bf16 --memory 80

Needs only Python, so that it can report a missing or broken torch or fairseq. The exit code is 1 if something must be
fixed before training.

With --size it prints instead which budgets of a corpora file fit the memory, in pre-training with AdamW. That needs
torch, and takes a minute at xl: a step runs on tensors without memory, and what it would need is counted.
"""

import argparse
import importlib
import io
import math
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.machine import NVIDIA_DRIVER, bf16_supported, cores, import_error, installed_version, memory_gib
from slam_plugin.program import Program, ProgramError, positive

PYTHONS = ((3, 11), (3, 12))
# distribution: (module, versions in requirements.lock, with which the tests ran)
TESTED = {
    "torch": ("torch", ("2.11.0",)),
    "torchaudio": ("torchaudio", ("2.11.0",)),
    "ve-fairseq": ("fairseq", ("0.12.3",)),
    "numpy": ("numpy", ("2.4.6", "2.5.5")),  # on Python 3.11, on 3.12
    "sentencepiece": ("sentencepiece", ("0.2.3",)),
    "soundfile": ("soundfile", ("0.14.0",)),
    "sacrebleu": ("sacrebleu", ("2.6.0",)),
    "jiwer": ("jiwer", ("4.0.0",)),
    "pyarrow": ("pyarrow", ("26.0.1",)),
}
# Other distributions of the same module that work as well.
ALTERNATIVES = {"ve-fairseq": ("fairseq-fixed",)}
REINSTALL = "`make venv` installs the tested versions"
DEMO_GIB = 6


class Finding(NamedTuple):
    """One line of the report. ``cure`` is empty if there is nothing to fix. ``fatal`` means training cannot work."""

    subject: str
    found: str
    cure: str = ""
    fatal: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--size", help="print which budgets fit a model of this size, such as xl, in place of checks")
    parser.add_argument(
        "--autocast", choices=("none", "bf16"), default="none", help="as in training (default: %(default)s)"
    )
    parser.add_argument("--checkpoint-activations", action="store_true", help="as in training")
    parser.add_argument(
        "--memory", type=positive, metavar="GIB", help="plan for a GPU of this memory (default: this machine's, or RAM)"
    )
    parser.add_argument(
        "--corpora", type=Path, metavar="FILE", help="whose budgets to check (default: the recipe of SLAM-TLM-STM)"
    )
    parser.add_argument("--vocabulary", type=positive, metavar="N", help="symbols of the text side (default: 32000)")


def run(options: argparse.Namespace) -> int:
    """Print the report. Return 0 if nothing fatal was found, else 1."""
    if options.size is not None:
        return _budgets(options)
    findings = [finding for check in CHECKS for finding in check()]
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = "WRONG" if finding.fatal else "note" if finding.cure else "ok"
        print(f"{mark:5}  {finding.subject:{width}}  {finding.found}")
        if finding.cure:
            print(f"{'':5}  {'':{width}}  -> {finding.cure}")
    fatal = sum(finding.fatal for finding in findings)
    print(f"\n{fatal} of {len(findings)} checks failed" if fatal else "\nall checks passed")
    return 1 if fatal else 0


def _budgets(options: argparse.Namespace) -> int:
    """Print which budgets fit. Return 0."""
    for module in ("torch", "fairseq"):
        if (error := import_error(module)) is not None:
            raise ProgramError(f"--size needs {module}: {error}; without --size this program says what to install")
    from slam_plugin.commands.budgets import report

    given = {"corpora": options.corpora, "vocabulary": options.vocabulary}
    given = {name: value for name, value in given.items() if value is not None}
    print(report(options.size, options.autocast, options.checkpoint_activations, options.memory, **given))
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# software


def check_python() -> list[Finding]:
    """Check the version of Python."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] in PYTHONS:
        return [Finding("python", found)]
    wanted = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    return [Finding("python", found, f"fairseq needs CPython {wanted}: `make venv PYTHON=python3.12`", fatal=True)]


def check_packages() -> list[Finding]:
    """Check every package of ``TESTED``: is it installed and importable, and is its version a tested one?"""
    return [_package(name, module, tested) for name, (module, tested) in TESTED.items()]


def _package(name: str, module: str, tested: Sequence[str]) -> Finding:
    version = installed_version(name, *ALTERNATIVES.get(name, ()))
    error = import_error(module)
    if error is not None:
        found = error if version is None else f"{version}, but importing it fails: {error}"
        return Finding(name, found, REINSTALL, fatal=True)
    if version is None:
        return Finding(name, f"module {module} without an installed distribution", REINSTALL)
    if _release(version) not in tested:
        return Finding(name, f"{version}, tested with {' and '.join(tested)}", f"if it causes problems: {REINSTALL}")
    return Finding(name, version)


def check_torch_pair() -> list[Finding]:
    """Check that torch and torchaudio are of one release: torchaudio fails in odd ways with another torch."""
    torch, torchaudio = installed_version("torch"), installed_version("torchaudio")
    if torch is None or torchaudio is None or _release(torch) == _release(torchaudio):
        return []
    cure = f"`pip install torchaudio=={_release(torch)}`, or {REINSTALL}"
    return [Finding("torch and torchaudio", f"{torch} with {torchaudio}: different releases", cure, fatal=True)]


def check_sound_formats() -> list[Finding]:
    """Check that a second of noise can be written and read back in each format that corpora come in."""
    if import_error("soundfile") is not None or import_error("numpy") is not None:
        return []
    import numpy as np
    import soundfile

    noise = np.random.default_rng(1).uniform(-0.5, 0.5, SAMPLE_RATE)
    broken = []
    for name in ("WAV", "FLAC", "OGG", "MP3"):
        file = io.BytesIO()
        try:
            soundfile.write(file, noise, SAMPLE_RATE, format=name)
            file.seek(0)
            soundfile.read(file)
        except (RuntimeError, ValueError) as error:  # LibsndfileError is a RuntimeError
            broken.append(f"{name} ({error})")
    if broken:
        return [Finding("sound formats", f"cannot read {', '.join(broken)}", REINSTALL, fatal=True)]
    return [Finding("sound formats", "WAV FLAC OGG MP3")]


def check_plugin() -> list[Finding]:
    """Check that the plugin's tasks and models register, and list its workarounds for fairseq."""
    if import_error("fairseq") is not None:
        return []
    try:
        compat = importlib.import_module("slam_plugin.compat")
        compat.register()
    except Exception as error:  # a broken installation can raise anything, which is the finding
        return [Finding("plugin", f"does not load: {type(error).__name__}: {error}", REINSTALL, fatal=True)]
    return [
        Finding("plugin", f"loads from {Path(__file__).resolve().parents[1]}"),
        Finding("fairseq workarounds", ", ".join(item.name for item in compat.WORKAROUNDS)),
    ]


def check_fused_paths() -> list[Finding]:
    """List the fused kernels that are in use."""
    if import_error("torch") is not None or import_error("fairseq") is not None:
        return []
    from slam_plugin.kernels.status import fused_paths

    return [Finding(piece, path.found, path.cure) for piece, path in fused_paths().items()]


def _release(version: str) -> str:
    """Return the release of a version without its build: 2.11.0 for 2.11.0+cu130."""
    return version.split("+")[0]


# ---------------------------------------------------------------------------------------------------------------------
# hardware


def check_hardware() -> list[Finding]:
    """List cores, memory, GPU and bf16 support."""
    memory = memory_gib()
    if memory < DEMO_GIB:
        room = Finding("memory", f"{memory:.1f} GiB", f"`make demo` needs {DEMO_GIB} GiB")
    else:
        room = Finding("memory", "unknown" if math.isinf(memory) else f"{memory:.1f} GiB")
    bf16 = "yes: --autocast bf16 saves time" if bf16_supported() else "no: train in fp32 (--autocast none)"
    return [Finding("processor cores", str(cores())), room, _cuda(), Finding("bf16", bf16)]


def _cuda() -> Finding:
    if import_error("torch") is not None:
        return Finding("CUDA", "unknown without torch")
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Finding("CUDA", f"{torch.version.cuda}, {', '.join(names)}")
    if not NVIDIA_DRIVER.exists():
        return Finding("CUDA", "no GPU found, training runs on the CPU")
    if torch.version.cuda is None:
        return Finding("CUDA", "found an NVIDIA driver, but this torch is built without CUDA", REINSTALL)
    return Finding(
        "CUDA", f"found an NVIDIA driver that torch cannot use with CUDA {torch.version.cuda}", "update the driver"
    )


CHECKS: tuple[Callable[[], list[Finding]], ...] = (
    check_python,
    check_packages,
    check_torch_pair,
    check_sound_formats,
    check_plugin,
    check_hardware,
    check_fused_paths,
)

main = Program("slam doctor", __doc__, add_arguments, run)
