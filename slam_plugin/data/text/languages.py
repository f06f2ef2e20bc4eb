"""The symbol that a decoder starts with: ``</s>``, or the tag of the language that it is to write.

A vocabulary with tags (``<lang:de>``) is that of a model for several languages. Each row of a manifest then says in
``tgt_lang`` which it is of, or one language is asked for all rows.
"""

import numpy as np

from slam_plugin.data.errors import DataError, Fault, raise_faults
from slam_plugin.data.manifests.manifest import Manifest, line_of
from slam_plugin.data.text.vocabulary import Vocabulary

LANGUAGE_COLUMN = "tgt_lang"


def start_symbol(vocabulary: Vocabulary, language: str | None) -> int:
    """The id that a text in ``language`` starts with; None stands for the one language of a model without tags.

    Raises :class:`DataError` where the vocabulary has tags and no such language, or no tags and a language is asked.
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
    """The id (rows,), int32, that the target of each row starts with.

    Args:
        language: of all rows, whatever the manifest says; None takes each row's ``tgt_lang`` where the vocabulary has
            tags.

    Raises :class:`DataError` that names the lines whose language has no tag, or the manifest where it names none.
    """
    known = vocabulary.languages
    if language is not None or not known:
        return np.full(len(manifest), start_symbol(vocabulary, language), dtype=np.int32)
    if LANGUAGE_COLUMN not in manifest.columns:
        raise DataError(
            f"{manifest.path}: has no column {LANGUAGE_COLUMN}, and the model writes {', '.join(known)}; "
            "add it, or ask for one of them with --tgt-lang"
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
