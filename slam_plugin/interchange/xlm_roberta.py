"""Word embeddings of XLM-R (Conneau et al. 2020), by piece, from a folder of transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sentencepiece import SentencePieceProcessor
from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.interchange.folders import CONFIG, Weights, read_config

CLASSES = ("XLMRobertaModel", "XLMRobertaForMaskedLM")
PIECES = "sentencepiece.bpe.model"
WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
# Ids of the embedding's first rows. They replace the model's own first symbols; its further pieces follow in order.
FIRST = ("<s>", "<pad>", "</s>", "<unk>")
_FIRST_OF_MODEL = ("<unk>", "<s>", "</s>")
_LAST = "<mask>"


class WordEmbeddings(NamedTuple):
    """The embedding's rows, and the row of each piece.

    Attributes:
        rows: (pieces, dim) in fp32.
        places: piece -> row. The padding symbol, which has no embedding here, is not among them.
    """

    rows: Tensor
    places: dict[str, int]


def read_word_embeddings(folder: Path, dim: int) -> WordEmbeddings:
    """Read the word embeddings of an XLM-R.

    Raises :class:`DataError` if the folder is of another class, such as RoBERTa, whose vocabulary is not of
    SentencePiece, if its embeddings are not of ``dim``, or if they do not fit its SentencePiece model.
    """
    config = read_config(folder, CLASSES, "xlm-roberta")
    if config.get("hidden_size") != dim:
        raise DataError(
            f"{folder / CONFIG}: hidden_size: found {config.get('hidden_size')!r}, expected {dim}, that of the speech "
            "model"
        )
    pieces = _pieces(folder / PIECES)
    weights = Weights(folder)
    names = [name for name in (WORD_EMBEDDINGS, f"roberta.{WORD_EMBEDDINGS}") if name in weights.shapes]
    if len(names) != 1:
        raise DataError(f"{folder}: found {len(names)} tensors of word embeddings, expected {WORD_EMBEDDINGS}")
    found, expected = weights.shapes[names[0]], (len(pieces), dim)
    if found != expected:
        raise DataError(f"{folder}: {names[0]}: found the shape {found}, expected {expected}: a row for each piece")
    places = {piece: place for place, piece in enumerate(pieces) if place != FIRST.index("<pad>")}
    return WordEmbeddings(weights.read(names[0]), places)


def _pieces(path: Path) -> list[str]:
    """Return the piece of each row of the embedding."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; expected the SentencePiece model of an XLM-R")
    try:
        processor = SentencePieceProcessor(model_proto=path.read_bytes())
        own = [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    except (RuntimeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no SentencePiece model ({error})") from error
    begin = tuple(own[: len(_FIRST_OF_MODEL)])
    if begin != _FIRST_OF_MODEL:
        raise DataError(f"{path}: found the first pieces {begin}, expected {_FIRST_OF_MODEL}")
    return [*FIRST, *own[len(_FIRST_OF_MODEL) :], _LAST]


def copy_rows(embeddings: WordEmbeddings, symbols: Sequence[str], target: Tensor) -> list[str]:
    """Overwrite the rows of ``target`` (symbols, dim) whose symbols are pieces. Return the symbols that are none."""
    known = [number for number, symbol in enumerate(symbols) if symbol in embeddings.places]
    target[known] = embeddings.rows[[embeddings.places[symbols[number]] for number in known]]
    return [symbol for symbol in symbols if symbol not in embeddings.places]
