"""A run that is disturbed again and again by the same command until it is finished, and compared with the other one."""

import os
import shutil
import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture import states, toy
from tests.torture.disturbance import MANNERS, Disturbance
from tests.torture.launcher import End, start

_FIRST_PORT = 20_000  # below those that the kernel gives to others


@dataclass
class Chain:
    """What came of a chain.

    Attributes:
        fired: the disturbances that took place, in order.
        starts: starts of the run.
        faults: what went wrong, beside numbers that differ.
        unfinished: the largest number of unfinished files at once.
        stuck: disturbances after which a rank did not end by itself.
    """

    ranks: int
    planned: Sequence[Disturbance]
    fired: list[Disturbance] = field(default_factory=list)
    starts: int = 0
    faults: list[str] = field(default_factory=list)
    unfinished: int = 0
    stuck: list[Disturbance] = field(default_factory=list)
    compared: states.Compared = states.Compared(0, 0, [])

    @property
    def command(self) -> str:
        """The command that repeats it."""
        return f"python -m tests.torture --ranks {self.ranks} " + " ".join(f"--disturb '{d}'" for d in self.planned)


def undisturbed(corpora: Path, folder: Path, of: toy.Training, fresh: bool) -> Path:
    """Train once. Return the folder of its checkpoints. Raises RuntimeError if it fails."""
    _lay_out(corpora, folder)
    end = start(folder, of, _port(), fresh=fresh)
    if any(end.codes):
        raise RuntimeError(f"the undisturbed run ended with {end.codes}:\n{end.log}")
    return folder / toy.SAVED


def run_chain(corpora: Path, folder: Path, reference: Path, of: toy.Training, planned: Sequence[Disturbance]) -> Chain:
    """Start the run in ``folder`` until it is finished. Each start is disturbed by the next one of ``planned``.

    A disturbance whose phase does not occur in its start is followed by the comparison: the run is finished.

    Args:
        reference: the folder of the checkpoints of the undisturbed run.
    """
    _lay_out(corpora, folder)
    chain, port = Chain(of.ranks, planned), _port()
    for disturbance in (*planned, None):
        end = start(folder, of, port, disturbance)
        chain.starts += 1
        _judge(chain, folder, disturbance, end)
        if chain.faults or not any(end.codes):
            break
    if not chain.faults:
        chain.faults += [f"left behind: {path}" for path in states.unfinished(folder)]
        chain.compared = states.compare(reference, folder / toy.SAVED)
    return chain


def _judge(chain: Chain, folder: Path, disturbance: Disturbance | None, end: End) -> None:
    """Add to the chain what happened in a start."""
    chain.unfinished = max(chain.unfinished, len(states.unfinished(folder)))
    chain.faults += [f"after {disturbance}: {fault}" for fault in states.faults(folder / toy.SAVED)]
    if disturbance is None or not end.fired:
        if any(end.codes):
            chain.faults.append(f"ended by itself with {end.codes} ({disturbance} had not begun):\n{end.log}")
        return
    chain.fired.append(disturbance)
    if end.stuck:
        chain.stuck.append(disturbance)
    for rank in _victims(disturbance):
        if end.codes[rank] not in MANNERS[disturbance.manner].codes:
            chain.faults.append(f"{disturbance}: rank {rank} ended with {end.codes[rank]}:\n{end.log}")


def _victims(disturbance: Disturbance) -> list[int]:
    one, other = disturbance.rank, 1 - disturbance.rank
    return {"self": [one], "other": [other], "both": [one, other]}[disturbance.victims]


def _lay_out(corpora: Path, folder: Path) -> None:
    """Make the folder of a run, with data that nobody has opened yet."""
    shutil.copytree(corpora, folder / toy.DATA, copy_function=_link)


def _link(source: str, target: str) -> None:
    """Link what nobody changes."""
    if source.endswith(".wav"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _port() -> int:
    """Return a port that is free, for all starts of a chain."""
    for port in range(_FIRST_PORT + os.getpid() % 5000, 32_000):
        with closing(socket.socket()) as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
