"""Disturbs this process in the middle of a phase: the functions that make up the phase are wrapped for it."""

import contextlib
import functools
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.torture.disturbance import MANNERS, Disturbance

FIRED = "fired"  # written into the folder of the run when it is disturbed
_START = 60.0  # seconds in which another rank must have been started


class Trigger:
    """Counts occurrences of the phase, and disturbs once."""

    def __init__(self, disturbance: Disturbance, folder: Path, rank: int) -> None:
        self.disturbance, self.folder, self.rank = disturbance, folder, rank
        self._left, self._fired = disturbance.occurrence, False

    def begins(self) -> bool:
        """Return whether the occurrence that begins now is the one that is disturbed."""
        self._left -= 1
        return self._left == 0

    def note(self) -> None:
        """Leave a note that the run has been disturbed."""
        self._fired = True
        Path(self.folder, FIRED).write_text(str(self.disturbance))

    def fire(self) -> None:
        """Send the signal to the victims, this process last."""
        if self._fired:
            return
        self.note()
        number = MANNERS[self.disturbance.manner].signal
        if self.disturbance.victims != "self":
            with contextlib.suppress(ProcessLookupError):
                os.kill(_process(self.folder, 1 - self.rank), number)
        if self.disturbance.victims != "other":
            os.kill(os.getpid(), number)

    @contextlib.contextmanager
    def countdown(self) -> Iterator[None]:
        """Fire after as many calls of functions as the moment says, at the end at the latest."""
        left = self.disturbance.moment

        def count(frame: Any, event: str, argument: Any) -> None:
            nonlocal left
            left -= event in ("call", "c_call")
            if left <= 0:
                sys.setprofile(None)
                self.fire()

        sys.setprofile(count)
        yield
        sys.setprofile(None)
        self.fire()


def pid_file(folder: Path, rank: int) -> Path:
    """Return the file that holds the process id of a rank."""
    return Path(folder, f"rank{rank}.pid")


def _process(folder: Path, rank: int) -> int:
    """Wait until the rank has been started, and return its process id."""
    file, end = pid_file(folder, rank), time.monotonic() + _START
    while not (file.exists() and file.read_text()):
        if time.monotonic() > end:
            raise TimeoutError(f"{file}: not there after {_START:.0f} s, expected the process id of rank {rank}")
        time.sleep(0.001)
    return int(file.read_text())


def install(trigger: Trigger) -> None:
    """Wrap the functions of the phase that is to be disturbed."""
    if MANNERS[trigger.disturbance.manner].signal is None:
        _fill_disk(trigger)
    else:
        _INSTALL[trigger.disturbance.phase](trigger)


# ---- phases that are calls of a function


def _wrap(owner: Any, name: str, trigger: Trigger, counts: Callable[..., bool] = lambda *a, **k: True) -> None:
    """Disturb within a call of ``owner.name``. Only those for which ``counts`` is true are occurrences."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not counts(*args, **kwargs) or not trigger.begins():
            return original(*args, **kwargs)
        with trigger.countdown():
            return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def _meeting(trigger: Trigger) -> None:
    from fairseq.distributed import utils

    _wrap(utils, "distributed_init", trigger)


def _opening(trigger: Trigger) -> None:
    from slam_plugin.tasks.base.planned import PlannedTask

    _wrap(PlannedTask, "load_dataset", trigger)


def _loading(trigger: Trigger) -> None:
    from fairseq.trainer import Trainer

    _wrap(Trainer, "load_checkpoint", trigger, lambda trainer, path, *a, **k: os.path.exists(path))


def _stepping(trigger: Trigger) -> None:
    from fairseq.trainer import Trainer

    _wrap(Trainer, "train_step", trigger)


def _changing_stage(trigger: Trigger) -> None:
    from fairseq.trainer import Trainer

    from tests.torture.toy import STAGES

    def changes(trainer: Any, samples: list[dict[str, Any]], *args: Any, **kwargs: Any) -> bool:
        return any(sample["plan_step"] in STAGES and sample["plan_step"] for sample in samples)

    _wrap(Trainer, "train_step", trigger, changes)


def _changing_shard(trigger: Trigger) -> None:
    from fairseq.trainer import Trainer

    first = iter([True])
    _wrap(Trainer, "get_train_iterator", trigger, lambda *a, **k: not next(first, False))


def _validating(trigger: Trigger) -> None:
    import fairseq_cli.train

    _wrap(fairseq_cli.train, "validate", trigger)


def _saving(trigger: Trigger) -> None:
    from fairseq import checkpoint_utils

    _wrap(checkpoint_utils, "save_checkpoint", trigger)


def _reading_back(trigger: Trigger) -> None:
    from slam_plugin.saved import files

    _wrap(files, "check_whole", trigger, lambda path: str(path).endswith(".tmp"))


def _ending(trigger: Trigger) -> None:
    import fairseq_cli.train

    original = fairseq_cli.train.main

    def main(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        trigger.fire()

    fairseq_cli.train.main = main


# ---- within a write, and on both sides of a rename


class _File:
    """A file that fires after a number of bytes, which are on the disk by then."""

    def __init__(self, file: Any, trigger: Trigger) -> None:
        self._file, self._trigger, self._left = file, trigger, trigger.disturbance.moment

    def write(self, data: Any) -> int:
        piece, done = memoryview(data).cast("B"), 0
        if 0 <= self._left < len(piece):
            done = self._file.write(piece[: self._left])
            self._file.flush()
            self._trigger.fire()
        self._left -= len(piece)  # negative from then on
        return done + self._file.write(piece[done:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _writing(trigger: Trigger) -> None:
    """The first files of a save are written, the others are copied by the kernel."""
    from slam_plugin.compat import checkpoints

    original, sendfile = checkpoints.write_whole, os.sendfile

    def write_whole(path: Any, write: Callable[[Any], None]) -> None:
        if not trigger.begins():
            original(path, write)
            return

        def half(target: int, source: int, offset: int, count: int) -> int:
            done = sendfile(target, source, offset, min(count, trigger.disturbance.moment))
            trigger.fire()
            return done + sendfile(target, source, offset + done, count - done)

        os.sendfile = half
        original(path, lambda file: write(_File(file, trigger)))
        os.sendfile = sendfile
        trigger.fire()

    checkpoints.write_whole = write_whole


def _renaming(trigger: Trigger) -> None:
    replace = os.replace

    def wrapped(source: Any, target: Any) -> None:
        disturbed = str(target).endswith(".pt") and trigger.begins()
        if disturbed and trigger.disturbance.moment == 0:
            trigger.fire()
        replace(source, target)
        if disturbed:
            trigger.fire()

    os.replace = wrapped


# ---- a full disk


def _fill_disk(trigger: Trigger) -> None:
    """Let the kernel refuse to write beyond a byte, for some attempts. The pauses between attempts take no time."""
    from slam_plugin.compat import checkpoints
    from slam_plugin.saved import files

    original = checkpoints.write_whole
    attempts, hard = MANNERS[trigger.disturbance.manner].attempts, resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    def write_whole(path: Any, write: Callable[[Any], None]) -> None:
        if not trigger.begins():
            original(path, write)
            return
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        waits = iter(range(1, attempts))
        files.time.sleep = lambda seconds: None if next(waits, None) else limit(hard)
        trigger.note()
        limit(trigger.disturbance.moment)
        try:
            original(path, write)
        finally:
            limit(hard)

    checkpoints.write_whole = write_whole


# ---- importing


def _importing(trigger: Trigger) -> None:
    """Only in a fresh process: a fork has imported everything."""
    left = trigger.disturbance.moment

    def audit(event: str, arguments: tuple) -> None:
        nonlocal left
        left -= event == "import"
        if left < 0:
            trigger.fire()

    sys.addaudithook(audit)


_INSTALL: dict[str, Callable[[Trigger], None]] = {
    "importing": _importing,
    "meeting": _meeting,
    "opening": _opening,
    "loading": _loading,
    "stepping": _stepping,
    "saving": _saving,
    "writing": _writing,
    "reading-back": _reading_back,
    "renaming": _renaming,
    "validating": _validating,
    "changing-shard": _changing_shard,
    "changing-stage": _changing_stage,
    "ending": _ending,
}
