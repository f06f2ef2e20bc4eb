"""Runner of named steps: in order, skipping finished ones, resuming after a kill.

A plan is a list of steps; a list inside it holds steps that run side by side. ``run_steps(plan, logs)`` writes the
output of a step to ``logs/NAME.log`` and all states to ``logs/steps.json``. A finished step is skipped, unless its
command, or that of a step before it, has changed. A killed step runs its command again, which resumes by itself.

Linux only: a step dies with the runner (PR_SET_PDEATHSIG), even if that is killed with SIGKILL. It locks the folder.
"""

import ctypes
import functools
import hashlib
import inspect
import json
import os
import re
import resource
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from examples.slam.locking import locked
from slam_plugin.data.files import atomic_write
from slam_plugin.program import STOPPED

POLL_SECONDS = 0.2
SAVE_SECONDS = 2.0  # a run killed with SIGKILL loses at most this much of its wall time
PLAIN_LINE_SECONDS = 30.0  # between progress lines if stdout is no terminal
STOP_SECONDS = 120.0  # for a training to end its update and to save
TAIL_LINES = 20
PR_SET_PDEATHSIG = 1
STOPPED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Step:
    """One step of a plan.

    ``run`` is a command, or a callable without arguments (use ``functools.partial``), which runs in a forked process:
    neither the runner nor its imports may have started threads. ``outputs`` exist once the step is done. A killed
    attempt resumes from the paths ``resumes_from``, which are deleted if the command changed. ``depends_on`` holds
    hashes, by name, of what else it depends on: files that it reads, steps of another plan.
    """

    name: str
    run: Sequence[str] | Callable[[], object]
    outputs: Sequence[Path] = ()
    resumes_from: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    depends_on: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self, before: str) -> str:
        """Return a hash of the step and of ``before``, the fingerprint of the steps that it builds on."""
        run = _describe(self.run) if callable(self.run) else list(self.run)
        settings = sorted({**self.environment, **self.depends_on}.items())
        parts = [self.name, run, list(map(str, self.outputs)), settings, before]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@dataclass
class _Running:
    """A running step: its process, and where in the log this attempt began."""

    step: Step
    pid: int
    log: Path
    log_start: int
    spent_before: float
    cpu_before: float
    started: float = field(default_factory=lambda: time.monotonic())
    first: tuple[float, int] | None = None

    def seconds(self) -> float:
        """Return the wall time of all attempts so far."""
        return self.spent_before + time.monotonic() - self.started

    def cpu_seconds(self, usage: resource.struct_rusage | None = None) -> float:
        """Return the CPU seconds of all attempts so far. ``usage`` is the usage of this attempt, if it has ended."""
        spent = _cpu_seconds_of(self.pid) if usage is None else usage.ru_utime + usage.ru_stime
        return self.cpu_before + spent

    def progress(self) -> str:
        """Return the name, the share that is done and the time left. Without progress in the log, the time spent."""
        spent = time.monotonic() - self.started
        done, total = _last_progress(self.log, self.log_start, self.step.run)
        if done is None or not total:
            return f"{self.step.name} {_clock(self.seconds())}"
        # The rate is measured from the first count on: start-up and earlier attempts would distort it.
        self.first = self.first if self.first and self.first[1] <= done else (spent, done)
        at, count = self.first
        left = f"{_clock((spent - at) / (done - count) * (total - done))} left" if done > count else _clock(spent)
        return f"{self.step.name} {100 * done // total} % {left}"


def run_steps(plan: Sequence[Step | Sequence[Step]], logs: str | Path) -> dict[str, float]:
    """Run the unfinished steps of ``plan``. Return the wall seconds of each step, summed over its attempts.

    Raises SystemExit if a step fails, with the end of its log in the message, or if another run holds ``logs``.
    """
    logs = Path(logs)
    logs.mkdir(parents=True, exist_ok=True)
    groups = [(entry,) if isinstance(entry, Step) else tuple(entry) for entry in plan]
    names = [step.name for group in groups for step in group]
    if len(set(names)) != len(names):
        raise ValueError(f"found steps of the same name in {names}, expected different names")
    with locked(logs / ".lock") as lock, _stopped_cleanly():
        known = _load(logs)
        before, place = "", 0
        for group in groups:
            fingerprints = [step.fingerprint(before) for step in group]
            before = "".join(fingerprints)
            waiting = []
            for step, fingerprint in zip(group, fingerprints, strict=True):
                place += 1
                finished = _is_finished(step, fingerprint, known)
                note = f": done before, in {_clock(known[step.name]['seconds'])}" if finished else ""
                print(f"[{place}/{len(names)}] {step.name}{note}", flush=True)
                if not finished:
                    _prepare(step, fingerprint, logs, known)
                    waiting.append(step)
            if waiting:
                _run_group(waiting, logs, known, lock)
    return {name: known[name]["seconds"] for name in names}


def seconds_of(logs: str | Path) -> dict[str, float]:
    """Return the wall seconds of every step recorded in ``logs``, including unfinished ones."""
    return {name: entry["seconds"] for name, entry in _load(Path(logs)).items()}


def cpu_seconds_of(logs: str | Path) -> dict[str, float]:
    """Return the CPU seconds of every step recorded in ``logs``: of its process and of those it waited for."""
    return {name: entry["cpu_seconds"] for name, entry in _load(Path(logs)).items()}


def _run_group(steps: Sequence[Step], logs: Path, known: dict[str, dict], lock: int) -> None:
    """Run ``steps`` side by side until all have ended. The first failure stops the others."""
    _save(logs, known)
    running: list[_Running] = []
    line = _ProgressLine()
    saved = time.monotonic()
    try:
        for step in steps:
            running.append(_start(step, logs, known[step.name], lock))
        while running:
            time.sleep(POLL_SECONDS)
            for work in list(running):
                pid, status, usage = os.wait4(work.pid, os.WNOHANG)
                if pid == 0:
                    continue
                running.remove(work)
                _note(work, known, usage)
                line.clear()
                _check_end(work, os.waitstatus_to_exitcode(status))
                known[work.step.name]["done"] = True
                _save(logs, known)
                print(f"      {work.step.name}: done in {_clock(work.seconds())}", flush=True)
            if running and time.monotonic() - saved > SAVE_SECONDS:
                for work in running:
                    _note(work, known)
                _save(logs, known)
                saved = time.monotonic()
            line.show(running)
    finally:
        line.clear()
        for work in running:
            _note(work, known)
        _stop(running)
        _save(logs, known)


def _note(work: _Running, known: Mapping[str, dict], usage: resource.struct_rusage | None = None) -> None:
    """Update the recorded times of ``work``. ``usage`` is the usage of its process, if it has ended."""
    known[work.step.name]["seconds"] = round(work.seconds(), 2)
    known[work.step.name]["cpu_seconds"] = round(work.cpu_seconds(usage), 2)


def _cpu_seconds_of(pid: int) -> float:
    """Return the CPU time of a process that has not been waited for, and of the children that it waited for."""
    # The name in parentheses may hold spaces. Fields 14 to 17 are user and system time, own and of children (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _start(step: Step, logs: Path, entry: Mapping[str, float], lock: int) -> _Running:
    """Fork a process in its own session for ``step``. It holds ``lock`` while any process of the session lives."""
    log = logs / f"{step.name}.log"
    with open(log, "ab") as stream:
        shown = _describe(step.run) if callable(step.run) else shlex.join(map(str, step.run))
        stream.write(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {shown}\n".encode())
        stream.flush()
        sys.stdout.flush()
        sys.stderr.flush()
        parent, start = os.getpid(), os.fstat(stream.fileno()).st_size
        pid = os.fork()
        if pid == 0:
            _child(step, stream.fileno(), lock, parent)
    return _Running(step, pid, log, start, entry["seconds"], entry["cpu_seconds"])


def _child(step: Step, log: int, lock: int, parent: int) -> None:
    """Become ``step`` and never return."""
    status = 1
    try:
        os.setsid()
        if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)
        for sign in STOPPED_BY:
            signal.signal(sign, signal.SIG_DFL)
        os.set_inheritable(lock, True)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.stdout, sys.stderr = (open(n, "w", 1, encoding="utf-8") for n in (1, 2))
        os.environ.update({"PYTHONUNBUFFERED": "1", **step.environment})
        if callable(step.run):
            step.run()
            status = 0
        else:
            try:
                os.execvp(step.run[0], [str(word) for word in step.run])
            except OSError as error:
                raise SystemExit(f"cannot start {step.run[0]}: {error.strerror}") from error
    except BaseException as error:  # any error must reach the log, and must not unwind into the runner's code
        if not isinstance(error, SystemExit):
            sys.excepthook(type(error), error, error.__traceback__)
        elif error.code is None or isinstance(error.code, int):
            status = error.code or 0
        else:
            print(error.code, file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _check_end(work: _Running, exit_code: int) -> None:
    missing = [str(path) for path in work.step.outputs if not Path(path).exists()]
    if exit_code == 0 and not missing:
        return
    if exit_code == 0:
        why = f"it ended without writing {', '.join(missing)}"
    elif exit_code == STOPPED:
        why = "a signal stopped it, and it has saved; run the same command again"
    else:
        why = f"exit status {exit_code}" if exit_code > 0 else f"killed by {signal.Signals(-exit_code).name}"
    tail = _tail(work.log, work.log_start, 64 * 1024).splitlines()[-TAIL_LINES:]
    raise SystemExit("\n".join([f"{work.step.name} failed: {why}. The end of {work.log}:", *(f"  {t}" for t in tail)]))


def _stop(running: Sequence[_Running]) -> None:
    """End the sessions of ``running`` with SIGTERM, and with SIGKILL if they still live after two minutes.

    Data preparation ends at once. A training saves first.
    """
    if running:
        print(f"      ending {', '.join(work.step.name for work in running)}: a training saves first", flush=True)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_SECONDS
        for work in running:
            try:
                os.killpg(work.pid, sign)
            except ProcessLookupError:
                continue  # the whole session has ended
        running = [work for work in running if not _ended(work.pid, deadline)]


def _ended(pid: int, deadline: float) -> bool:
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _is_finished(step: Step, fingerprint: str, known: Mapping[str, dict]) -> bool:
    entry = known.get(step.name, {"fingerprint": None})
    return entry["fingerprint"] == fingerprint and entry["done"] and all(Path(path).exists() for path in step.outputs)


def _prepare(step: Step, fingerprint: str, logs: Path, known: dict[str, dict]) -> None:
    """Record that ``step`` is not done. Delete its log and checkpoints if they come from another command."""
    entry = known.setdefault(step.name, {"fingerprint": None})
    entry["done"] = False
    if entry["fingerprint"] == fingerprint:
        return
    for path in (logs / f"{step.name}.log", *map(Path, step.resumes_from)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    entry.update(fingerprint=fingerprint, seconds=0.0, cpu_seconds=0.0)


def _describe(function: Callable) -> str:
    """Return a callable's name, arguments and a hash of its source, which differ if it changed."""
    if isinstance(function, functools.partial):
        words = [repr(a) for a in function.args] + [f"{k}={v!r}" for k, v in sorted(function.keywords.items())]
        return f"{_describe(function.func)}({', '.join(words)})"
    source = hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:8]
    return f"{function.__module__}.{function.__qualname__} (source {source})"


def _last_progress(log: Path, start: int, run: Sequence[str] | Callable) -> tuple[int | None, int | None]:
    """Return the last count in the log and its total: fairseq's updates of ``--max-update``, or ``12/340`` of a bar."""
    text = _tail(log, start, 16 * 1024)
    words = [] if callable(run) else [str(word) for word in run]
    if "--max-update" in words:
        updates = re.findall(r'num_updates": "?(\d+)', text)
        total = int(words[words.index("--max-update") + 1])
        return (min(int(updates[-1]), total), total) if updates else (None, total)
    counts = [(int(n), int(m)) for n, m in re.findall(r"(?<![\d/.])(\d+) ?/ ?(\d+)(?=[ \[])", text)]
    counts = [(n, m) for n, m in counts if n <= m and m > 1]
    return counts[-1] if counts else (None, None)


def _tail(path: Path, start: int, size: int) -> str:
    with open(path, "rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(start, end - size))
        return stream.read().decode(errors="replace")


class _ProgressLine:
    """A line that is rewritten on a terminal, and otherwise printed every 30 s."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self.shown = time.monotonic()

    def show(self, running: Sequence[_Running]) -> None:
        """Show the progress of every running step."""
        if not running or time.monotonic() - self.shown < (1.0 if self.terminal else PLAIN_LINE_SECONDS):
            return
        self.shown = time.monotonic()
        text = "      " + "  |  ".join(work.progress() for work in running)
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{text[:width]}", end="", flush=True)
        else:
            print(text, flush=True)

    def clear(self) -> None:
        """Make room for another line."""
        if self.terminal:
            print("\r\033[K", end="", flush=True)


@contextmanager
def _stopped_cleanly() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal unwind the stack, so that the steps end with the runner."""

    def stop(number: int, frame: object) -> None:
        print(f"\nstopped by {signal.Signals(number).name}; run the same command again to resume", file=sys.stderr)
        raise SystemExit(128 + number)

    previous = [signal.signal(sign, stop) for sign in STOPPED_BY]
    try:
        yield
    finally:
        for sign, handler in zip(STOPPED_BY, previous, strict=True):
            signal.signal(sign, handler)


def _load(logs: Path) -> dict[str, dict]:
    path = logs / "steps.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {name: {"cpu_seconds": 0.0, **entry} for name, entry in known.items()}  # older files hold none


def _save(logs: Path, known: Mapping[str, dict]) -> None:
    with atomic_write(logs / "steps.json") as file:
        json.dump(known, file, indent=1)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
