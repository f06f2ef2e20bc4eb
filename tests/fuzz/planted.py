"""Readers with planted faults: what the harness must find."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import soundfile

from slam_plugin.data.errors import DataError
from tests.fuzz.reader import MEBIBYTE, Reader


def _write(folder: Path) -> None:
    (folder / "a.txt").write_text("one 1\ntwo 2\n")


def _is_valid(folder: Path) -> bool:
    return (folder / "a.txt").read_text(errors="replace") == "one 1\ntwo 2\n"


def _raises(folder: Path) -> None:
    int("one")


def _loses_the_name(folder: Path) -> None:
    raise DataError("line 3 is empty")


def _names_it(folder: Path) -> None:
    raise DataError(f"{folder / 'a.txt'}:3: is empty")


def _dies(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _loops(folder: Path) -> None:
    while True:
        pass


def _sleeps(folder: Path) -> None:
    # As a library would that does not return to Python.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGPROF})
    time.sleep(1000)


def _allocates(folder: Path) -> None:
    np.ones(64 * MEBIBYTE, np.uint8)


def _allocates_more_than_there_is(folder: Path) -> None:
    np.ones(64 << 30, np.uint8)


def _writes_outside(folder: Path) -> None:
    Path("../../canary/stray").write_text("x")


def _changes_what_is_there(folder: Path) -> None:
    os.utime("../../canary/kept", (1, 1))


def _writes_by_a_library(folder: Path) -> None:
    # Python's audit does not see it.
    soundfile.write("../../canary/stray.wav", np.zeros(100), 16000)


def _removes(folder: Path) -> None:
    os.unlink("../../canary/kept")


def _runs_a_program(folder: Path) -> None:
    os.system("true")


def _fills_the_disk(folder: Path) -> None:
    with open("large", "wb") as file:
        for _ in range(100):
            file.write(bytes(MEBIBYTE))


def _swallows_everything(folder: Path) -> None:
    while True:
        try:
            while True:
                pass
        except Exception:
            pass


# By the finding that it must give, None for none.
FAULTS = {
    "ValueError": _raises,
    "an error without a name": _loses_the_name,
    "died by SIGSEGV": _dies,
    "time: more than": _loops,
    "time: more than 0.5": _swallows_everything,
    "did not end": _sleeps,
    "memory: ": _allocates,
    "memory: MemoryError": _allocates_more_than_there_is,
    "opened for writing '../../canary/stray'": _writes_outside,
    "os.utime '../../canary/kept'": _changes_what_is_there,
    "changed ": _writes_by_a_library,
    "os.remove '../../canary/kept'": _removes,
    "os.system": _runs_a_program,
    "File too large": _fills_the_disk,
}


def _planted(read):
    return lambda folder: None if _is_valid(folder) else read(folder)


READERS = {
    text: Reader(f"planted.{place}", _write, _planted(read), seconds=0.5, memory=32 * MEBIBYTE)
    for place, (text, read) in enumerate(FAULTS.items())
}
SOUND = Reader("planted.sound", _write, _planted(_names_it))
REFUSING = Reader("planted.refusing", _write, _names_it)
