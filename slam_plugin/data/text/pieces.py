"""Text of SentencePiece pieces."""

import re
from collections.abc import Iterable

WORD_START = "▁"  # first character of a piece that begins a word
_BYTES = re.compile(r"(?:<0x[0-9A-F]{2}>)+")


def word_starts(symbols: Iterable[str]) -> list[bool]:
    """Return which symbols begin a word."""
    return [symbol.startswith(WORD_START) for symbol in symbols]


def join_pieces(pieces: str) -> str:
    """Return the text of blank-separated pieces: ``"▁a b ▁c"`` is ``"ab c"``. Runs of byte pieces are read as UTF-8."""
    text = pieces.replace(" ", "").replace(WORD_START, " ").strip()
    return _BYTES.sub(
        lambda run: bytes.fromhex(run[0].replace("<0x", "").replace(">", "")).decode(errors="replace"), text
    )
