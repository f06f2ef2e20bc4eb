"""Hotwords: words and phrases of the user that raise the score of hypotheses which hold them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from slam_plugin.data.errors import DataError
from slam_plugin.data.lines import lines_in
from slam_plugin.data.text.pieces import WORD_START


class _Node:
    """A beginning of hotwords: what may follow, whether one ends here, and the promised share of the weight."""

    __slots__ = ("children", "ends", "promise")

    def __init__(self) -> None:
        self.children: dict[str, Self] = {}
        self.ends = False
        self.promise = 0.0


class State(NamedTuple):
    """A place in a text: the hotwords that may be going on, and whether a word begins here."""

    live: tuple[_Node, ...]
    begins: bool


class Hotwords:
    """Scores of text by the hotwords in it, character by character.

    Each occurrence as whole words adds ``weight`` in the end. Before it ends, it is foreseen: the share of its
    characters that has been read is added, and taken back if the text goes on otherwise. Hotwords within others count
    too.

    Args:
        phrases: words with single blanks between them.
        weight: added to the log-probability for each occurrence; below 0 it makes them less likely.
    """

    def __init__(self, phrases: Iterable[str], weight: float) -> None:
        self.weight = weight
        self._root = _Node()
        for phrase in phrases:
            characters = phrase.replace(" ", WORD_START)
            node = self._root
            for place, character in enumerate(characters, start=1):
                node = node.children.setdefault(character, _Node())
                node.promise = max(node.promise, max(weight, 0.0) * place / len(characters))
            node.ends = True

    def start(self) -> State:
        """Return the state before any text."""
        return State((), True)

    def step(self, state: State, character: str) -> tuple[State, float]:
        """Return the state after a character, ``▁`` before a word, and what it adds to the score."""
        if character == WORD_START:
            if state.begins:
                return state, 0.0
            ended = self.weight * sum(node.ends for node in state.live)
            after = State(_next(state.live, character), True)
        else:
            ended = 0.0
            live = (*state.live, self._root) if state.begins else state.live
            after = State(_next(live, character), False)
        return after, ended + _promised(after) - _promised(state)

    def finish(self, state: State) -> float:
        """Return what the end of the text adds to the score."""
        ended = 0.0 if state.begins else self.weight * sum(node.ends for node in state.live)
        return ended - _promised(state)


def _next(live: tuple[_Node, ...], character: str) -> tuple[_Node, ...]:
    return tuple(node.children[character] for node in live if character in node.children)


def _promised(state: State) -> float:
    return max((node.promise for node in state.live), default=0.0)


def read_hotwords(path: str | Path) -> list[str]:
    """Read a word or phrase per line. Empty lines are left out. Raises :class:`DataError` if there is none."""
    phrases = [" ".join(line.split()) for line in lines_in(path) if line.strip()]
    if not phrases:
        raise DataError(f"{path}: found no hotword, expected a word or phrase per line")
    return list(dict.fromkeys(phrases))
