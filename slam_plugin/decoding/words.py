"""Scores of words while they are written: a lexicon, a language model of words, and a score for each word."""

from collections.abc import Callable
from typing import Any, NamedTuple

from slam_plugin.data.text.pieces import WORD_START
from slam_plugin.decoding.lexicon import Node

# Of a hypothesis whose last word is no word of the lexicon: it is only kept if there is no other.
UNFINISHED = -1000.0

UNKNOWN_WORD = -1

# (state, word or UNKNOWN_WORD) -> (state, score)
WordScorer = Callable[[Any, int], tuple[Any, float]]


class State(NamedTuple):
    """A place in a text: the language model's state after all ended words, and the node of the word going on.

    ``node`` is the root between words, and None in a word that is not in the lexicon.
    """

    lm: Any
    node: Node | None


class Words:
    """Scores of text, character by character.

    In the end each word of the lexicon adds its score by the language model, plus ``word_score``; any other
    adds what the model gives the unknown word, plus ``unk_score`` and ``word_score``. Before a word ends, the best
    score of the words that begin so is foreseen, and the true one replaces it.

    Args:
        root: the lexicon; a tree without words leaves all words unknown.
        score: the language model, already weighted.
        start, end: its state at first, and state -> score of the end of the text.
        unk_score: None if unknown words are impossible.
    """

    def __init__(
        self,
        root: Node,
        score: WordScorer,
        start: Callable[[], Any],
        end: Callable[[Any], float],
        word_score: float,
        unk_score: float | None,
    ) -> None:
        self.root = root
        self._score, self._start, self._end = score, start, end
        self.word_score, self.unk_score = word_score, unk_score

    def start(self) -> State:
        """Return the state before any text."""
        return State(self._start(), self.root)

    def step(self, state: State, character: str) -> tuple[State, float] | None:
        """Return the state after a character, ``▁`` before a word, and what it adds to the score.

        Returns None if the lexicon forbids it.
        """
        if character == WORD_START:
            return self._end_word(state)
        if state.node is None:
            return state, 0.0
        child = state.node.children.get(character)
        if child is None:
            return self._unknown(state, None)
        return State(state.lm, child), child.best - state.node.best

    def finish(self, state: State) -> float:
        """Return what the end of the text adds to the score."""
        ended = self._end_word(state)
        if ended is None:
            return UNFINISHED
        return ended[1] + self._end(ended[0].lm)

    def _end_word(self, state: State) -> tuple[State, float] | None:
        node = state.node
        if node is self.root:
            return state, 0.0
        if node is None:
            return State(state.lm, self.root), 0.0
        if not node.words:
            return self._unknown(state, self.root)
        # Words that are spelled the same: the likelier one here.
        lm, score = max((self._score(state.lm, word) for word in node.words), key=lambda found: found[1])
        return State(lm, self.root), score - node.best + self.word_score

    def _unknown(self, state: State, following: Node | None) -> tuple[State, float] | None:
        """Return the state in or after an unknown word, and its whole score."""
        if self.unk_score is None:
            return None
        lm, score = self._score(state.lm, UNKNOWN_WORD)
        return State(lm, following), score - state.node.best + self.word_score + self.unk_score
