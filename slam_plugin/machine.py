"""The machine: cores, memory, bf16, installed packages, and a description that names no host and no folder.

Needs nothing but Python, so that a broken installation can be examined.
"""

import importlib
import math
import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "torchaudio", "ve-fairseq", "fairseq-fixed", "sentencepiece", "sacrebleu", "jiwer", "numpy")

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def bf16_supported() -> bool:
    """Return whether the training device, the GPU if there is one, else the processor, has native bf16 products."""
    # Without a driver there is no GPU, and importing torch would take a second.
    if NVIDIA_DRIVER.exists() and import_error("torch") is None:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(processor_flags(Path("/proc/cpuinfo")))


def processor_flags(cpuinfo: Path) -> set[str]:
    """Return the first processor's flags ("flags" on x86, "Features" on ARM), empty if there is no such file."""
    if not cpuinfo.exists():
        return set()
    for line in cpuinfo.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float:
    """Return the memory of the machine, or of its container if that is less, infinite if neither is known."""
    limits = [math.inf]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in map(Path, ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if path.exists() and path.read_text().strip().isdigit():
            limits.append(int(path.read_text()))
    return min(limits) / 2**30


def resident_bytes() -> int:
    """Return the memory that this process takes now, 0 if the system does not say."""
    path = Path("/proc/self/status")
    if not path.exists():
        return 0
    (kib,) = (line.split()[1] for line in path.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(kib) * 1024


def installed_version(*distributions: str) -> str | None:
    """Return the version of the first of these distributions that is installed, None if none is."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def import_error(module: str) -> str | None:
    """Return in one line why ``module`` cannot be imported, None if it can."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return "not installed" if error.name == module else f"{error}"
    except Exception as error:  # a broken package may raise anything: OSError of a library, ValueError of a dataclass
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def machine() -> dict[str, str | int]:
    """Return the processor's name, the cores this process may use, the memory, the system, and whether it has bf16."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": cores(),
        "memory": f"{memory_gib():.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "bf16": "yes" if bf16_supported() else "no",
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that affect results."""
    found = {"python": platform.python_version()}
    return found | {package: version for package in PACKAGES if (version := installed_version(package))}
