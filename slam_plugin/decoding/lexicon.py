"""A lexicon: words that may be written, as a tree of their characters."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Self

from slam_plugin.data.errors import DataError
from slam_plugin.data.lines import lines_in
from slam_plugin.data.text.pieces import WORD_START


class Node:
    """A beginning of words.

    Attributes:
        children: the node of each next character.
        words: words that are spelled up to here.
        best: the highest score among the words here and below, 0 at the root.
    """

    __slots__ = ("best", "children", "words")

    def __init__(self) -> None:
        self.children: dict[str, Self] = {}
        self.words: list[int] = []
        self.best = 0.0


def read_lexicon(path: str | Path) -> dict[str, list[str]]:
    """Read a lexicon: a word per line, or a word and its pieces as torchaudio and flashlight have them.

    Returns the spellings of each word, without the word's start: pieces are joined, and without any the word is its own
    spelling. A word may stand on several lines. Raises :class:`DataError` that names the line if pieces spell no word
    or several, or if there is no word at all.
    """
    words: dict[str, list[str]] = {}
    for number, line in enumerate(lines_in(path), start=1):
        if not line.strip():
            continue
        word, *pieces = line.split()
        spelled = "".join(pieces).removeprefix(WORD_START).removesuffix("|") if pieces else word
        if not spelled or WORD_START in spelled:
            raise DataError(f"{path}:{number}: found the pieces {' '.join(pieces)!r}, expected the pieces of one word")
        known = words.setdefault(word, [])
        if spelled not in known:
            known.append(spelled)
    if not words:
        raise DataError(f"{path}: found no word, expected one per line")
    return words


def build_tree(lexicon: Mapping[str, Iterable[str]], score: Callable[[int], float]) -> Node:
    """Return the root of the tree of all spellings.

    Args:
        lexicon: spellings of each word; words are numbered in this order.
        score: word -> a score by which it is foreseen while it is spelled; its best one reaches each node above it.
    """
    root = Node()
    for word, spellings in enumerate(lexicon.values()):
        of_word = score(word)
        for spelled in spellings:
            node = root
            for character in spelled:
                child = node.children.get(character)
                if child is None:
                    child = node.children[character] = Node()
                    child.best = of_word
                elif of_word > child.best:
                    child.best = of_word
                node = child
            node.words.append(word)
    return root
