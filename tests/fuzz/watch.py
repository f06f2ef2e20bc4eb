"""What a case does outside of its folder: Python's audit events, and a folder of files that must stay as they are."""

import os
import sys
from pathlib import Path

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# The arguments of each event that are paths which are changed.
_CHANGES = {
    **{f"os.{name}": slice(0, 1) for name in ("mkdir", "remove", "rmdir", "truncate", "chmod", "chown", "utime")},
    **{"os.rename": slice(0, 2), "os.link": slice(1, 2), "os.symlink": slice(1, 2)},
}
_CASE = ("case", "log")  # names in the folder of a batch that are not watched
_RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "pickle.find_class")


class Watch:
    """Collects what is done outside of one folder. It stays in the process until the process ends."""

    def __init__(self, canary: Path) -> None:
        self.inside: str | None = None  # nothing is collected while it is None
        self.found: list[str] = []
        self.runs_allowed: tuple[str, ...] = ()
        self._canary = canary
        self._before = _state(canary)
        sys.addaudithook(self._hook)

    def begin(self, folder: Path) -> None:
        """Collect from here on what is done outside of ``folder``."""
        self.found = []
        self.inside = os.path.realpath(folder)

    def end(self) -> list[str]:
        """Return what was done outside since :meth:`begin`."""
        self.inside = None
        after = _state(self._canary)
        changed = [f"changed {name}" for name in sorted(dict(after ^ self._before))]
        self._before = after
        return self.found + changed

    def _hook(self, event: str, arguments: tuple) -> None:
        if self.inside is None:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES:
                self._check("opened for writing", path)
        elif event in _CHANGES:
            # Names that are relative to an open folder come from shutil.rmtree, whose begin is an event of its own.
            if event == "os.truncate" or arguments[-1] == -1:
                for path in arguments[_CHANGES[event]]:
                    self._check(event, path)
        elif event == "shutil.rmtree":
            self._check(event, arguments[0])
        elif event in _RUNS:
            self.found.append(f"{event} {str(arguments)[:200]}")

    def _check(self, what: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.fsdecode(path)
        folder, last = os.path.split(os.path.abspath(name))
        real = os.path.join(os.path.realpath(folder), last)
        if real != os.devnull and not real.startswith(f"{self.inside}{os.sep}"):
            self.found.append(f"{what} {name!r}"[:300])


def make_canary(folder: Path) -> None:
    """Write files that no case may change."""
    folder.mkdir()
    for name in ("kept", "a.wav", "train.tsv"):
        (folder / name).write_text("kept\n")


def _state(folder: Path) -> set[tuple[str, tuple]]:
    """Return names, contents and times of the files beside a case's folder, and the names of what is around."""
    inside = {
        (entry.path, (entry.stat().st_mtime_ns, Path(entry.path).read_bytes() if entry.is_file() else b""))
        for entry in os.scandir(folder)
    }
    return inside | {(entry.path, ()) for entry in os.scandir(folder.parent) if not entry.name.startswith(_CASE)}
