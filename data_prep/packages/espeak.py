"""Speech of espeak-ng: sentences to samples, with the library in ``espeakng-loader`` (PyPI).

    python -m data_prep.packages.espeak < REQUESTS > SAMPLES

reads a line of JSON for each sentence, ``[text, voice, rate, pitch]``. For each sentence it writes the number of its
samples (32 bits, little-endian), then the samples (16 bits, little-endian) at :data:`RATE`. :func:`speak` runs that
program in a new process, because the library keeps a state between sentences: the same sentences give the same samples
only in a fresh process (and only with voices without breath, which is random noise). The library is a tool under the
GPL that is called. It is no part of this project.
"""

import ctypes
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from slam_plugin.data.errors import DataError
from slam_plugin.data.extras import require_packages

RATE = 22050

# Constants of speak_lib.h, the library's interface.
_SYNCHRONOUS, _UTF8 = 2, 1
_RATE, _PITCH = 1, 3
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Request(NamedTuple):
    """A sentence and how it is spoken.

    Attributes:
        voice: a language and a variant, such as ``en-us+f3``.
        rate: words per minute.
        pitch: 0 to 99.
    """

    text: str
    voice: str
    rate: int
    pitch: int


def speak(requests: Sequence[Request]) -> list[np.ndarray]:
    """Return the samples (samples,) int16 at :data:`RATE` of each sentence. The same requests give the same samples.

    Raises :class:`DataError` if the library is not installed or fails.
    """
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    command = [sys.executable, "-m", "data_prep.packages.espeak"]
    done = subprocess.run(command, input=lines.encode(), capture_output=True)
    if done.returncode:
        raise DataError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    sounds, place = [], 0
    while place < len(done.stdout):
        count = int.from_bytes(done.stdout[place : place + 4], "little")
        sounds.append(np.frombuffer(done.stdout, "<i2", count, place + 4))
        place += 4 + 2 * count
    if len(sounds) != len(requests):
        raise DataError(f"espeak-ng spoke {len(sounds)} sentences, expected {len(requests)}")
    return sounds


def _samples(requests: Sequence[Request]) -> Iterator[bytes]:
    """Yield the samples of each sentence as bytes. The library runs in this process."""
    library = _load()
    spoken = bytearray()

    @_CALLBACK
    def collect(samples, count, _):
        if samples and count:
            spoken.extend(ctypes.string_at(samples, 2 * count))
        return 0

    library.espeak_SetSynthCallback(collect)
    for text, voice, rate, pitch in requests:
        if library.espeak_SetVoiceByName(voice.encode()):
            raise DataError(f"espeak-ng has no voice {voice!r}")
        library.espeak_SetParameter(_RATE, rate, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        content = text.encode() + b"\0"
        failed = library.espeak_Synth(content, ctypes.c_size_t(len(content)), 0, 0, 0, _UTF8, None, None)
        if failed:
            raise DataError(f"espeak-ng fails with {failed} at {text!r}")
        yield bytes(spoken)
        spoken.clear()


def _load() -> ctypes.CDLL:
    require_packages("speech synthesis", "synthetic")
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate != RATE:
        raise DataError(f"{espeakng_loader.get_library_path()}: speaks at {rate} Hz, expected {RATE}")
    return library


def main() -> int:
    """Synthesize the requests of standard input. Return 1 if that fails, else 0."""
    requests = [Request(*json.loads(line)) for line in sys.stdin.buffer]
    try:
        for samples in _samples(requests):
            sys.stdout.buffer.write((len(samples) // 2).to_bytes(4, "little") + samples)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
