"""Text normalization for transcripts, translations and unpaired text, so that all share words and letters."""

import re
import unicodedata

CZECH_LETTERS = frozenset("aábcčdďeéěfghiíjklmnňoópqrřsštťuúůvwxyýzž")
ENGLISH_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
SPANISH_LETTERS = ENGLISH_LETTERS | frozenset("áéíñóúü")

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))
_LIGATURES = str.maketrans({"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe"})
_QUOTES = str.maketrans(dict.fromkeys("„“”«»", '"'))
# An apostrophe belongs to a word only between two letters; elsewhere it is a quotation mark.
_NOT_IN_WORDS = re.compile(r"(?<![^\W\d_])'|'(?![^\W\d_])|[^\w'\s]|_")
_CUT_OFF = re.compile(r"(?<=\w) (?=(?:n't|'(?:s|m|d|re|ve|ll))\b)", re.IGNORECASE)


def normalize(text: str) -> str:
    """Return the text as lower-case words of letters, digits and inner apostrophes, separated by single spaces.

    ``Chceš-li „to“?`` becomes ``chceš li to``. Unicode is composed (NFC). Digits stay, because how they are read is
    unknown: see :func:`is_spelled_out`. Vowel signs and other marks stay with their letters (``हिन्दी``).
    """
    text = unicodedata.normalize("NFC", text).translate(_APOSTROPHES).lower()
    return " ".join(_NOT_IN_WORDS.sub(_mark_or_space, text).split())


def _mark_or_space(found: re.Match[str]) -> str:
    return found[0] if unicodedata.category(found[0]).startswith("M") else " "


def normalize_english(text: str) -> str:
    """Return the text as :func:`normalize` does, without accents and ligatures.

    ``Cæsar’s Café`` becomes ``caesar's cafe``.
    """
    parts = unicodedata.normalize("NFD", text.translate(_LIGATURES))
    return normalize("".join(part for part in parts if not unicodedata.combining(part)))


def tidy(text: str) -> str:
    """Return the text in NFC with plain quotes, plain apostrophes and single spaces. Case and punctuation stay."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_APOSTROPHES).translate(_QUOTES).split())


def join_clitics(text: str) -> str:
    """Return English text with clitics rejoined: ``it 's`` becomes ``it's``, ``do n't`` becomes ``don't``."""
    return _CUT_OFF.sub("", text.translate(_APOSTROPHES))


def is_spelled_out(text: str) -> bool:
    """Return whether ``text`` shows how it is read: it holds a letter and no digit."""
    return any(map(str.isalpha, text)) and not any(map(str.isdigit, text))


def foreign_letters(text: str, alphabet: frozenset[str]) -> set[str]:
    """Return the letters of normalized ``text`` that are not in ``alphabet``."""
    return {letter for letter in text if letter.isalpha()} - alphabet
