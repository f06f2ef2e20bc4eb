"""What a run ran on, in words that name no host and no folder."""

import platform
from importlib import metadata

from slam_plugin.doctor import cores, memory_gib

PACKAGES = ("torch", "torchaudio", "ve-fairseq", "fairseq-fixed", "sentencepiece", "sacrebleu", "editdistance", "numpy")


def machine() -> dict[str, str | int]:
    """Return the processor's name, the cores this process may use, the memory and the system."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": cores(),
        "memory": f"{memory_gib():.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result, those that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
