"""The vocabulary of a CTC model as the ``Wav2Vec2CTCTokenizer`` of transformers."""

import re
from typing import Any, NamedTuple

from slam_plugin.data.errors import DataError
from slam_plugin.data.text.pieces import WORD_START
from slam_plugin.data.text.vocabulary import MASK, Vocabulary

# The blank's name there. No piece has it, as fairseq's dictionary has a symbol of that name.
BLANK, UNKNOWN = "<pad>", "<unk>"
# Not another one: transformers 5 writes it to the tokenizer's configuration, but does not read it from there.
DELIMITER = "|"
# Of pieces longer than a character: the tokenizer loads in time that grows with their square, 1000 in seconds.
MAX_PIECES = 2000
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_INSTEAD = "expected a vocabulary of `slam vocab` without them: fine-tune with one, or use `slam transcribe`"


class Tokenizer(NamedTuple):
    """A tokenizer and the rows of the CTC layer that it names.

    Attributes:
        rows: for each of its ids, the id in the vocabulary. Id 0 is the blank. ``<pad>`` and ``</s>``, which no search
            for CTC may emit, are left out.
        files: content of each of its JSON files, by name.
        letters: whether each piece is one character. If not, the tokenizer only decodes: it would cut text into the
            longest pieces, not into those that SentencePiece chooses.
    """

    rows: list[int]
    files: dict[str, dict[str, Any]]
    letters: bool


def ctc_tokenizer(vocabulary: Vocabulary, path: str) -> Tokenizer:
    """Return a tokenizer that decodes to the same text as the vocabulary does.

    Raises :class:`DataError` with ``path``, the checkpoint, if the vocabulary has pieces for bytes, the piece ``|``
    or more than ``MAX_PIECES`` pieces.

    Example:
        The pieces ``▁ a ▁b`` become ``{"<pad>": 0, "<unk>": 1, "|": 2, "a": 3, " b": 4, "<mask>": 5}``.
    """
    dictionary = vocabulary.dictionary
    symbols = dictionary.symbols
    if any(map(_BYTE.fullmatch, symbols)):
        raise DataError(
            f"{path}: found pieces for single bytes in its vocabulary (SentencePiece's byte fallback), which "
            f"Wav2Vec2CTCTokenizer cannot join to characters; {_INSTEAD}"
        )
    if DELIMITER in symbols:
        raise DataError(
            f"{path}: found the piece {DELIMITER!r} in its vocabulary, which Wav2Vec2CTCTokenizer reads as the end of "
            f"a word; {_INSTEAD}"
        )
    pieces = [symbol for symbol in symbols[dictionary.nspecial :] if symbol not in (MASK, *vocabulary.language_tags)]
    longer = sum(len(piece) > 1 for piece in pieces)
    if longer > MAX_PIECES:
        raise DataError(
            f"{path}: found {longer:,} pieces longer than a character in its vocabulary, expected at most "
            f"{MAX_PIECES:,}: transformers would take minutes to load the tokenizer; fine-tune with a smaller "
            "vocabulary of `slam vocab`, or use `slam transcribe`"
        )
    rows = ctc_rows(vocabulary)
    names = [BLANK, UNKNOWN, *(_name(symbols[row]) for row in rows[2:])]
    config = {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "processor_class": "Wav2Vec2BertProcessor",
        "pad_token": BLANK,
        "unk_token": UNKNOWN,
        "bos_token": None,
        "eos_token": None,
        "word_delimiter_token": DELIMITER,
        "replace_word_delimiter_char": " ",
        "do_lower_case": False,  # true would capitalize what it reads
        "clean_up_tokenization_spaces": False,  # true would remove spaces before punctuation
    }
    files = {"vocab.json": {name: number for number, name in enumerate(names)}, "tokenizer_config.json": config}
    return Tokenizer(rows, files, letters=not longer)


def ctc_rows(vocabulary: Vocabulary) -> list[int]:
    """Return the rows of a CTC layer that a tokenizer names: the blank, the unknown symbol, all pieces."""
    dictionary = vocabulary.dictionary
    return [dictionary.bos(), dictionary.unk(), *range(dictionary.nspecial, len(dictionary))]


def _name(piece: str) -> str:
    """Return a piece's name there. The tokenizer replaces a delimiter only if it is a symbol of its own."""
    return DELIMITER if piece == WORD_START else piece.replace(WORD_START, " ")
