"""What is done to a run, when, and how the run may end then."""

import random
import signal
from typing import NamedTuple, Self


class Manner(NamedTuple):
    """A kind of disturbance.

    Attributes:
        signal: sent to the victims; None if the disk is full instead.
        codes: exit codes that a victim may end with.
        attempts: attempts to write a checkpoint for which the disk is full.
    """

    signal: int | None
    codes: frozenset[int]
    attempts: int = 0


# A signal is one entry: its number and the codes that the processes which it reaches may end with.
MANNERS = {
    "SIGKILL": Manner(signal.SIGKILL, frozenset({-signal.SIGKILL})),
    # Until there is something to lose the signal kills, then the run saves and ends with 75. 0: it was the last update.
    "SIGTERM": Manner(signal.SIGTERM, frozenset({75, 0, -signal.SIGTERM})),
    "SIGUSR1": Manner(signal.SIGUSR1, frozenset({75, 0, -signal.SIGUSR1})),
    "full-once": Manner(None, frozenset({0}), attempts=1),
    "full-twice": Manner(None, frozenset({0}), attempts=2),
    "full-for-good": Manner(None, frozenset({1}), attempts=1000),
}


class Phase(NamedTuple):
    """A part of a run.

    Attributes:
        size: moments in it: calls of functions, bytes or imports, about as many as it takes.
        occurrences: how often it occurs in a few updates.
        ranks: the ranks on which it occurs.
    """

    size: int
    occurrences: int
    ranks: tuple[int, ...] = (0, 1)


PHASES = {
    "importing": Phase(3000, 1),
    "meeting": Phase(1000, 1),  # of the ranks
    "opening": Phase(20000, 2),
    "loading": Phase(20000, 1),
    "stepping": Phase(30000, 3),
    "saving": Phase(40000, 2),
    "writing": Phase(600_000, 4, ranks=(0,)),
    "reading-back": Phase(10000, 4, ranks=(0,)),
    "renaming": Phase(2, 4, ranks=(0,)),
    "validating": Phase(30000, 2),
    "changing-shard": Phase(20000, 1),
    "changing-stage": Phase(30000, 1),
    "ending": Phase(1, 1),
}
VICTIMS = ("self", "other", "both")


class Disturbance(NamedTuple):
    """One disturbance.

    Attributes:
        occurrence: of the phase, counted from 1 since the start of the process.
        moment: a number below the phase's ``size``: calls, bytes or imports since the phase began. A phase that ends
            before is disturbed at its end.
        rank: whose phase counts.
        victims: "self" (that rank), "other" or "both".
    """

    manner: str
    phase: str
    occurrence: int
    moment: int
    rank: int
    victims: str

    def __str__(self) -> str:
        return " ".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the disturbance that ``str`` wrote. Raises ValueError if there is no such one."""
        words = text.split()
        if len(words) != len(cls._fields):
            raise ValueError(f"{text!r}: expected {', '.join(cls._fields)}")
        manner, phase, *numbers, victims = words
        if manner not in MANNERS or phase not in PHASES or victims not in VICTIMS:
            raise ValueError(f"{text!r}: expected one of {', '.join(MANNERS)}; {', '.join(PHASES)}; and of {VICTIMS}")
        return cls(manner, phase, *map(int, numbers), victims)


def draw(phase: str, ranks: int, rng: random.Random, manner: str = "SIGKILL") -> Disturbance:
    """Return a signal at a random moment of a phase."""
    about = PHASES[phase]
    return Disturbance(
        manner,
        phase,
        rng.randint(1, about.occurrences),
        # Half of the moments are early ones: much happens in the first few calls.
        rng.randrange(about.size if rng.random() < 0.5 else max(1, about.size // 30)),
        rng.choice([rank for rank in about.ranks if rank < ranks]),
        rng.choice(VICTIMS) if ranks > 1 else "self",
    )


def draw_full_disk(manner: str, ranks: int, rng: random.Random) -> Disturbance:
    """Return a full disk from a random byte of a random file on."""
    # Not fewer bytes: the limit holds for the log as well.
    return Disturbance(manner, "writing", rng.randint(1, 4), rng.randrange(150_000, 550_000), 0, "self")
