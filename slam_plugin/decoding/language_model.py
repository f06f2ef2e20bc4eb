"""Language models for flashlight's search: KenLM, and one of text that adds a lexicon, words and hotwords to it.

Imports flashlight-text, the extra ``lm``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flashlight.lib.text.decoder import LM, LMState
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary

from slam_plugin.data.errors import DataError
from slam_plugin.data.text.arpa import is_binary, read_arpa
from slam_plugin.decoding.hotwords import Hotwords
from slam_plugin.decoding.lexicon import Node, build_tree
from slam_plugin.decoding.words import UNKNOWN_WORD, Words

_UNKNOWN = "<unk>"
_FORBIDDEN = float("-inf")


class Ngrams:
    """A model that KenLM reads.

    Args:
        path: ARPA, every line of which is checked first, or KenLM's binary format, which must be sound.
        words: the words that will be scored, by id.
        kind: what they are, for errors: "units" or "words".

    Raises :class:`DataError` if the file is not readable as either, or holds none of ``words``.
    """

    def __init__(self, path: str | Path, words: Sequence[str], kind: str) -> None:
        if not Path(path).is_file():
            raise DataError(f"{path}: there is no such file, expected an n-gram model")
        if not is_binary(path):
            read_arpa(path)
        try:
            self.model = KenLM(str(path), Dictionary([*dict.fromkeys((*words, _UNKNOWN))]))
        except (RuntimeError, MemoryError, ValueError) as error:
            raise DataError(f"{path}: KenLM cannot read it ({error})") from error
        self.unknown = list(words).index(_UNKNOWN) if _UNKNOWN in words else len(words)
        unknown = self.alone(self.unknown)
        # Symbols in angle brackets are in every model.
        written = [number for number, word in enumerate(words) if not word.startswith("<")]
        if all(self.alone(word) == unknown for word in written):
            cure = "is it a model of words, to be used with --lexicon?" if kind == "units" else "is it one of units?"
            raise DataError(f"{path}: knows none of the {len(words)} {kind}, expected a model of them; {cure}")

    def alone(self, word: int) -> float:
        """Return the log10 probability of a word without any before it."""
        return self.model.score(self.model.start(True), word)[1]


def word_scores(
    lexicon: Mapping[str, Sequence[str]] | None,
    path: str | Path | None,
    weight: float,
    word_score: float,
    unk_score: float | None,
) -> Words:
    """Return the scores of words by a lexicon (None: any word) and an n-gram model of its words (None: no model)."""
    if path is None:
        # Each word ends in the same state of a model that says nothing.
        root = build_tree(lexicon or {}, lambda word: 0.0)
        allowed = unk_score if lexicon is not None else 0.0
        return Words(root, lambda state, word: (None, 0.0), lambda: None, lambda state: 0.0, word_score, allowed)
    ngrams = Ngrams(path, list(lexicon), "words")
    model = ngrams.model

    def score(state: Any, word: int) -> tuple[Any, float]:
        following, log_prob = model.score(state, ngrams.unknown if word == UNKNOWN_WORD else word)
        return following, weight * log_prob

    root: Node = build_tree(lexicon, lambda word: weight * ngrams.alone(word))
    return Words(
        root, score, lambda: model.start(False), lambda state: weight * model.finish(state)[1], word_score, unk_score
    )


class _Known(NamedTuple):
    """The record of a hypothesis: the states of its scores, and each symbol that was tried after it."""

    units: Any
    words: Any
    hotwords: Any
    tried: dict[int, tuple[Any, float]]


class TextModel(LM):
    """A model for flashlight's lexicon-free search that scores the text of a hypothesis, symbol by symbol.

    A hypothesis is known by its symbols, so that the search merges equal ones alone. A symbol after a hypothesis is
    scored once, however many frames try it; what is known is dropped at the start of the next utterance.

    Args:
        symbols: text of each symbol by id, ``▁`` before a word. Symbols that are no text are characters of no word.
        units: (model, weight) of an n-gram model of symbols, None for none.
        words, hotwords: None for none.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        units: tuple[KenLM, float] | None,
        words: Words | None,
        hotwords: Hotwords | None,
    ) -> None:
        LM.__init__(self)
        # What stands in angle brackets is no text: one character that no word has.
        self._texts = [(symbol,) if len(symbol) > 1 and symbol[0] == "<" else tuple(symbol) for symbol in symbols]
        self._units, self._weight = units or (None, 0.0)
        self._words, self._hotwords = words, hotwords
        self._known: dict[LMState, _Known] = {}
        self._dead = LMState()

    def start(self, start_with_nothing: bool) -> LMState:
        """Return the state before any symbol."""
        state = LMState()
        self._known = {
            state: _Known(
                self._units and self._units.start(start_with_nothing),
                self._words and self._words.start(),
                self._hotwords and self._hotwords.start(),
                {},
            )
        }
        return state

    def score(self, state: LMState, symbol: int) -> tuple[LMState, float]:
        """Return the state after a symbol, and what the symbol adds to the score."""
        known = self._known[state]
        found = known.tried.get(symbol)
        if found is None:
            found = known.tried[symbol] = self._try(state, known, symbol)
        return found

    def _try(self, state: LMState, known: _Known, symbol: int) -> tuple[LMState, float]:
        words, hotwords, total = known.words, known.hotwords, 0.0
        if self._words:
            for character in self._texts[symbol]:
                stepped = self._words.step(words, character)
                if stepped is None:
                    return self._dead, _FORBIDDEN
                words, score = stepped
                total += score
        if self._hotwords:
            for character in self._texts[symbol]:
                hotwords, score = self._hotwords.step(hotwords, character)
                total += score
        units = known.units
        if self._units:
            units, score = self._units.score(units, symbol)
            total += self._weight * score
        child = state.child(symbol)
        self._known[child] = _Known(units, words, hotwords, {})
        return child, total

    def finish(self, state: LMState) -> tuple[LMState, float]:
        """Return the state after the end of the text, and what the end adds to the score."""
        known, total = self._known[state], 0.0
        if self._units:
            total += self._weight * self._units.finish(known.units)[1]
        if self._words:
            total += self._words.finish(known.words)
        if self._hotwords:
            total += self._hotwords.finish(known.hotwords)
        return state.child(-1), total
