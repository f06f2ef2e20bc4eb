"""``slam_translation``: text to text: text translation and text normalization."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from fairseq.tasks import register_task
from omegaconf import MISSING, DictConfig
from torch import Tensor, nn

from slam_plugin.data.datasets.text_pairs import Side, TextPairDataset, empty_sentences
from slam_plugin.data.errors import DataError, raise_faults
from slam_plugin.data.text.classes import read_classes
from slam_plugin.data.text.languages import start_symbol
from slam_plugin.data.text.normalization import AS_WRITTEN, NORMALIZATIONS, decoded_sample
from slam_plugin.kernels.status import log_fused_paths
from slam_plugin.models.text_to_text import SlamTextToText
from slam_plugin.scoring import counts
from slam_plugin.tasks.base.fine_tuning import source_vocabulary_in, vocabulary_in
from slam_plugin.tasks.base.flag_checks import refuse_asynchronous_saves, refuse_casting
from slam_plugin.tasks.base.generation import WritingTask, WritingTaskConfig, parse_eval_args

_PAIR = re.compile(r"[^.]+\.([^.-]+)-([^.-]+)\.(?:\1|\2)\.idx")


@dataclass
class SlamTranslationTaskConfig(WritingTaskConfig):
    """Options of text-to-text: data, languages, length limits, validation scores."""

    data: str = field(
        default=MISSING,
        metadata={"help": "folder with {split}.{source}-{target}.{source,target}.{bin,idx}, dict.txt and spm.model"},
    )
    source_lang: Optional[str] = field(
        default=None,
        metadata={
            "help": "suffix of the source files (default: from the names of the one language pair in the folder)",
            "argparse_alias": "-s",
        },
    )
    target_lang: Optional[str] = field(
        default=None, metadata={"help": "suffix of the target files (default: as above)", "argparse_alias": "-t"}
    )
    tgt_lang: Optional[str] = field(
        default=None,
        metadata={"help": "language to write, if the vocabulary has tags for several (default: --target-lang)"},
    )
    max_source_positions: int = field(default=1024, metadata={"help": "maximum source length in tokens"})
    max_target_positions: int = field(default=1024, metadata={"help": "maximum target length in tokens"})
    eval_accuracy: bool = field(
        default=False,
        metadata={
            "help": "decode in validation and log accuracy, the share of entirely correct sentences; per class too if "
            "{split}.classes gives a class for each line"
        },
    )


@register_task("slam_translation", dataclass=SlamTranslationTaskConfig)
class SlamTranslationTask(WritingTask):
    """Text translation and text normalization. Decodes with any of the plugin's models that read and write text."""

    cfg: SlamTranslationTaskConfig

    @classmethod
    def setup_task(cls, cfg: SlamTranslationTaskConfig, **kwargs: Any) -> "SlamTranslationTask":
        """Return the task after all checks that need no data."""
        refuse_casting(cfg)
        refuse_asynchronous_saves(cfg)
        log_fused_paths()
        parse_eval_args(cfg.eval_args)
        if (cfg.source_lang is None) != (cfg.target_lang is None):
            raise ValueError(
                f"--source-lang {cfg.source_lang}, --target-lang {cfg.target_lang}: expected both or neither"
            )
        return cls(cfg, vocabulary_in(cfg.data), source_vocabulary_in(cfg.data))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        if "source_vocabulary" not in state_dict:
            raise DataError(
                f"{self.cfg.path or 'the checkpoint'}: found a model that does not translate text; expected "
                "slam_text_to_text, or slam_speech_to_text fine-tuned on text as well"
            )
        super().load_state_dict(state_dict)

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> Any:
        model = super().build_model(cfg, from_checkpoint)
        if not from_checkpoint and not isinstance(model, SlamTextToText):
            raise ValueError(f"--arch {cfg._name}: found with slam_translation, expected slam_text_to_text")
        whole = cfg._get_parent()
        if self.cfg.eval_accuracy and whole is not None and whole.criterion.get("report_accuracy"):
            raise ValueError(
                "--report-accuracy: found with --eval-accuracy, expected one of the two: both log accuracy"
            )
        return model

    # ---- data

    def load_dataset(self, split: str, combine: bool = False, task_cfg: Any = None, **kwargs: Any) -> None:
        """Open ``{data}/{split}.{source}-{target}``, or ``{target}-{source}``.

        Targets may be absent if the model only decodes.
        """
        source, target = self._languages()
        stems = [Path(self.cfg.data, f"{split}.{a}-{b}") for a, b in ((source, target), (target, source))]
        stem = next((stem for stem in stems if Path(f"{stem}.{source}.idx").exists()), stems[0])
        paths = Path(f"{stem}.{source}"), Path(f"{stem}.{target}")
        read = Side.open(paths[0], self.source_dictionary)
        has_target = self._trains or Path(f"{paths[1]}.idx").exists()
        written = Side.open(paths[1], self.target_dictionary) if has_target else None
        if written is not None and len(read.lengths) != len(written.lengths):
            raise DataError(
                f"{stem}: found {len(read.lengths)} sentences of {source} and {len(written.lengths)} of {target}, "
                "expected equal numbers"
            )
        if self._trains:
            raise_faults([*empty_sentences(paths[0], read), *empty_sentences(paths[1], written)])
        training = self._trains and split == self.cfg.train_subset
        if training:
            self.learn_normalization(decoded_sample(read.sentences, self.source_vocabulary), self.source_vocabulary)
        labels = Path(self.cfg.data, f"{split}.classes")
        has_classes = self._trains and self.cfg.eval_accuracy and not training and labels.exists()
        classes = read_classes(labels, len(read.lengths)) if has_classes else None
        start = self._start(target)
        self.datasets[split] = TextPairDataset(
            read, written, self.target_dictionary, start, self.cfg.seed, training, classes
        )

    def max_positions(self) -> tuple[int, int]:
        return self.cfg.max_source_positions, self.cfg.max_target_positions

    def _languages(self) -> tuple[str, str]:
        """Return the source and target suffix: from the flags, else from the one language pair in the folder."""
        if self.cfg.source_lang is not None:
            return self.cfg.source_lang, self.cfg.target_lang
        names = (_PAIR.fullmatch(path.name) for path in sorted(Path(self.cfg.data).iterdir()))
        pairs = list(dict.fromkeys(name.group(1, 2) for name in names if name))
        if len(pairs) != 1:
            found = ", ".join("-".join(pair) for pair in pairs) or "none"
            raise DataError(
                f"{self.cfg.data}: found {found}, expected files of one language pair such as train.en-de.en.idx; "
                "choose with --source-lang and --target-lang"
            )
        return pairs[0]

    def _start(self, target: str | None) -> int:
        """Return the decoder's first symbol. ``target`` is the default language if the vocabulary has tags."""
        return start_symbol(self.vocabulary, self.cfg.tgt_lang or (target if self.vocabulary.languages else None))

    # ---- scores

    @property
    def scores_text(self) -> bool:
        return super().scores_text or self.cfg.eval_accuracy

    def count(self, sample: Mapping[str, Any], hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, int]:
        found = super().count(sample, hypotheses, references)
        if self.cfg.eval_accuracy:
            classes = sample.get("class_names", ()), sample["classes"].tolist() if "classes" in sample else ()
            found.update(counts.accuracy_counts(hypotheses, references, *classes))
        return found

    def reduce_metrics(self, logging_outputs: Sequence[Mapping[str, Any]], criterion: Any) -> None:
        super().reduce_metrics(logging_outputs, criterion)
        if self.cfg.eval_accuracy:
            counts.log_accuracy(logging_outputs)

    # ---- fairseq-interactive

    def get_interactive_tokens_and_lengths(
        self, lines: Sequence[str], encode_fn: Callable[[str], str]
    ) -> tuple[list[Tensor], list[int]]:
        """Return the ids of each line, ``</s>`` included, and their counts. ``--bpe`` is ignored."""
        eos = torch.tensor([self.source_dictionary.eos()])
        normalize = NORMALIZATIONS[self.text_normalization or AS_WRITTEN]
        tokens = [torch.cat((self.source_vocabulary.encode(normalize(line)), eos)) for line in lines]
        return tokens, [len(ids) for ids in tokens]

    def build_dataset_for_inference(
        self, src_tokens: Sequence[Tensor], src_lengths: Sequence[int], constraints: Tensor | None = None
    ) -> TextPairDataset:
        """Return the lines of :meth:`get_interactive_tokens_and_lengths` as a data set without targets."""
        if constraints is not None:
            raise ValueError("--constraints: found on, expected off; this task does not support constrained decoding")
        source = Side(src_tokens, np.array(src_lengths))
        return TextPairDataset(source, None, self.target_dictionary, self._start(self.cfg.target_lang))

    def inference_step(
        self,
        generator: Any,
        models: Sequence[nn.Module],
        sample: Mapping[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
    ) -> list[list[dict[str, Tensor]]]:
        """Decode a batch. Add the start symbols if they are missing, as in fairseq-interactive."""
        inputs = sample["net_input"]
        if "prev_output_tokens" not in inputs:
            starts = torch.full_like(inputs["src_lengths"], self._start(self.cfg.target_lang))[:, None]
            sample = {**sample, "net_input": {**inputs, "prev_output_tokens": starts}}
        return super().inference_step(generator, models, sample, prefix_tokens, constraints)
