"""The vocabulary of every task: a SentencePiece model and the fairseq dictionary of its pieces."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from fairseq.data import Dictionary
from sentencepiece import SentencePieceProcessor
from torch import LongTensor, Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.data.lines import lines_in
from slam_plugin.data.text.pieces import join_pieces

MASK = "<mask>"
LANGUAGE_TAG = "<lang:{}>"
DICTIONARY_FILE, MODEL_FILE = "dict.txt", "spm.model"
_LANGUAGE = re.compile(r"<lang:(\S+)>")
_MAX_DIGITS = 18  # of a count
_SHOWN = 200  # characters of a line in an error


class PieceDictionary(Dictionary):
    """fairseq's dictionary, but strings are pieces whatever ``--post-process`` is. :func:`join_pieces` joins them."""

    def string(self, tensor: Any, bpe_symbol: str | None = None, *args: Any, **kwargs: Any) -> str:
        return super().string(tensor, None, *args, **kwargs)


class Vocabulary:
    """Conversion of text to ids and back.

    The symbols are fairseq's ``<s> <pad> </s> <unk>`` (0 to 3), the pieces in the order of the SentencePiece model
    without its control symbols, and ``<mask>``.

    Args:
        symbols: all symbols after fairseq's four, in order, with their counts in training text.
        model: serialized SentencePiece model.
        source: origin of both, for errors.
    """

    def __init__(self, symbols: Mapping[str, int], model: bytes, source: str) -> None:
        self.source = source
        self._model = model
        self._processor, pieces = _processor(model, source)
        special = [self._processor.is_control(i) or self._processor.is_unknown(i) for i in range(len(pieces))]
        own = [piece for piece, is_special in zip(pieces, special, strict=True) if not is_special]
        _check_symbols(list(symbols), [*own, MASK], source)
        self.dictionary = PieceDictionary()
        for symbol, count in symbols.items():
            self.dictionary.add_symbol(symbol, n=count)
        self._ids = np.array([self.dictionary.index(piece) for piece in pieces], dtype=np.int64)
        content = "\n".join(symbols).encode() + b"\0" + model
        self.hash: str = hashlib.sha256(content).hexdigest()

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read ``dict.txt`` and ``spm.model``. Raises :class:`DataError` if one is absent or they do not match."""
        dictionary, model = Path(folder, DICTIONARY_FILE), Path(folder, MODEL_FILE)
        for path in (dictionary, model):
            if not path.is_file():
                raise DataError(f"{path}: there is no such file; a vocabulary is {DICTIONARY_FILE} and {MODEL_FILE}")
        return cls(read_symbols(dictionary), model.read_bytes(), str(folder))

    @staticmethod
    def is_in(folder: str | Path) -> bool:
        """Return whether the folder holds a vocabulary, or part of one."""
        return Path(folder, DICTIONARY_FILE).exists() or Path(folder, MODEL_FILE).exists()

    @classmethod
    def from_state(cls, state: Mapping[str, Any], holder: str = "the checkpoint") -> Self:
        """Build the vocabulary of the :meth:`state` that ``holder`` holds."""
        return cls(dict(state["symbols"]), state["model"].numpy().tobytes(), f"{holder} (once {state['source']})")

    @property
    def model(self) -> bytes:
        """Return the serialized SentencePiece model."""
        return self._model

    def state(self) -> dict[str, Any]:
        """Return everything needed to rebuild the vocabulary, in plain types and a tensor, with its hash."""
        model = torch.from_numpy(np.frombuffer(self._model, dtype=np.uint8).copy())
        first = self.dictionary.nspecial
        symbols = dict(zip(self.dictionary.symbols[first:], self.dictionary.count[first:], strict=True))
        return {"symbols": symbols, "model": model, "hash": self.hash, "source": self.source}

    def check_same(self, other_hash: str, where: str) -> None:
        """Raise :class:`DataError` with both hashes if ``other_hash``, that of ``where``, is not ours."""
        check_hashes(self.hash, other_hash, self.source, where)

    @property
    def languages(self) -> dict[str, int]:
        """Return the languages that have tags, each with the id of its tag."""
        tags = ((symbol, _LANGUAGE.fullmatch(symbol)) for symbol in self.dictionary.symbols)
        return {found[1]: self.dictionary.index(symbol) for symbol, found in tags if found}

    @property
    def language_tags(self) -> tuple[str, ...]:
        """Return the tags: symbols that begin a translation and never occur within one."""
        return tuple(map(LANGUAGE_TAG.format, self.languages))

    def encode(self, text: str) -> LongTensor:
        """Return the ids (tokens,) of a text, without ``<s>`` and ``</s>``. Unknown characters become ``<unk>``."""
        return torch.from_numpy(self._ids[self._processor.encode(text, out_type=int)])

    def decode(self, ids: Tensor | Iterable[int]) -> str:
        """Return the text of ids, without ``<s>`` and ``</s>``."""
        return join_pieces(self.dictionary.string(torch.as_tensor(ids)))


def check_hashes(ours: str, theirs: str, source: str, where: str) -> None:
    """Raise :class:`DataError` with both hashes if the vocabularies of ``source`` and ``where`` differ."""
    if ours != theirs:
        raise DataError(
            f"two vocabularies: that of {source} has the hash {ours}, that of {where} has {theirs}; "
            "the ids of a model mean something only with the vocabulary it was trained with"
        )


def _processor(model: bytes, source: str) -> tuple[SentencePieceProcessor, list[str]]:
    """Return the processor of a serialized model, and all its pieces."""
    if not model:
        raise DataError(f"{source}: {MODEL_FILE} is no SentencePiece model (it is empty)")
    try:
        processor = SentencePieceProcessor(model_proto=model)
        return processor, [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: {MODEL_FILE} holds a piece that is not UTF-8 ({error.reason})") from error
    except RuntimeError as error:
        raise DataError(f"{source}: {MODEL_FILE} is no SentencePiece model ({error})") from error


def read_symbols(path: Path) -> dict[str, int]:
    """Read the symbols of a ``dict.txt``, each with its count. Raises :class:`DataError` that names a faulty line."""
    symbols: dict[str, int] = {}
    for number, line in enumerate(lines_in(path), start=1):
        if not line:
            continue
        symbol, _, count = line.rpartition(" ")
        if not symbol or not count.isdecimal() or len(count) > _MAX_DIGITS:
            raise DataError(f"{path}:{number}: found {line[:_SHOWN]!r}, expected a piece, a blank and a count")
        if symbol in symbols:
            raise DataError(f"{path}:{number}: found {symbol!r} a second time")
        symbols[symbol] = int(count)
    return symbols


def read_dictionary(path: Path) -> Dictionary:
    """Return the dictionary of a ``dict.txt``. Raises the errors of :func:`read_symbols`.

    Not fairseq's ``Dictionary.load``, whose errors are of several kinds and without the line.
    """
    dictionary = PieceDictionary()
    for symbol, count in read_symbols(path).items():
        dictionary.add_symbol(symbol, n=count)
    return dictionary


def _check_symbols(found: Sequence[str], expected: Sequence[str], source: str) -> None:
    if found == expected:
        return
    where = next(
        (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), min(len(found), len(expected))
    )
    at = [repr(symbols[where]) if where < len(symbols) else "nothing" for symbols in (found, expected)]
    raise DataError(
        f"{source}: {DICTIONARY_FILE} and {MODEL_FILE} do not match: line {where + 1} of {DICTIONARY_FILE} is {at[0]}, "
        f"expected {at[1]} (the pieces of {MODEL_FILE} in order without its control symbols, then {MASK})"
    )
