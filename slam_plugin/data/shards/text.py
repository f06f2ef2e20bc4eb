"""Unpaired text: sentences, or blocks of consecutive sentences, with spans masked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary

from slam_plugin.data.errors import DataError
from slam_plugin.data.masks import corrupt_spans, span_mask
from slam_plugin.data.options import Option
from slam_plugin.data.padding import TOKENS_MULTIPLE, pad_stack, padded_length, padding_mask_of
from slam_plugin.data.randomness import generator, seed_of
from slam_plugin.data.shards.base import Setting
from slam_plugin.data.text.blocks import find_blocks
from slam_plugin.data.text.indexed import Sentences, index_hash, open_indexed
from slam_plugin.data.text.normalization import decoded_sample
from slam_plugin.data.text.pieces import word_starts
from slam_plugin.data.text.vocabulary import MASK
from slam_plugin.modules.masking import SpanMask
from slam_plugin.modules.pseudo_speech import spoken_of, stretch_of
from slam_plugin.modules.selection import pack, select_positions

MIN_BLOCK = 8  # tokens; hardly a sentence fits into fewer


class TextShard:
    """fairseq's memory-mapped text. Lengths are tokens, ``<s>`` and ``</s>`` included.

    ``block`` joins consecutive sentences of a document (documents end at an empty line) up to that many tokens, as the
    paper's text side is long text.
    """

    kind = "text"
    options = {"block": Option(int, None)}
    suffixes = (".bin", ".idx")

    def __init__(self, sentences: Sentences, block: int | None, setting: Setting, budget: int) -> None:
        """Take the maximum number of tokens in a batch, padding included, as ``budget``."""
        self.sentences, self.setting, self.budget = sentences, setting, budget
        self.masking = setting.masking
        dictionary = setting.vocabulary.dictionary
        self.bos, self.eos, self.pad = dictionary.bos(), dictionary.eos(), dictionary.pad()
        # Not at each batch: a vocabulary is long.
        self.word_starts = torch.tensor(word_starts(dictionary.symbols)) if setting.masking.pseudo_speech else None
        self.first, self.sizes = None, sentences.sizes  # of each item without <s>: first sentence, and tokens
        if block is not None:
            self.first, self.sizes = find_blocks(sentences.sizes, block - 1, f"{sentences.path}.bin")

    @classmethod
    def open(cls, config: Any, path: Path, setting: Setting) -> "TextShard":
        block = config.options["block"]
        if block is not None and block < MIN_BLOCK:
            raise DataError(f"block of {path}: found {block}, expected at least {MIN_BLOCK} tokens")
        return cls(open_indexed(path, setting.vocabulary.dictionary), block, setting, config.budget)

    @classmethod
    def fingerprint_of(cls, path: Path) -> str:
        return index_hash(path)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def lengths(self) -> np.ndarray:
        """Return lengths (items,). Computed at each call: they are not needed after the division into batches."""
        longest = int(self.sizes.max(initial=0)) + 1
        dtype = np.min_scalar_type(longest) if longest < 1 << 16 else np.int32
        return np.add(self.sizes, 1, dtype=dtype, casting="unsafe")

    def texts(self) -> list[str]:
        return decoded_sample(self.sentences, self.setting.vocabulary)

    def tokens(self, index: int) -> np.ndarray:
        """Return a whole item (length,): ``<s>``, the tokens, ``</s>``."""
        sentence = index if self.first is None else int(self.first[index])
        return np.concatenate(([self.bos], self.sentences.span(sentence, int(self.sizes[index]))))

    def item(self, index: int, cycle: int) -> dict[str, Any]:
        """Return corrupted tokens, targets and token_mask, each (length,)."""
        key = (self.setting.seed, self.kind, self.setting.stream, index, cycle)
        spans, dictionary = self.masking.text_mask, self.setting.vocabulary.dictionary
        return {"key": key, **mask_text(self.tokens(index), key, spans, dictionary)}

    def describe(self, index: int) -> str:
        """Return the file and the number of the item's first sentence, from 0."""
        sentence = index if self.first is None else int(self.first[index])
        return f"{self.sentences.path}.bin: sentence {sentence}"

    def collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return tokens, token_targets, token_mask_indices and token_padding_mask, each (batch, length), and seed.

        token_mask_indices is missing without masking, and token_padding_mask is None without padding. The lists of
        masked positions are included.
        """
        batch = {
            "kind": self.kind,
            "seed": seed_of(*(part for item in items for part in item["key"])),
            "n_frames": 0,
            **collate_text(items, self.pad, self.budget),
        }
        return {**batch, **pack(select_positions(batch, None)), **self._spoken(batch)}

    def _spoken(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entries of the batch's pseudo-speech, none if the setting has no spec."""
        spec, setting = self.masking.pseudo_speech, self.setting
        if spec is None:
            return {}
        given, draws = (batch["token_targets"], batch["token_padding_mask"]), torch.Generator()
        draws.manual_seed(batch["seed"])
        symbols, stretch = (self.bos, self.eos), stretch_of(setting.front_end)
        return spoken_of(*given, spec, self.word_starts, symbols, stretch, draws).entries()


def mask_text(
    tokens: np.ndarray, key: tuple, spans: SpanMask | None, dictionary: Dictionary
) -> dict[str, torch.Tensor]:
    """Mask spans of one item's ordinary tokens (length,), none if ``spans`` is None.

    ``<s>`` and ``</s>`` are never masked. ``key`` seeds the draws.
    """
    if spans is None:
        return {"tokens": torch.from_numpy(tokens), "token_targets": torch.from_numpy(tokens)}
    first, mask_token = dictionary.nspecial, dictionary.index(MASK)
    mask = np.zeros(len(tokens), dtype=bool)
    corrupted = tokens
    places = np.flatnonzero(tokens >= first)
    if len(places):
        rng = generator(*key, "text_mask")
        mask[places] = span_mask(rng, len(places), *spans)
        corrupted = corrupt_spans(rng, tokens, mask, mask_token, (first, mask_token))
    return {
        "tokens": torch.from_numpy(corrupted),
        "token_targets": torch.from_numpy(tokens),
        "token_mask": torch.from_numpy(mask),
    }


def collate_text(items: Sequence[Mapping[str, Any]], pad: int, budget: int | None = None) -> dict[str, Any]:
    """Pad the items of :func:`mask_text` to one batch, whose length :func:`padded_length` takes from ``budget``."""
    lengths = [len(item["tokens"]) for item in items]
    length = padded_length(lengths, TOKENS_MULTIPLE, budget)
    batch = {
        "tokens": pad_stack([item["tokens"] for item in items], pad, length),
        "token_targets": pad_stack([item["token_targets"] for item in items], pad, length),
        "token_padding_mask": padding_mask_of(lengths, length),
        "n_tokens": sum(lengths),
    }
    if "token_mask" in items[0]:
        batch["token_mask_indices"] = pad_stack([item["token_mask"] for item in items], False, length)
    return batch
