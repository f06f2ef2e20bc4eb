"""Speech with its transcript, or sometimes with a false one (for speech-text matching)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.randomness import generator
from slam_plugin.data.shards.base import Setting
from slam_plugin.data.shards.speech import SpeechShard
from slam_plugin.data.shards.text import collate_text, mask_text
from slam_plugin.data.text.normalization import sampled
from slam_plugin.modules.ctc_paths import Paths, find_paths

FALSE_SHARE = 0.5
BOTH = "both"  # partners of a transcript
DRAWS = 100


class PairsShard(SpeechShard):
    """Rows of a manifest with ``tgt_text``, the transcript. Lengths are log-mel frames."""

    kind = "pairs"
    text_columns = ("tgt_text",)

    def __init__(self, manifest: Manifest, root: Path, setting: Setting, budget: int) -> None:
        super().__init__(manifest, root, setting, budget)
        dictionary = setting.vocabulary.dictionary
        self.bos, self.eos, self.pad = dictionary.bos(), dictionary.eos(), dictionary.pad()
        if setting.masking.false_pairs == "text" and setting.text is None:
            raise DataError("objectives.stm.negatives: found 'text', expected a corpus of kind text to draw from")

    def texts(self) -> list[str]:
        return [self.manifest.value(row, "tgt_text") for row in sampled(len(self.manifest))]

    def item(self, index: int, cycle: int) -> dict[str, Any]:
        """Return the speech item, its transcript, and whether it gets a false transcript."""
        item = super().item(index, cycle)
        rng = generator(*item["key"], "false_pair")
        item["transcript"] = self.manifest.value(index, "tgt_text")
        single = self.masking.false_pairs is not None and self.masking.partners != BOTH
        item["false"] = single and rng.random() < FALSE_SHARE
        return item

    def padded(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the speech batch, the text batch, and matches (batch,), True if the transcript is the utterance's own.

        If each transcript has both partners, false_partners (batch,) are the rows of the false ones, -1 for none.
        """
        sides, spans, dictionary = [], self.masking.text_mask, self.setting.vocabulary.dictionary
        for i, item in enumerate(items):
            tokens = self._false_tokens(i, items) if item["false"] else self._encode(item["transcript"])
            sides.append(mask_text(tokens, item["key"], spans, dictionary))
        matches = torch.tensor([not item["false"] for item in items])
        batch = {**super().padded(items), **collate_text(sides, self.pad), "matches": matches}
        if self.masking.partners == BOTH:
            draws = [generator(*item["key"], "false_partner") for item in items]
            partners = [self._false_partner(i, items, rng) for i, rng in enumerate(draws)]
            batch["false_partners"] = torch.tensor([-1 if row is None else row for row in partners])
        return {**batch, **self._paths(items, sides, batch).entries()}

    def _paths(
        self, items: Sequence[Mapping[str, Any]], sides: Sequence[Mapping[str, Any]], batch: Mapping[str, Any]
    ) -> Paths:
        """Return which true pairs have a CTC path. A path contains neither <s> nor </s>."""
        states = torch.tensor([self.setting.front_end.states_of(len(item["features"])) for item in items])
        tokens = torch.tensor([len(side["tokens"]) - 2 for side in sides])
        targets = batch["token_targets"][:, 1:-1]
        return find_paths(targets, torch.arange(targets.size(1)) < tokens[:, None], states, batch["matches"])

    def _encode(self, transcript: str) -> np.ndarray:
        ids = self.setting.vocabulary.encode(transcript).numpy().astype(np.int64)
        return np.concatenate(([self.bos], ids, [self.eos]))

    def _false_tokens(self, i: int, items: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Return a transcript with other words: from the batch, else the corpus, or from unpaired text."""
        own = items[i]["transcript"].split()
        rng = generator(*items[i]["key"], "false_transcript")
        if self.masking.false_pairs == "text":
            return self._false_sentence(own, rng)
        partner = self._false_partner(i, items, rng)
        if partner is not None:
            return self._encode(items[partner]["transcript"])
        for row in self._drawn_rows(rng):
            other = self.manifest.value(row, "tgt_text")
            if other.split() != own:
                return self._encode(other)
        raise DataError(f"{self.manifest.path}: no transcript found that differs from {items[i]['transcript']!r}")

    def _drawn_rows(self, rng: np.random.Generator) -> Iterator[int]:
        """Yield rows of the corpus at random, and after ``DRAWS`` of them every row, from a random one on."""
        rows = len(self.manifest)
        for _ in range(DRAWS):
            yield int(rng.integers(rows))
        # Most transcripts of a corpus may be the same command.
        first = int(rng.integers(rows))
        yield from chain(range(first, rows), range(first))

    def _false_partner(self, i: int, items: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> int | None:
        """Return the row of a pair with other words, None if the batch has none.

        A hard one is drawn from those whose utterances are closest in length to that of row ``i``.
        """
        own = items[i]["transcript"].split()
        rows = [row for row, other in enumerate(items) if other["transcript"].split() != own]
        if self.masking.false_pairs == "hard" and rows:
            gaps = [abs(len(items[row]["features"]) - len(items[i]["features"])) for row in rows]
            rows = [row for row, gap in zip(rows, gaps, strict=True) if gap == min(gaps)]
        return rows[int(rng.integers(len(rows)))] if rows else None

    def _false_sentence(self, own: list[str], rng: np.random.Generator) -> np.ndarray:
        own_ids = self._encode(" ".join(own))[1:-1]
        for _ in range(DRAWS):
            tokens = self.setting.text.tokens(int(rng.integers(len(self.setting.text))))
            # Cut to the transcript's length and without inner </s>: the form of a text must not give the answer away.
            words = tokens[(tokens != self.bos) & (tokens != self.eos)][: len(own_ids)]
            if len(words) and not np.array_equal(words, own_ids):
                return np.concatenate(([self.bos], words, [self.eos]))
        raise DataError(f"no sentence of the unpaired text found that differs from {' '.join(own)!r}")
