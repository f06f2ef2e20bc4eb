"""Utterances and their target texts: the dataset of speech recognition and speech translation."""

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import FairseqDataset, data_utils
from torch import Tensor

from slam_plugin.data.audio import load_features, normalize
from slam_plugin.data.augmentation import Augmentation
from slam_plugin.data.manifests.manifest import Manifest, line_of
from slam_plugin.data.padding import frames_multiple, pad_stack, padded_length
from slam_plugin.data.randomness import generator
from slam_plugin.data.state_masks import collate_masks
from slam_plugin.data.text.languages import start_symbols
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd

TARGET_COLUMN, TRANSCRIPT_COLUMN = "tgt_text", "src_text"


class CtcTexts(NamedTuple):
    """Text that CTC spells: a column of the manifest, and the vocabulary that tokenizes it."""

    column: str
    vocabulary: Vocabulary


class SpeechToTextDataset(FairseqDataset):
    """Rows of a manifest as normalized log-mel features and target ids, in batches of similar length.

    Args:
        root: folder that relative audio paths are under.
        augment: augmentation of the features; None for none.
        limits: minimum and maximum number of frames of an utterance, also after a change of speed.
        ctc: text that CTC spells; a change of speed leaves enough states for it.
        seed: seed of the augmentation, whose draws depend on (seed, epoch, row) alone.
        tgt_lang: the target language; overrides the manifest (see :mod:`slam_plugin.data.text.languages`).
        shuffle: shuffle rows of equal length, so that batches differ from seed to seed (training).
        budget: maximum number of frames in a batch, padding included; None bounds only the number of utterances.
        front_end: geometry of the model's front end.
    """

    def __init__(
        self,
        manifest: Manifest,
        root: Path,
        vocabulary: Vocabulary,
        augment: Augmentation | None = None,
        seed: int = 0,
        shuffle: bool = False,
        tgt_lang: str | None = None,
        limits: tuple[int, int] = (1, sys.maxsize),
        ctc: CtcTexts | None = None,
        budget: int | None = None,
        front_end: FrontEnd = DEFAULT_FRONT_END,
    ) -> None:
        self.front_end = front_end
        self.manifest, self.root, self.augment, self.seed, self.shuffle = manifest, root, augment, seed, shuffle
        self.budget, self.frames_multiple = budget, frames_multiple()
        self.pad, self.eos = vocabulary.dictionary.pad(), vocabulary.dictionary.eos()
        self.starts = start_symbols(manifest, vocabulary, tgt_lang)
        self.frames, self.limits = manifest.column("n_frames"), limits
        self.targets = Texts(manifest, TARGET_COLUMN, vocabulary) if TARGET_COLUMN in manifest.columns else None
        self.spelled = None if ctc is None else self._spelled(ctc)
        self.transcript_pad = None if ctc is None or self.spelled is self.targets else ctc.vocabulary.dictionary.pad()
        # Lengths for batching: the maximum number of frames of each utterance after augmentation.
        self.longest = self.frames if augment is None else augment.longest(self.frames, limits[1])
        # Shared memory, so that workers that persist over epochs see it change.
        self._epoch = torch.ones(1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return :meth:`item` with the augmentation of this epoch."""
        return self.item(int(index), int(self._epoch))

    def item(self, index: int, cycle: int) -> dict[str, Any]:
        """Return one utterance, augmented by draws of (seed, cycle, index).

        Returns:
            ``id``, ``features`` (frames, 80), ``masks`` of the states if training masks any, ``start``, the decoder's
            first symbol, ``target`` (tokens,) without ``</s>`` or None without targets, and ``transcript`` (tokens,) if
            CTC spells another text than the target.
        """
        features, masks = load_features(self.manifest.value(index, "audio"), self.root), {}
        if self.augment is None:
            features = normalize(features, self.front_end)
        else:
            bounds = self._fewest_frames(index), self.limits[1]
            features, masks = self.augment(features, bounds, self.front_end, self.seed, cycle, index)
        target = None if self.targets is None else self.targets[index]
        item = {"id": index, "features": features, "masks": masks, "start": int(self.starts[index]), "target": target}
        return item if self.transcript_pad is None else {**item, "transcript": self.spelled[index]}

    def _spelled(self, ctc: CtcTexts) -> "Texts":
        return self.targets if ctc.column == TARGET_COLUMN else Texts(self.manifest, *ctc)

    def _fewest_frames(self, index: int) -> int:
        """Return the minimum number of frames of row ``index`` after a change of speed."""
        needed = 1 if self.spelled is None else int(self.spelled.states[index])
        return max(self.limits[0], self.front_end.fewest_frames(needed))

    def too_short_for_ctc(self) -> np.ndarray:
        """Return the rows too short for any CTC path: they have no gradient."""
        return np.flatnonzero(self.spelled.states > self.front_end.states_of(self.frames))

    def collater(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Pad items at the end to a batch, speech to the length of :func:`padded_length`.

        Returns:
            ``id`` (batch,), ``nsentences``, ``ntokens`` (``</s>`` included), ``target`` (batch, L) ending in ``</s>``,
            ``transcript`` (batch, symbols) if items have one, and under ``net_input``: ``features`` (batch, frames,
            80), ``padding_mask`` (batch, frames), ``prev_output_tokens`` (batch, L), which begins with the start
            symbols and without targets holds nothing else, and the masks of :func:`collate_masks`.
        """
        if not samples:
            return {}
        features = [sample["features"] for sample in samples]
        lengths = [len(f) for f in features]
        frames = padded_length(lengths, self.frames_multiple, self.budget)
        starts = [sample["start"] for sample in samples]
        previous, target, ntokens = collate_targets(starts, [s["target"] for s in samples], self.pad, self.eos)
        batch = {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "nsentences": len(samples),
            "ntokens": ntokens,
            "target": target,
            "net_input": {
                "features": pad_stack(features, 0.0, frames),
                "padding_mask": torch.arange(frames) >= torch.tensor(lengths)[:, None],
                "prev_output_tokens": previous,
                **collate_masks([sample["masks"] for sample in samples], self.front_end.states_of(frames)),
            },
        }
        if self.transcript_pad is not None:
            rows = [sample["transcript"] for sample in samples]
            batch["transcript"] = torch.nn.utils.rnn.pad_sequence(rows, True, self.transcript_pad)
        return batch

    # ---- for fairseq's batching

    def num_tokens(self, index: int) -> int:
        return int(self.longest[index])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        return self.longest[indices]

    def size(self, index: int) -> tuple[int, int]:
        """Return the number of frames, and of target tokens with ``</s>``."""
        return int(self.frames[index]), 0 if self.targets is None else int(self.targets.lengths[index]) + 1

    def ordered_indices(self) -> np.ndarray:
        """Return rows by length, longest first, so that the first batch shows whether memory suffices.

        Not numpy's global generator: fairseq makes batches once per start and seeds numpy by the epoch of that start,
        so a resumed run would have other batches.
        """
        rows = generator(self.seed, "order").permutation(len(self)) if self.shuffle else np.arange(len(self))
        return rows[np.argsort(-self.frames[rows], kind="stable")]

    def filter_indices_by_size(self, indices: np.ndarray, max_sizes: Any) -> tuple[np.ndarray, list[int]]:
        tokens = None if self.targets is None else self.targets.lengths + 1
        return data_utils.filter_paired_dataset_indices_by_size(self.frames, tokens, indices, max_sizes)

    def fingerprints(self) -> dict[str, str]:
        """Return a hash of the manifest: its columns and all their values."""
        return {str(self.manifest.path): self.manifest.fingerprint}

    def describe(self, index: int) -> str:
        """Return file, line and id of row ``index``."""
        return f"{self.manifest.path}:{line_of(index)}: {self.manifest.value(index, 'id')}"


def collate_targets(
    starts: Sequence[int], targets: Sequence[Tensor | None], pad: int, eos: int
) -> tuple[Tensor, Tensor | None, int]:
    """Return a decoder's input (batch, L), its target (batch, L) with ``</s>``, and the number of target tokens.

    Without targets the input is ``starts`` (batch, 1) and the target None.
    """
    if targets[0] is None:
        return torch.tensor(starts)[:, None], None, 0
    previous = [torch.cat((t.new_tensor([start]), t)) for start, t in zip(starts, targets, strict=True)]
    written = [torch.cat((t, t.new_tensor([eos]))) for t in targets]
    padded = [
        torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad) for rows in (previous, written)
    ]
    return padded[0], padded[1], sum(map(len, written))


class Texts:
    """The ids of all texts of a column in one array: a list of tensors takes hundreds of bytes per row.

    Attributes:
        lengths: (rows,) number of tokens.
    """

    def __init__(self, manifest: Manifest, column: str, vocabulary: Vocabulary) -> None:
        rows = [vocabulary.encode(manifest.value(i, column)).numpy().astype(np.int32) for i in range(len(manifest))]
        self.lengths = np.array([len(row) for row in rows], dtype=np.int32)
        self._ends = np.cumsum(self.lengths, dtype=np.int64)
        self._ids = np.concatenate(rows) if rows else np.empty(0, np.int32)

    @cached_property
    def states(self) -> np.ndarray:
        """Return ``slam_plugin.modules.ctc_paths.states_needed`` (rows,) of all rows.

        Not by that function: it takes padded rows, and these are millions of different lengths.
        """
        equal = np.zeros(len(self._ids) + 1, dtype=np.int64)  # repetitions before each position
        equal[2:] = np.cumsum(self._ids[1:] == self._ids[:-1])
        begins = self._ends - self.lengths
        # A row's first token does not repeat the last one of the previous row.
        return self.lengths + equal[self._ends] - equal[np.minimum(begins + 1, self._ends)]

    def __getitem__(self, index: int) -> Tensor:
        end = self._ends[index]
        return torch.from_numpy(self._ids[end - self.lengths[index] : end].astype(np.int64))
