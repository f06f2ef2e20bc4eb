"""Geometry of a front end: how many states it makes of log-mel frames, and how the frames are normalized."""

from dataclasses import dataclass
from typing import TypeVar

Frames = TypeVar("Frames")  # a number, or an array or tensor of numbers

CONV, STACKED = "conv", "stacked"
# Frames per state of each front end that exist, the default first.
FRAMES_PER_STATE: dict[str, tuple[int, ...]] = {CONV: (4, 2), STACKED: (2,)}


@dataclass(frozen=True)
class FrontEnd:
    """The properties of a front end that data, objectives and tasks use.

    Example:
        >>> FrontEnd("conv", 4).states_of(9), FrontEnd("stacked", 2).states_of(9)
        (3, 4)

    Attributes:
        kind: "conv", whose last state may have fewer frames (Bapna et al. 2021, section 3.1), or "stacked", which drops
            frames that make no whole state (w2v-BERT 2.0, Seamless Communication 2023).
        frames_per_state: log-mel frames of a state.
    """

    kind: str = CONV
    frames_per_state: int = FRAMES_PER_STATE[CONV][0]

    def __post_init__(self) -> None:
        if self.kind not in FRAMES_PER_STATE:
            raise ValueError(f"front end: found {self.kind!r}, expected one of {', '.join(FRAMES_PER_STATE)}")
        known = FRAMES_PER_STATE[self.kind]
        if self.frames_per_state not in known:
            expected = " or ".join(map(str, known))
            raise ValueError(
                f"--frames-per-state {self.frames_per_state}: found with the front end {self.kind}, expected {expected}"
            )

    @classmethod
    def of_kind(cls, kind: str, frames_per_state: int | None) -> "FrontEnd":
        """Return the front end of a kind, with the kind's default if ``frames_per_state`` is None."""
        default = FRAMES_PER_STATE.get(kind, (0,))[0]
        return cls(kind, default if frames_per_state is None else frames_per_state)

    @property
    def keeps_rest(self) -> bool:
        """Return whether the frames at the end that make no whole state are a state of their own."""
        return self.kind == CONV

    def states_of(self, frames: Frames) -> Frames:
        """Return the number of states of ``frames`` log-mel frames."""
        rest = self.frames_per_state - 1 if self.keeps_rest else 0
        return (frames + rest) // self.frames_per_state

    def fewest_frames(self, states: int) -> int:
        """Return the minimum number of log-mel frames that give ``states`` states (1 or more)."""
        return self.frames_per_state * (states - 1) + 1 if self.keeps_rest else self.frames_per_state * states

    @property
    def deciding_frame(self) -> int:
        """Return which of a state's frames decides whether the state is padding."""
        return 0 if self.keeps_rest else self.frames_per_state - 1

    @property
    def variance(self) -> tuple[int, float]:
        """Return what is subtracted from the number of frames in the variance of a mel bin, and what is added to it.

        The stacked front end's are those of the features of w2v-BERT 2.0.
        """
        return (0, 1e-5) if self.kind == CONV else (1, 1e-7)

    def __str__(self) -> str:
        return f"{self.kind}, {self.frames_per_state} frames a state"


DEFAULT_FRONT_END = FrontEnd()  # the paper's, and that of the default flags
