"""SpeechStew's transcripts: the notations of its publishers, converted to one, for training and scoring.

:func:`common_notation` holds for all of them. The other functions first remove what one publisher writes besides
words. References and training texts are made by the same rules. There are no further rules of scoring: error rates
are counted on these words (``slam score``).

- Lower case, no punctuation except apostrophes within words; hyphens separate words (``twenty-one``: ``twenty one``).
- Hesitations are left out (:data:`FILLERS`), as NIST's scoring makes them optional.
- Spellings of the same answer become one word: ``mhm`` (mm-hmm, um-hum), ``uhhuh`` (uh-huh), ``uhuh`` (uh-uh).
- ``ok`` and ``o. k.`` are ``okay``; ``mr``, ``mrs``, ``dr`` are ``mister``, ``missus``, ``doctor``.
- Spelled letters are separate words (``t._v.'s``, ``T_V_'s``, ``T. V.'s``: ``t v's``); a publisher's ``TV`` stays one
  word.
- Truncated words, noises, laughter and annotations are left out.
"""

import re

from data_prep.text.normalize import normalize_english

FILLERS = frozenset(("uh", "um", "uhm", "er", "erm", "eh", "hm", "hmm", "mm", "mmm"))

_SAME = (
    (re.compile(r"\b(?:mm+|um|m)[- ]?h+u?m+\b"), "mhm"),
    (re.compile(r"\buh[- ]?huh\b"), "uhhuh"),
    (re.compile(r"\buh-uh\b"), "uhuh"),
    (re.compile(r"\bo[. ]{0,2}k\b"), "okay"),
    (re.compile(r"\.'s\b"), "'s"),
)
_TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor"}

# Brackets and blanks are matched from the first of a run on, and possessively: from each of them would take the square
# of a line's length.
_TAG = re.compile(r"<[^<>]*>")
_NOISE = re.compile(r"\[[^\[\]]*\]")
_BRACES = re.compile(r"\{[^{}]*\}")
_BRACKETS = re.compile(r"(?<!\()\(++[^()]*+\)+")
_BROKEN_OFF = re.compile(r"(?<!\S)(?:-\S*|\S+-)(?!\S)")
_CHOICE = re.compile(r"\{([^{}/]*)/[^{}]*\}")
_PARTED_SUFFIX = re.compile(r"(?<! ) ++'(s|t|re|ve|ll|d|m)(?!\S)")
_LAUGHED = re.compile(r"\[laughter-(.*)\]")
_VARIANT = re.compile(r"_\d")
_LENGTHENED = re.compile(r"(?<=[a-z]):(?=[a-z])")
_VERBALIZED = re.compile(r"^[^a-z'<]+(?=[a-z])")


def common_notation(text: str) -> str:
    """Return text of words and punctuation in the notation common to all corpora. Applying it twice changes nothing."""
    text = text.lower().replace("’", "'")
    for pattern, word in _SAME:
        text = pattern.sub(word, text)
    words = normalize_english(text).split()
    return " ".join(_TITLES.get(word, word) for word in words if word not in FILLERS)


def ami(words: list[str]) -> str:
    """Return the words of an AMI segment, given without truncated words and punctuation: ``L_C_D_'s`` is spelled."""
    return common_notation(" ".join(words).replace("_'", "'").replace("_", " "))


def switchboard(text: str) -> str:
    """Return the words of Switchboard-1 in the notation of ISIP's transcripts (ms98).

    ``[laughter-yes]`` is ``yes``, ``[wolr/world]`` was meant to be ``world``, ``{yuppiedom}`` is a new word, ``them_1``
    a pronunciation of ``them``; ``th[is]-``, ``-[an]y``, ``[noise]``, ``<b_aside>`` are left out.
    """
    return common_notation(" ".join(map(_switchboard_word, _TAG.sub(" ", text.lower()).split())))


def _switchboard_word(word: str) -> str:
    # A laughed word may itself be truncated or mispronounced.
    found = _LAUGHED.fullmatch(word)
    word = found[1] if found else word
    if word.startswith("[") and word.endswith("]") and "/" in word:
        word = word[1:-1].rpartition("/")[2]
    if word.startswith("-") or word.endswith("-") or "[" in word or "]" in word:
        return ""
    return _VARIANT.sub("", word.strip("{}"))


def fisher(text: str) -> str:
    """Return the words of Fisher without ``[laughter]``, ``<tags>`` and ``an-``. ``text`` must not hold ``(( ))``."""
    return common_notation(_without(text, _TAG, _NOISE, _BROKEN_OFF))


def hub5(text: str) -> str:
    """Return the words of Hub5'00 (STM).

    Text in brackets, optional by its rules, and ``%HESITATION`` are left out. Of ``{ one / another }`` the first is
    kept.
    """
    text = _CHOICE.sub(r"\1", text)
    text = _without(text, _BRACKETS, _TAG, _NOISE, _BRACES, _BROKEN_OFF)
    return common_notation(" ".join(word for word in text.split() if not word.startswith("%")))


def tedlium(text: str) -> str:
    """Return the words of TED-LIUM (STM): ``it 's`` is one. ``{NOISE}``, ``<sil>``, ``<unk>``, ``(2)`` are left out.

    ``<unk>`` stands for an unknown word that was spoken.
    """
    text = _without(text.lower(), _TAG, _NOISE, _BRACES, _BRACKETS, _BROKEN_OFF)
    return common_notation(_PARTED_SUFFIX.sub(r"'\1", text))


def wsj(text: str) -> str:
    r"""Return the words of WSJ (.dot), with punctuation that was read (``,COMMA``), ``*misread*`` and ``<omitted>``.

    ``fi(ve)-``, ``[door_slam]``, the pause ``.``, the ``~`` of a cut, ``:`` within long sounds, stress ``!`` and the
    escape ``\`` are left out.
    """
    text = _without(text.lower().replace("\\", ""), _NOISE)
    words = (_wsj_word(word) for word in text.split() if not word.endswith("-"))
    return common_notation(" ".join(words))


def _wsj_word(word: str) -> str:
    word = _BRACKETS.sub("", word) if not word.startswith("(") else word
    return _LENGTHENED.sub("", _VERBALIZED.sub("", word).strip("<>*~!"))


def _without(text: str, *patterns: re.Pattern[str]) -> str:
    for pattern in patterns:
        text = pattern.sub(" ", text)
    return text
