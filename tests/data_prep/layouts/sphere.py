"""NIST SPHERE as the LDC writes it. The header is written here: soundfile writes fewer fields and other types."""

from pathlib import Path

import numpy as np
import soundfile

from tests.data_prep.layouts.sounds import speech


def write_sphere(path: Path, seconds: float, rate: int = 16000, channels: int = 1, seed: int = 0) -> Path:
    """Write ``seconds`` of speech, with its folders: 16 bits at 16 kHz or mu-law at 8 kHz, as in the corpora."""
    sides = np.stack([speech(seconds, rate, 100 * seed + side) for side in range(channels)], axis=1)
    ulaw = rate == 8000
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sides, rate, format="RAW", subtype="ULAW" if ulaw else "PCM_16", endian="LITTLE")
    coding = "ulaw" if ulaw else "pcm"
    header = sphere_header(len(sides), rate, channels, 1 if ulaw else 2, coding)
    path.write_bytes(header + path.read_bytes())
    return path


def write_shortened(path: Path, rate: int = 16000, channels: int = 1) -> Path:
    """Write SPHERE compressed by shorten, of which only the header is genuine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = sphere_header(16000, rate, channels, 2, "pcm,embedded-shorten-v2.00")
    path.write_bytes(header + b"ajkg" + bytes(range(256)) * 8)
    return path


def sphere_header(samples: int, rate: int, channels: int, width: int, coding: str) -> bytes:
    """Return a header of 1024 bytes for ``samples`` of each channel, ``width`` bytes each."""
    lines = [
        *("NIST_1A", "   1024", f"sample_count -i {samples}", f"sample_n_bytes -i {width}"),
        *(f"channel_count -i {channels}", f"sample_byte_format -s{width} {'01'[:width]}", f"sample_rate -i {rate}"),
        *(f"sample_coding -s{len(coding)} {coding}", f"sample_sig_bits -i {8 * width}", "end_head", ""),
    ]
    return "\n".join(lines).encode().ljust(1024, b" ")
