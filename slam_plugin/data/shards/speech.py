"""Unpaired speech: log-mel features and the frames to mask."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from slam_plugin.data.audio import load_features, normalize
from slam_plugin.data.manifests.manifest import Manifest, line_of
from slam_plugin.data.masks import span_mask
from slam_plugin.data.options import Option
from slam_plugin.data.padding import frames_multiple, pad_stack, padded_length, padding_mask_of
from slam_plugin.data.randomness import generator, seed_of
from slam_plugin.data.shards.base import Setting
from slam_plugin.data.shards.limits import checked_limits
from slam_plugin.data.specaugment import SpecAugment
from slam_plugin.modules.selection import pack, select_positions


class SpeechShard:
    """Rows of a manifest. Lengths are log-mel frames of 10 ms."""

    kind = "speech"
    options = {"audio_root": Option(Path, None)}
    suffixes = ("",)
    text_columns: tuple[str, ...] = ()

    def __init__(self, manifest: Manifest, root: Path, setting: Setting, budget: int) -> None:
        """Take the maximum number of frames in a batch, padding included, as ``budget``."""
        self.manifest, self.root, self.setting, self.budget = manifest, root, setting, budget
        self.masking = setting.masking
        self.lengths, self.frames_multiple = manifest.column("n_frames"), frames_multiple()

    @classmethod
    def open(cls, config: Any, path: Path, setting: Setting) -> "SpeechShard":
        manifest = Manifest.open(path)
        root = config.options["audio_root"] or path.parent
        checked_limits(config, manifest, root, setting.front_end, cls.text_columns)
        return cls(manifest, root, setting, config.budget)

    @classmethod
    def fingerprint_of(cls, path: Path) -> str:
        return Manifest.open(path).fingerprint

    def texts(self) -> list[str]:
        return []

    def item(self, index: int, cycle: int) -> dict[str, Any]:
        """Return features (frames, 80) and, if asked for, speech_mask (states,) and augmented_features (frames, 80)."""
        features = normalize(load_features(self.manifest.value(index, "audio"), self.root), self.setting.front_end)
        item = {"key": (self.setting.seed, self.kind, self.setting.stream, index, cycle), "features": features}
        if self.masking.speech_mask is not None:
            rng = generator(*item["key"], "speech_mask")
            mask = span_mask(rng, self.setting.front_end.states_of(len(features)), *self.masking.speech_mask)
            item["speech_mask"] = torch.from_numpy(mask)
        if self.masking.augmentation is not None:
            augment = SpecAugment(**self.masking.augmentation._asdict())
            item["augmented_features"] = augment(features, generator(*item["key"], "augmentation"))
        return item

    def describe(self, index: int) -> str:
        """Return file, line and id of row ``index``."""
        return f"{self.manifest.path}:{line_of(index)}: {self.manifest.value(index, 'id')}"

    def collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return :meth:`padded`, with the lists of its masked positions."""
        batch = self.padded(items)
        return {**batch, **pack(select_positions(batch, self.state_padding(items, batch)))}

    def state_padding(self, items: Sequence[Mapping[str, Any]], batch: Mapping[str, Any]) -> torch.Tensor | None:
        """Return the padding mask (batch, T) of the states that the front end makes of a batch's features."""
        states_of = self.setting.front_end.states_of
        counts = [states_of(len(item["features"])) for item in items]
        return padding_mask_of(counts, states_of(batch["features"].size(1)))

    def padded(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return features (batch, frames, 80), feature_padding_mask (batch, frames) or None, and seed.

        ``frames`` comes from :func:`padded_length`. If the setting asks for them, mask_indices (batch, T) and
        augmented_features (batch, frames, 80) are included.
        """
        lengths = [len(item["features"]) for item in items]
        frames = padded_length(lengths, self.frames_multiple, self.budget)
        batch = {
            "kind": self.kind,
            "seed": seed_of(*(part for item in items for part in item["key"])),
            "features": pad_stack([item["features"] for item in items], 0.0, frames),
            "feature_padding_mask": padding_mask_of(lengths, frames),
            "n_frames": sum(lengths),
            "n_tokens": 0,
        }
        if self.masking.speech_mask is not None:
            masks = [item["speech_mask"] for item in items]
            batch["mask_indices"] = pad_stack(masks, False, self.setting.front_end.states_of(frames))
        if self.masking.augmentation is not None:
            batch["augmented_features"] = pad_stack([item["augmented_features"] for item in items], 0.0, frames)
        return batch
