"""Text normalization for transcripts, translations and unpaired text, and tests of normalized text.

The normalization itself is that of :mod:`slam_plugin.data.text.normalization`, which models apply to their inputs.
"""

import re

from slam_plugin.data.text.normalization import normalize, normalize_english, normalize_forms, tidy

__all__ = [
    "foreign_letters",
    "is_spelled_out",
    "join_clitics",
    "normalize",
    "normalize_english",
    "normalize_forms",
    "tidy",
]

CZECH_LETTERS = frozenset("aábcčdďeéěfghiíjklmnňoópqrřsštťuúůvwxyýzž")
ENGLISH_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
SPANISH_LETTERS = ENGLISH_LETTERS | frozenset("áéíñóúü")

_CUT_OFF = re.compile(r"(?<=\w) (?=(?:n't|'(?:s|m|d|re|ve|ll))\b)", re.IGNORECASE)
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))


def join_clitics(text: str) -> str:
    """Return English text with clitics rejoined: ``it 's`` becomes ``it's``, ``do n't`` becomes ``don't``."""
    return _CUT_OFF.sub("", text.translate(_APOSTROPHES))


def is_spelled_out(text: str) -> bool:
    """Return whether ``text`` shows how it is read: it holds a letter and no digit."""
    return any(map(str.isalpha, text)) and not any(map(str.isdigit, text))


def foreign_letters(text: str, alphabet: frozenset[str]) -> set[str]:
    """Return the letters of normalized ``text`` that are not in ``alphabet``."""
    return {letter for letter in text if letter.isalpha()} - alphabet
