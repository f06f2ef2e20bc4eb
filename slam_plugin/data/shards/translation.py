"""Translated speech and translated text, for joint fine-tuning to translation (Bapna et al. 2022)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slam_plugin.data.augmentation import Augmentation
from slam_plugin.data.datasets.speech_to_text import TARGET_COLUMN, CtcTexts, SpeechToTextDataset
from slam_plugin.data.datasets.text_pairs import Side, TextPairDataset, empty_sentences
from slam_plugin.data.errors import DataError, raise_faults
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.options import Option
from slam_plugin.data.randomness import seed_of
from slam_plugin.data.shards.limits import checked_limits
from slam_plugin.data.text.indexed import index_hash
from slam_plugin.data.text.languages import start_symbol
from slam_plugin.data.text.normalization import decoded_sample
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd


@dataclass(frozen=True)
class TranslationSetting:
    """Arguments for opening these corpora besides their sections of ``corpora.yaml``.

    Attributes:
        seed: seed of all random draws.
        stream: name of the corpus and its shard; each has random draws of its own.
        vocabulary: vocabulary of the translations; ``source_vocabulary`` is that of the source text.
        augment: augmentation of the speech; None for none.
        max_target: maximum number of tokens of a translation, ``</s>`` included.
        ctc: text that CTC spells besides the decoder; None without CTC.
        front_end: geometry of the model's front end.
    """

    seed: int
    stream: str
    vocabulary: Vocabulary
    source_vocabulary: Vocabulary
    augment: Augmentation | None
    max_target: int
    ctc: CtcTexts | None = None
    front_end: FrontEnd = DEFAULT_FRONT_END


class SpeechTranslationShard:
    """Rows of a manifest with ``tgt_text``, and ``tgt_lang`` if the vocabulary has tags. Lengths are frames."""

    kind = "speech_translation"
    options = {"audio_root": Option(Path, None), "tgt_lang": Option(str, None)}
    suffixes = ("",)

    def __init__(self, dataset: SpeechToTextDataset) -> None:
        self.dataset = dataset
        self.lengths = dataset.longest

    @classmethod
    def open(cls, config: Any, path: Path, setting: TranslationSetting) -> "SpeechTranslationShard":
        manifest = Manifest.open(path)
        root = config.options["audio_root"] or path.parent
        columns = (TARGET_COLUMN,) if setting.ctc is None else (TARGET_COLUMN, setting.ctc.column)
        limits = checked_limits(config, manifest, root, setting.front_end, columns)
        seed = seed_of(setting.seed, cls.kind, setting.stream)
        dataset = SpeechToTextDataset(
            manifest,
            root,
            setting.vocabulary,
            setting.augment,
            seed,
            tgt_lang=config.options["tgt_lang"],
            limits=limits,
            ctc=setting.ctc,
            budget=config.budget,
            front_end=setting.front_end,
        )
        longest = int(np.argmax(dataset.targets.lengths))
        if dataset.targets.lengths[longest] + 1 > setting.max_target:
            raise DataError(
                f"{dataset.describe(longest)}: {TARGET_COLUMN} has {dataset.targets.lengths[longest] + 1} tokens, "
                f"expected at most {setting.max_target} (--max-target-positions)"
            )
        return cls(dataset)

    def texts(self) -> list[str]:
        return []

    @classmethod
    def fingerprint_of(cls, path: Path) -> str:
        return Manifest.open(path).fingerprint

    def item(self, index: int, cycle: int) -> dict[str, Any]:
        return self.dataset.item(index, cycle)

    def describe(self, index: int) -> str:
        return self.dataset.describe(index)

    def collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the batch of :meth:`SpeechToTextDataset.collater` with its kind and sizes."""
        frames = sum(len(item["features"]) for item in items)
        return {"kind": self.kind, "n_frames": frames, "n_tokens": 0, **self.dataset.collater(items)}


class TextTranslationShard:
    """Two memory-mapped texts, aligned line by line. Lengths are tokens of the longer side.

    The files are ``PATH.source`` and ``PATH.target``, as fairseq-preprocess names them for ``--source-lang source
    --target-lang target``. ``tgt_lang`` is the language of the target if its vocabulary has tags.
    """

    kind = "text_translation"
    options = {"tgt_lang": Option(str, None)}
    suffixes = (".source.bin", ".source.idx", ".target.bin", ".target.idx")

    def __init__(self, dataset: TextPairDataset, source_vocabulary: Vocabulary) -> None:
        self.dataset, self._source_vocabulary = dataset, source_vocabulary
        self.lengths = dataset.num_tokens_vec(np.arange(len(dataset)))

    @classmethod
    def open(cls, config: Any, path: Path, setting: TranslationSetting) -> "TextTranslationShard":
        paths = Path(f"{path}.source"), Path(f"{path}.target")
        source = Side.open(paths[0], setting.source_vocabulary.dictionary)
        target = Side.open(paths[1], setting.vocabulary.dictionary)
        found = len(source.lengths), len(target.lengths)
        if found[0] != found[1]:
            raise DataError(
                f"{path}: found {found[0]} sentences of the source and {found[1]} of the target, "
                "expected the same number"
            )
        raise_faults([*empty_sentences(paths[0], source), *empty_sentences(paths[1], target)])
        if config.max_length > setting.max_target:
            raise DataError(
                f"corpora.{config.name}.max_length: found {config.max_length}, expected at most {setting.max_target} "
                "(--max-target-positions)"
            )
        start = start_symbol(setting.vocabulary, config.options["tgt_lang"])
        dataset = TextPairDataset(source, target, setting.vocabulary.dictionary, start)
        return cls(dataset, setting.source_vocabulary)

    def texts(self) -> list[str]:
        return decoded_sample(self.dataset.source, self._source_vocabulary)

    @classmethod
    def fingerprint_of(cls, path: Path) -> str:
        return f"{index_hash(f'{path}.source')}-{index_hash(f'{path}.target')}"

    def item(self, index: int, cycle: int) -> dict[str, Any]:
        return self.dataset[index]

    def describe(self, index: int) -> str:
        return self.dataset.describe(index)

    def collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the batch of :meth:`TextPairDataset.collater` with its kind and sizes."""
        tokens = sum(len(item["source"]) for item in items)
        return {"kind": self.kind, "n_frames": 0, "n_tokens": tokens, **self.dataset.collater(items)}
