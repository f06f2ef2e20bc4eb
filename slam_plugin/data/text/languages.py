"""The start symbol of a decoder: ``</s>``, or the tag of the target language.

The vocabulary of a multilingual model has tags (``<lang:de>``). The target language is then that of each row's
``tgt_lang``, or one language for all rows.
"""

import numpy as np

from slam_plugin.data.errors import DataError, Fault, raise_faults
from slam_plugin.data.manifests.manifest import Manifest, line_of
from slam_plugin.data.text.vocabulary import Vocabulary

LANGUAGE_COLUMN = "tgt_lang"


def start_symbol(vocabulary: Vocabulary, language: str | None) -> int:
    """Return the start id of a text in ``language``. None is the only language of a model without tags.

    Raises :class:`DataError` if the vocabulary has tags but not for this language, or has no tags and a language is
    specified.
    """
    known = vocabulary.languages
    if language is None and not known:
        return vocabulary.dictionary.eos()
    if language in known:
        return known[language]
    found = "no language" if language is None else f"the language {language!r}"
    expected = f"one of {', '.join(known)}" if known else "none: this model writes one language and has no tags"
    raise DataError(f"{vocabulary.source}: found {found}, expected {expected}")


def start_symbols(manifest: Manifest, vocabulary: Vocabulary, language: str | None = None) -> np.ndarray:
    """Return the start id (rows,), int32, of each row's target.

    Args:
        language: language of all rows, overrides the manifest; None takes each row's ``tgt_lang`` if the vocabulary has
            tags.

    Raises :class:`DataError` that names the lines whose language has no tag, or a manifest without languages.
    """
    known = vocabulary.languages
    if language is not None or not known:
        return np.full(len(manifest), start_symbol(vocabulary, language), dtype=np.int32)
    if LANGUAGE_COLUMN not in manifest.columns:
        raise DataError(
            f"{manifest.path}: has no column {LANGUAGE_COLUMN}, and the model writes {', '.join(known)}; "
            "add it, or specify one of them by --tgt-lang"
        )
    codes, values = manifest.codes(LANGUAGE_COLUMN)
    unknown = [code for code, value in enumerate(values) if value not in known]
    raise_faults(
        [
            Fault(
                str(manifest.path),
                line_of(row),
                f"{manifest.value(row, 'id')}: found {LANGUAGE_COLUMN} {values[codes[row]]!r}, "
                f"expected one of {', '.join(known)}",
            )
            for row in np.flatnonzero(np.isin(codes, unknown)).tolist()
        ]
    )
    return np.array([known.get(value, 0) for value in values], dtype=np.int32)[codes]
