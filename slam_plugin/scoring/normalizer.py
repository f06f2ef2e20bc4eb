"""Normalizers: what error rates and accuracy do to both sides before they compare them.

``none`` makes texts comparable and no more. ``whisper`` is the practice of Whisper (Radford et al. 2022, appendix C),
by the package whisper-normalizer, which holds OpenAI's tables: the English normalizer for English, the basic one for
every other language. ``basic`` takes the basic one for all. BLEU and chrF get texts unchanged, so no normalizer applies
to them.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

from slam_plugin.data.errors import DataError
from slam_plugin.data.extras import require_packages

NORMALIZERS = ("none", "basic", "whisper")
COMPARED_AS = "NFC, white space collapsed; case and punctuation kept"
PACKAGE = "whisper-normalizer"

# What stands for an unknown symbol, in references and in hypotheses. Whisper's normalizers would remove both marks as
# punctuation, and with them an error. Letters for private use pass.
UNKNOWN_REFERENCE, UNKNOWN_HYPOTHESIS = "\ufffd", "\u2047"
_KEPT = {UNKNOWN_REFERENCE: "\ue0fd", UNKNOWN_HYPOTHESIS: "\ue0fe"}
_HIDE = str.maketrans(_KEPT)
_SHOW = str.maketrans({letter: mark for mark, letter in _KEPT.items()})


class Normalizer(NamedTuple):
    """What is done to a text before it is compared, and the same in words."""

    apply: Callable[[str], str]
    description: str


def comparable(text: str) -> str:
    """Return the text in Unicode NFC, with runs of white space as one space and without those at its ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


PLAIN = Normalizer(comparable, COMPARED_AS)


def find_normalizer(name: str, language: str | None = None) -> Normalizer:
    """Return the normalizer of a name.

    Args:
        name: one of :data:`NORMALIZERS`.
        language: of the texts, such as ``en`` or ``en-US``. Only ``whisper`` needs it.

    Raises :class:`DataError` if ``whisper`` gets no language, or the package is not installed, and ValueError for an
    unknown name.

    Example::

        find_normalizer("whisper", "en").apply("Twenty-one colours, aren't they?")  # "21 colors are not they"
    """
    if name not in NORMALIZERS:
        raise ValueError(f"unknown normalizer {name!r}; expected one of {', '.join(NORMALIZERS)}")
    if name == "none":
        return PLAIN
    if name == "whisper" and language is None:
        raise DataError("--normalizer whisper: found no language of the texts, expected --language, such as en or de")
    english = name == "whisper" and re.split("[-_]", language)[0].lower() == "en"
    return _whisper_normalizer(english)


@cache
def _whisper_normalizer(english: bool) -> Normalizer:
    """Return one of Whisper's two normalizers, which remembers what it has normalized."""
    require_packages("--normalizer", "normalizer")
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    normalize = EnglishTextNormalizer() if english else BasicTextNormalizer()

    @cache
    def apply(text: str) -> str:
        return comparable(normalize(text.translate(_HIDE)).translate(_SHOW))

    kind = "English" if english else "basic"
    return Normalizer(apply, f"Whisper's {kind} normalizer ({PACKAGE} {version(PACKAGE)}), white space collapsed")
