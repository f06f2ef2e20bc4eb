"""Cases of one reader in a child process, with limits on time, memory and files."""

import contextlib
import faulthandler
import json
import logging
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import pyarrow
import torch

from tests.fuzz.cases import changed_files, tree_of, write_files
from tests.fuzz.reader import MEBIBYTE, Reader
from tests.fuzz.watch import Watch, make_canary

RESULT, ERROR, FINDING = "result", "error", "finding"
_ADDRESSES = 1536 * MEBIBYTE  # more than the child has when it begins
_FILE_BYTES = 64 * MEBIBYTE
_WALL = 6  # seconds for each second of CPU time that a case may take: other processes may want the cores
_SETUP_SECONDS = 120
_GRACE = 15.0  # seconds until a case that its alarm does not end is killed


class Outcome(NamedTuple):
    """What a case came to. ``text`` is the error's, or says what was found; ``seconds`` are of CPU time."""

    number: int
    kind: str
    text: str
    seconds: float = 0.0


class _OutOfTime(BaseException):
    """Raised by the alarm. Not an Exception, which readers might catch."""


def outcomes(reader: Reader, numbers: Iterable[int], work: Path, kept: Path) -> Iterator[Outcome]:
    """Yield the outcome of each case. A case that ends its process is a finding, and a new process does the others.

    Args:
        work: folder for valid inputs, shared by batches.
        kept: folder that the files of findings are copied to, as ``READER-NUMBER``.
    """
    waiting = list(numbers)
    while waiting:
        done = 0
        for outcome in _batch(reader, waiting, work, kept):
            yield outcome
            done += 1
        waiting = waiting[done:]


def _batch(reader: Reader, numbers: list[int], work: Path, kept: Path) -> Iterator[Outcome]:
    """Yield outcomes until all are there, or the process has died. The one that it died in is the last."""
    with tempfile.TemporaryDirectory(dir=work, prefix="batch-") as name:
        folder = Path(name)
        receiving, sending = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(receiving)
            _child(reader, numbers, folder, work, kept, sending)
        os.close(sending)
        place, limit = 0, _SETUP_SECONDS
        line: bytes | None = b""
        lines = _Lines(receiving)
        while place < len(numbers) and (line := lines.next(limit)):
            limit = reader.seconds * _WALL + _GRACE
            yield Outcome(*json.loads(line))
            place += 1
        if line is None:
            os.kill(process, signal.SIGKILL)
        os.close(receiving)
        _, status = os.waitpid(process, 0)
        if place < len(numbers) and (status or line is None):
            how = "did not end" if line is None else _ended(status)
            log = (folder / "log").read_text(errors="replace")[-1500:]
            _keep(reader, numbers[place], folder / f"case{numbers[place]}/in", kept)
            yield Outcome(numbers[place], FINDING, f"the process {how}\n{log}".strip())


class _Lines:
    """The lines that come from a pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._read = pipe, b""

    def next(self, limit: float) -> bytes | None:
        """Return the next line, an empty one at the end, None if none comes within ``limit`` seconds."""
        end = time.monotonic() + limit
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._pipe], [], [], max(end - time.monotonic(), 0))
            if not ready:
                return None
            more = os.read(self._pipe, 1 << 16)
            if not more:
                return b""
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line


def _ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"died by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _keep(reader: Reader, number: int, files: Path, kept: Path) -> None:
    target = kept / f"{reader.name}-{number}"
    shutil.rmtree(target, ignore_errors=True)
    if files.is_dir():
        shutil.copytree(files, target, symlinks=True)


# ---------------------------------------------------------------------------------------------------------------------
# in the child


def _child(reader: Reader, numbers: list[int], folder: Path, work: Path, kept: Path, sending: int) -> NoReturn:
    """Run the cases and write each outcome as a line of JSON. Never returns into the caller's code."""
    try:
        log = os.open(folder / "log", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.stdin = open(os.devnull, encoding="utf-8")
        tree = valid_tree(reader, work)
        make_canary(folder / "canary")
        logging.disable()
        faulthandler.enable(log)  # and not where the parent has it
        torch.set_num_threads(1)
        pyarrow.set_cpu_count(1)
        watch = Watch(folder / "canary")
        _limit(reader, len(numbers))
        for number in numbers:
            os.ftruncate(log, 0)
            begin = time.process_time()
            outcome = run_case(reader, tree, number, folder / f"case{number}", watch)
            outcome = outcome._replace(seconds=time.process_time() - begin)
            if outcome.kind == FINDING:
                _keep(reader, number, folder / f"case{number}/in", kept)
            os.chdir(folder)
            shutil.rmtree(folder / f"case{number}")
            os.write(sending, json.dumps(outcome).encode() + b"\n")
            if outcome.kind == FINDING and "memory" in outcome.text:
                break  # what is left of it would count against the next case
    except BaseException:
        traceback.print_exc()
        os._exit(3)
    os._exit(0)


def valid_tree(reader: Reader, work: Path) -> dict[str, bytes]:
    """Return the valid input of a reader, which is written once."""
    folder = work / "valid" / reader.name
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=work, prefix="valid-"))
        reader.write(partial)
        # Another process may have been faster.
        with contextlib.suppress(OSError):
            os.rename(partial, folder)
    return tree_of(folder)


def _limit(reader: Reader, cases: int) -> None:
    """Set the limits of the process."""
    for kind, value in (
        (resource.RLIMIT_AS, _status("VmSize") + _ADDRESSES),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_CPU, int(cases * reader.seconds) + 60),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for kind in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(kind, _alarm)


def _alarm(*_: object) -> NoReturn:
    raise _OutOfTime


def run_case(reader: Reader, tree: dict[str, bytes], number: int, case: Path, watch: Watch) -> Outcome:
    """Run one case in the new folder ``case``: that of work, of temporary files and of the user.

    The limits of the process are the caller's. Each case has a folder of its own name, because some readers cache by
    path what they have read.
    """
    changed = changed_files(reader, tree, number)
    os.environ.update(dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(case / "home")))
    tempfile.tempdir = str(case / "home")
    for name in ("in", "home", "work"):
        (case / name).mkdir(parents=True)
    write_files(case / "in", {**tree, **changed})
    os.chdir(case / "work")
    _forget_peak()
    before = _status("VmRSS")
    watch.begin(case)
    kind, text = _called(reader, case / "in", changed)
    outside = watch.end()
    used = _status("VmHWM") - before
    if outside:
        return Outcome(number, FINDING, f"outside of its folder: {outside[0]}")
    if used > reader.memory and kind != FINDING:
        return Outcome(number, FINDING, f"memory: {used // MEBIBYTE} MiB")
    return Outcome(number, kind, text)


def _called(reader: Reader, folder: Path, changed: dict[str, bytes]) -> tuple[str, str]:
    """Read the folder. Return the kind of the outcome and its text."""
    signal.setitimer(signal.ITIMER_PROF, reader.seconds)
    signal.setitimer(signal.ITIMER_REAL, reader.seconds * _WALL)
    try:
        try:
            reader.read(folder)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _OutOfTime:
        return FINDING, f"time: more than {reader.seconds} s\n{_trace()}"
    except MemoryError:
        return FINDING, f"memory: MemoryError\n{_trace()}"
    except reader.errors as error:
        text = str(error)
        names = {Path(name).name for name in changed} | set(reader.named)
        if not changed:
            return FINDING, f"valid input is refused: {text}\n{_trace()}"
        if not any(name in text for name in names):
            return FINDING, f"an error without a name: {type(error).__name__}: {text[:1000]}\n{_trace()}"
        return ERROR, text[:300]
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        return FINDING, f"{type(error).__name__}: {str(error)[:500]}\n{_trace()}"
    return RESULT, ""


def _trace() -> str:
    """Return the last frames of the exception that is handled."""
    return "".join(traceback.format_exc(limit=-6).splitlines(keepends=True)[-24:])[-3000:]


def _forget_peak() -> None:
    """Let the peak of memory (VmHWM) begin anew (proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    """Return a size in bytes from /proc/self/status."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        line = next(line for line in file if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
