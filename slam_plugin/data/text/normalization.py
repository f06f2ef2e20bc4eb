"""Text normalization, and which one a text has had: texts given to a model are normalized as its training text was.

Transcripts, translations and unpaired text are normalized alike, so that all share words and letters. A checkpoint
stores the name of the normalization (:data:`NORMALIZATIONS`) that leaves its training text as it is.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))
_LIGATURES = str.maketrans({"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "·": " ", "ŀ": "l ", "Ŀ": "L "})
_QUOTES = str.maketrans(dict.fromkeys("„“”«»", '"'))
_AROUND_WORDS = ".,;:!?\"'()[]"
# Characters that show nothing and cut no word: soft hyphen, zero-width space, word joiner, byte order mark, directions.
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0001\U000e0020-\U000e007f]+"
)
# They choose the form of letters (Sinhala, Hindi, Persian), and so belong to words, but in no Latin, Greek or Cyrillic.
_JOINERS = re.compile("[\u200c\u200d]+")
_ZERO_WIDTH_JOINER = "\u200d"
_VIRAMA = 9  # combining class
# An apostrophe belongs to a word only between two letters; elsewhere it is a quotation mark. So does Catalan's dot
# between two l.
_NOT_IN_WORDS = re.compile(r"(?<![^\W\d_])'|'(?![^\W\d_])|(?<!l)·|·(?!l)|[^\w'·\s]|_")
_CATALAN = str.maketrans({"ŀ": "l·", "Ŀ": "L·"})
# Languages in which the capital of i has a dot and I is that of ı.
_DOTTED = frozenset(("tr", "tur", "az", "aze"))
_DOTTED_CAPITALS = str.maketrans({"İ": "i", "I": "ı"})
SAMPLE = 2000  # texts that are looked at
_DOTLESS_SHARE = 0.2  # of texts with ı, so that it is no foreign name


def normalize(text: str, language: str | None = None) -> str:
    """Return the text as lower-case words of letters, digits and inner apostrophes, separated by single spaces.

    ``Chceš-li „to“?`` becomes ``chceš li to``. Unicode is composed (NFC). Digits stay, because how they are read is
    unknown. Vowel signs and other marks stay with their letters (``हिन्दी``), joiners of letters and Catalan's ``l·l``
    too; other invisible characters are removed.

    Args:
        language: of the text (``tr``, ``az-AZ``), for capitals that are others there; None for any other language.
    """
    text = unicodedata.normalize("NFC", _without_invisible(text)).translate(_APOSTROPHES).translate(_CATALAN)
    if language and re.split("[-_]", language.lower())[0] in _DOTTED:
        text = text.translate(_DOTTED_CAPITALS)
    lowered = unicodedata.normalize("NFC", text.lower())  # small letters may have marks of their own
    return " ".join(_NOT_IN_WORDS.sub(_kept_or_space, lowered).split())


def _without_invisible(text: str) -> str:
    # Composed before a joiner is looked at: marks may change places.
    return text if text.isascii() else _JOINERS.sub(_joiner, unicodedata.normalize("NFC", _INVISIBLE.sub("", text)))


def _joiner(found: re.Match[str]) -> str:
    """Return the joiner if it is between two letters whose form it chooses, or joins a virama, else nothing."""
    text, begin, end = found.string, *found.span()
    before, after = text[max(begin - 1, 0) : begin], text[end : end + 1]
    sign = found[0][0]
    is_final = sign == _ZERO_WIDTH_JOINER and before and unicodedata.combining(before) == _VIRAMA
    return sign if _is_joined(before) and (_is_joined(after) or is_final) else ""


def _is_joined(sign: str) -> bool:
    is_other_script = bool(sign) and ("\u0590" <= sign < "\u1e00" or sign >= "\ua800")
    return is_other_script and unicodedata.category(sign)[0] in "LM"


def _kept_or_space(found: re.Match[str]) -> str:
    return found[0] if unicodedata.category(found[0]).startswith("M") or _JOINERS.match(found[0]) else " "


def normalize_english(text: str) -> str:
    """Return the text as :func:`normalize` does, without accents and ligatures.

    ``Cæsar’s Café`` becomes ``caesar's cafe``.
    """
    parts = unicodedata.normalize("NFD", text.translate(_LIGATURES))
    return normalize("".join(part for part in parts if not unicodedata.combining(part)))


def tidy(text: str) -> str:
    """Return the text in NFC with plain quotes, plain apostrophes and single spaces. Case and punctuation stay."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_APOSTROPHES).translate(_QUOTES).split())


def normalize_forms(text: str) -> str:
    """Return English words as :func:`normalize_english` does, and words with digits or signs as they are written.

    This is the written side of text normalization: ``Due on 3/4!`` becomes ``due on 3/4``.
    """
    return " ".join(filter(None, map(_form_or_words, tidy(text).split())))


def _form_or_words(word: str) -> str:
    is_form = any(sign.isdigit() or unicodedata.category(sign).startswith("S") for sign in word)
    return word.strip(_AROUND_WORDS).lower() if is_form else normalize_english(word)


def _lower(text: str) -> str:
    return " ".join(text.lower().split())


AS_WRITTEN = "as written"
# By the name that checkpoints store; the one that changes most comes first.
NORMALIZATIONS: Mapping[str, Callable[[str], str]] = {
    "english words": normalize_english,
    "words": normalize,
    "turkish words": lambda text: normalize(text, "tr"),
    "english forms": normalize_forms,
    "lower case": _lower,
    AS_WRITTEN: lambda text: text,
}


def find_normalization(texts: Iterable[str], symbols: Iterable[str] = ()) -> str | None:
    """Return the first of :data:`NORMALIZATIONS` that leaves the texts as they are, None if there is no text.

    Args:
        symbols: pieces of the vocabulary. A letter with an accent in them speaks against English.
    """
    left = [name for name in NORMALIZATIONS if name != "turkish words"]
    if any(normalize_english(symbol) != normalize(symbol) for symbol in symbols):
        left.remove("english words")
    count = dotless = 0
    for text in filter(str.strip, texts):
        left = [name for name in left if NORMALIZATIONS[name](text) == text]
        count += 1
        dotless += "ı" in text
    if not count:
        return None
    return "turkish words" if left[0] == "words" and dotless > _DOTLESS_SHARE * count else left[0]


def sampled(count: int) -> list[int]:
    """Return at most :data:`SAMPLE` of ``count`` places, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, SAMPLE).round().astype(int)).tolist() if count else []


def decoded_sample(sentences: Sequence[Any], vocabulary: Any) -> list[str]:
    """Return the text of at most :data:`SAMPLE` sentences, evenly spaced, without those with unknown pieces.

    Args:
        sentences: each as ids (tokens,), ending in ``</s>``.
        vocabulary: the ``Vocabulary`` of the ids.
    """
    unknown = vocabulary.dictionary.unk()
    rows = (sentences[place][:-1] for place in sampled(len(sentences)))
    return [vocabulary.decode(row) for row in rows if not (row == unknown).any()]
