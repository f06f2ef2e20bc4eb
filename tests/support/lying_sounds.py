"""Sound files as broken recorders and concatenation leave them, made of sound ones byte by byte."""

import io
import struct

import numpy as np
import soundfile

RATE = 16000


def voice(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Return (samples,) within [-1, 1]: a rising tone with noise, no part of which resembles another."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.3 * np.sin(2 * np.pi * (300 + 100 * seed + 50 * time) * time) + 0.02 * noise).astype(np.float32)


def encode(samples: np.ndarray, kind: str, subtype: str | None = None, rate: int = RATE, **options: object) -> bytes:
    """Return a sound file."""
    buffer = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(buffer, "w", rate, channels, format=kind, subtype=subtype, **options) as file:
        file.write(samples)
    return buffer.getvalue()


def replaced(data: bytes, place: int, content: bytes) -> bytes:
    """Return ``data`` with other bytes at ``place``."""
    return data[:place] + content + data[place + len(content) :]


def after(data: bytes, mark: bytes, distance: int, content: bytes) -> bytes:
    """Return ``data`` with other bytes ``distance`` bytes after the end of ``mark``."""
    return replaced(data, data.index(mark) + len(mark) + distance, content)


def flac(data: bytes, total: int, keep_md5: bool = True) -> bytes:
    """Return FLAC whose header promises ``total`` samples: the last 36 bits of bytes 18 to 25."""
    number = int.from_bytes(data[18:26]) >> 36 << 36 | total
    return replaced(data, 18, number.to_bytes(8) + (data[26:42] if keep_md5 else bytes(16)))


# ---------------------------------------------------------------------------------------------------------------------
# MP3


def frame_length(mp3: bytes) -> int:
    """Return the bytes of the first frame, which holds the encoder's count and no sound (16 kHz: version 2)."""
    kilobits = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)[(mp3[2] >> 4) - 1]
    return 72_000 * kilobits // RATE + (mp3[2] >> 1 & 1)


def without_count(mp3: bytes) -> bytes:
    """Return MP3 without the encoder's count."""
    return mp3[frame_length(mp3) :]


def with_count(mp3: bytes, more: int, has_bytes: bool = True) -> bytes:
    """Return MP3 whose encoder counted ``more`` frames than there are, with or without a count of bytes."""
    mark = max(mp3.find(b"Xing", 0, 500), mp3.find(b"Info", 0, 500))
    frames = int.from_bytes(mp3[mark + 8 : mark + 12]) + more
    if has_bytes:
        return replaced(mp3, mark + 8, frames.to_bytes(4))
    # After the mark 32 bits of flags: 1 for frames, 2 for bytes, 12 for a table and the quality. The delay follows.
    length = frame_length(mp3)
    count = mp3[mark : mark + 4] + (13).to_bytes(4) + frames.to_bytes(4) + mp3[mark + 16 : length]
    return mp3[:mark] + count + bytes(4) + mp3[length:]


# ---------------------------------------------------------------------------------------------------------------------
# OGG


def pages(ogg: bytes) -> list[bytes]:
    """Return the pages of a file."""
    result = []
    while ogg:
        segments = ogg[26]
        size = 27 + segments + sum(ogg[27 : 27 + segments])
        result.append(ogg[:size])
        ogg = ogg[size:]
    return result


def granule(page: bytes) -> int:
    """Return the position of a page's last sample."""
    return struct.unpack_from("<q", page, 6)[0]


def with_granule(page: bytes, position: int, serial: int | None = None) -> bytes:
    """Return a page with another position (and stream), and a true checksum."""
    page = replaced(page, 6, struct.pack("<q", position))
    page = page if serial is None else replaced(page, 14, struct.pack("<I", serial))
    return replaced(page, 22, struct.pack("<I", crc(replaced(page, 22, bytes(4)))))


def crc(data: bytes) -> int:
    """Return the checksum of OGG (RFC 3533, section 6), bit by bit."""
    found = 0
    for byte in data:
        found ^= byte << 24
        for _ in range(8):
            found = (found << 1) ^ (0x04C11DB7 if found & 1 << 31 else 0)
            found &= (1 << 32) - 1
    return found


# ---------------------------------------------------------------------------------------------------------------------
# SPHERE compressed by shorten


def shorten(samples: np.ndarray, block: int = 256) -> bytes:
    """Compress int16 (samples,) losslessly by shorten 2 (Robinson 1994): Rice codes of differences."""
    bits: list[str] = []

    def unsigned(value: int, width: int) -> None:
        bits.append("0" * (value >> width) + "1" + f"{value & (1 << width) - 1:0{width}b}" * (width > 0))

    def header(value: int) -> None:
        unsigned(value.bit_length(), 2)
        unsigned(value, value.bit_length())

    for value in (5, 1, block, 0, 0, 0):  # 16 bits little-endian, one channel, no linear prediction, no means
        header(value)
    last = 0
    for begin in range(0, len(samples), block):
        part = samples[begin : begin + block].astype(int)
        if len(part) < block:
            unsigned(5, 2)  # another block size
            header(len(part))
        differences = np.diff(part, prepend=last)
        last = part[-1]
        width = max(1, int(np.log2(np.abs(differences).mean() + 1)))
        unsigned(1, 2)  # first differences
        unsigned(width, 3)
        for value in differences:
            unsigned(2 * int(value) if value >= 0 else -2 * int(value) - 1, width + 1)
    unsigned(4, 2)  # the end
    text = "".join(bits)
    text += "0" * (-len(text) % 32)
    return b"ajkg\x02" + int(text, 2).to_bytes(len(text) // 8)
