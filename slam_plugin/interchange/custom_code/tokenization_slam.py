"""The tokenizer of a SLAM recognizer: ids of CTC to text, and text to the pieces of its SentencePiece model."""

import json
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from shutil import copyfile
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizer
from transformers.utils import ModelOutput

from slam_plugin.data.text.pieces import WORD_START, join_pieces


class Emission(NamedTuple):
    """A piece, and the states over which CTC emits it, the end exclusive."""

    piece: str
    begin: int
    end: int


class SlamTokenizer(PreTrainedTokenizer):
    """A tokenizer for CTC. Decoding merges repeats and drops the blank, ``pad_token``.

    Args:
        vocab_file: JSON with the id of each piece.
        model_file: SentencePiece model that cuts text into pieces.
    """

    vocab_files_names = {"vocab_file": "vocab.json", "model_file": "spm.model"}
    model_input_names = ["input_ids", "attention_mask"]
    replace_word_delimiter_char = " "  # transformers' pipeline reads it for times of words

    def __init__(self, vocab_file: str, model_file: str, **others: Any) -> None:
        self.vocab_file, self.model_file = vocab_file, model_file
        self._ids: dict[str, int] = json.loads(Path(vocab_file).read_text(encoding="utf-8"))
        self._pieces = list(self._ids)
        super().__init__(**{"special_tokens_pattern": "none", **others})

    @property
    def vocab_size(self) -> int:
        """Return the number of pieces, the blank included."""
        return len(self._pieces)

    def get_vocab(self) -> dict[str, int]:
        """Return the id of each piece."""
        return {**self._ids, **self.added_tokens_encoder}

    def _tokenize(self, text: str, **others: Any) -> list[str]:
        return self._processor.encode(text, out_type=str)

    @cached_property
    def _processor(self) -> Any:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise ImportError("to encode text: no module sentencepiece; `pip install sentencepiece`") from error
        return SentencePieceProcessor(model_file=self.model_file)

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, self._ids[self.unk_token])

    def _convert_id_to_token(self, index: int) -> str:
        return self._pieces[index]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Return the text of pieces, each of which is meant: repeats stay."""
        return join_pieces("".join(tokens))

    def _decode(
        self,
        token_ids: int | Sequence[int],
        skip_special_tokens: bool = False,
        group_tokens: bool = True,
        output_char_offsets: bool = False,
        output_word_offsets: bool = False,
        **others: Any,
    ) -> str | ModelOutput:
        """Return the text of the ids of successive states; with offsets a ``ModelOutput`` of text and these.

        Args:
            token_ids: (T,), or (L,) ids of pieces if ``group_tokens`` is false.
            group_tokens: merge repeats.
            output_char_offsets: return ``char_offsets``, the states of each piece.
            output_word_offsets: return ``word_offsets``, the states of each word.
        """
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        emissions = self._emissions(ids, group_tokens, skip_special_tokens)
        text = self.convert_tokens_to_string([emission.piece for emission in emissions])
        if not (output_char_offsets or output_word_offsets):
            return text
        found = ModelOutput(text=text)
        if output_char_offsets:
            found["char_offsets"] = [_offset("char", emission) for emission in _spaced(emissions)]
        if output_word_offsets:
            found["word_offsets"] = self._get_word_offsets([_offset("char", each) for each in _spaced(emissions)])
        return found

    def _emissions(self, ids: Sequence[int], grouped: bool, skip_special: bool) -> list[Emission]:
        left_out = {self.pad_token_id, *(self.all_special_ids if skip_special else ())}
        found, begin = [], 0
        for number, run in groupby(ids) if grouped else ((number, (number,)) for number in ids):
            end = begin + sum(1 for _ in run)
            if number not in left_out:
                found.append(Emission(self._pieces[number], begin, end))
            begin = end
        return found

    @staticmethod
    def _get_word_offsets(offsets: Sequence[dict[str, Any]], delimiter: str = " ") -> list[dict[str, Any]]:
        """Return the offsets of words from those of characters."""
        words: list[list[dict[str, Any]]] = [[]]
        for offset in offsets:
            if offset["char"] == delimiter:
                words.append([])
            else:
                words[-1].append(offset)
        return [
            {
                "word": join_pieces("".join(offset["char"] for offset in word)),
                "start_offset": word[0]["start_offset"],
                "end_offset": word[-1]["end_offset"],
            }
            for word in words
            if word
        ]

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Copy the vocabulary and the SentencePiece model. Return their paths."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        paths = [Path(save_directory, prefix + name) for name in self.vocab_files_names.values()]
        for source, path in zip((self.vocab_file, self.model_file), paths, strict=True):
            if Path(source).resolve() != path.resolve():
                copyfile(source, path)
        return tuple(map(str, paths))


def _spaced(emissions: Sequence[Emission]) -> list[Emission]:
    """Return pieces with the space before a word, if any, as an emission of its own without length."""
    found = []
    for piece, begin, end in emissions:
        if piece.startswith(WORD_START):
            found.append(Emission(" ", begin, begin))
        rest = piece.removeprefix(WORD_START).replace(WORD_START, " ")
        if rest:
            found.append(Emission(rest, begin, end))
    return found


def _offset(name: str, emission: Emission) -> dict[str, Any]:
    return {name: emission.piece, "start_offset": emission.begin, "end_offset": emission.end}
