"""One text normaliser for transcripts, translations and unpaired text, so that all sides share words and letters."""

import re
import unicodedata

CZECH_LETTERS = frozenset("aábcčdďeéěfghiíjklmnňoópqrřsštťuúůvwxyýzž")
ENGLISH_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
SPANISH_LETTERS = ENGLISH_LETTERS | frozenset("áéíñóúü")

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))
_LIGATURES = str.maketrans({"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe"})
_QUOTES = str.maketrans(dict.fromkeys("„“”«»", '"'))
# An apostrophe is part of a word between two letters only; elsewhere it is a quotation mark.
_NOT_IN_WORDS = re.compile(r"(?<![^\W\d_])'|'(?![^\W\d_])|[^\w'\s]|_")
_CUT_OFF = re.compile(r"(?<=\w) (?=(?:n't|'(?:s|m|d|re|ve|ll))\b)", re.IGNORECASE)


def normalize(text: str) -> str:
    """Lower-case words of letters, digits and inner apostrophes with one space between.

    ``Chceš-li „to“?`` becomes ``chceš li to``. Unicode is composed (NFC). Digits stay, because how they are read is
    unknown: see :func:`is_spelled_out`. Vowel signs and other marks stay with their letters (``हिन्दी``).
    """
    text = unicodedata.normalize("NFC", text).translate(_APOSTROPHES).lower()
    return " ".join(_NOT_IN_WORDS.sub(_mark_or_space, text).split())


def _mark_or_space(found: re.Match[str]) -> str:
    return found[0] if unicodedata.category(found[0]).startswith("M") else " "


def normalize_english(text: str) -> str:
    """:func:`normalize`, with the accents and joined letters of foreign words left out.

    ``Cæsar’s Café`` becomes ``caesar's cafe``.
    """
    parts = unicodedata.normalize("NFD", text.translate(_LIGATURES))
    return normalize("".join(part for part in parts if not unicodedata.combining(part)))


def tidy(text: str) -> str:
    """Text that keeps case and punctuation: composed (NFC), with plain quotes and apostrophes and single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_APOSTROPHES).translate(_QUOTES).split())


def join_clitics(text: str) -> str:
    """What tokenisers cut off English words, put back: ``it 's`` becomes ``it's``, ``do n't`` becomes ``don't``."""
    return _CUT_OFF.sub("", text.translate(_APOSTROPHES))


def is_spelled_out(text: str) -> bool:
    """Whether ``text`` says how it is read: it holds a letter and no digit."""
    return any(map(str.isalpha, text)) and not any(map(str.isdigit, text))


def foreign_letters(text: str, alphabet: frozenset[str]) -> set[str]:
    """Letters of ``text``, normalised before, that are not in ``alphabet``."""
    return {letter for letter in text if letter.isalpha()} - alphabet
