"""``slam_joint_translation``: speech translation and text translation fine-tuned together, by a corpus plan."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fairseq import utils
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from omegaconf import DictConfig

from slam_plugin.data.errors import DataError
from slam_plugin.data.plan.config import Corpora
from slam_plugin.data.shards import TRANSLATION_KINDS, Shard
from slam_plugin.data.shards.translation import TranslationSetting
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.kernels.status import log_fused_paths
from slam_plugin.models.speech_to_text import SlamSpeechToText
from slam_plugin.tasks.base.fine_tuning import source_vocabulary_in, vocabulary_in
from slam_plugin.tasks.base.generation import parse_eval_args
from slam_plugin.tasks.base.planned import PlannedTask, PlannedTaskConfig, refuse_unplanned
from slam_plugin.tasks.speech_to_text import SlamSpeechToTextTask, SlamSpeechToTextTaskConfig, perturbation_of


@dataclass
class SlamJointTranslationTaskConfig(SlamSpeechToTextTaskConfig, PlannedTaskConfig):
    """Options of speech translation whose training data is listed in ``corpora.yaml``."""


@register_task("slam_joint_translation", dataclass=SlamJointTranslationTaskConfig)
class SlamJointTranslationTask(PlannedTask, SlamSpeechToTextTask):
    """Speech translation and text translation through one trunk and one decoder (mSLAM, Bapna et al. 2022).

    The train subset follows the plan. Every other subset is a manifest of speech, as in ``slam_speech_to_text``, a task
    that can also decode with this task's checkpoints.
    """

    kinds = TRANSLATION_KINDS
    last_kinds = ("speech_translation", "text_translation")
    cfg: SlamJointTranslationTaskConfig

    def __init__(
        self,
        cfg: SlamJointTranslationTaskConfig,
        vocabulary: Vocabulary | None,
        source_vocabulary: Vocabulary | None = None,
        corpora: Corpora | None = None,
    ) -> None:
        super().__init__(cfg, vocabulary, source_vocabulary)
        self.corpora = corpora

    @classmethod
    def setup_task(cls, cfg: SlamJointTranslationTaskConfig, **kwargs: Any) -> "SlamJointTranslationTask":
        """Return the task after all checks that need no data. Decoding (``--path``) needs no plan."""
        perturbation_of(cfg)
        log_fused_paths()
        parse_eval_args(cfg.eval_args)
        corpora = None
        if cfg.path is None:
            refuse_unplanned(cfg)
            corpora = cls.read_corpora(cfg, objectives={})
        return cls(cfg, vocabulary_in(cfg.data), source_vocabulary_in(cfg.data), corpora)

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        model = super().build_model(cfg, from_checkpoint)
        if not isinstance(model, SlamSpeechToText):
            raise DataError(f"--arch {cfg._name}: cannot translate; expected slam_speech_to_text")
        return model

    def setting(self, kind: str, stream: str, opened: Mapping[str, Shard]) -> TranslationSetting:
        return TranslationSetting(
            self.cfg.seed,
            stream,
            self.vocabulary,
            self.source_vocabulary,
            self.augmentation(),
            self.cfg.max_target_positions,
            self.ctc_texts,
            self.front_end,
        )

    @property
    def input_vocabulary(self) -> Vocabulary:
        return self.source_vocabulary

    def fingerprint(self) -> dict[str, str]:
        return {"vocabulary": self.vocabulary.hash, "source_vocabulary": self.source_vocabulary.hash}

    # ---- logs

    def log_of(self, kind: str, log: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the criterion's sums with loss and tokens per kind, zero for the kinds that the batch is not of."""
        parts: dict[str, Any] = {}
        for name in self.kinds:
            matches = name == kind
            parts[f"_{name}_loss"] = log["loss"] if matches else torch.zeros_like(log["loss"])
            parts[f"_{name}_tokens"] = log["ntokens"] if matches else 0
        return {**log, **parts}

    def reduce_metrics(self, logging_outputs: Sequence[Mapping[str, Any]], criterion: Any) -> None:
        """Log the parent tasks' metrics, ``speech_translation_loss`` and ``text_translation_loss`` in bits a token."""
        super().reduce_metrics(logging_outputs, criterion)
        for kind in self.kinds:
            loss, tokens = (
                sum(utils.item(log.get(f"_{kind}_{part}", 0)) for log in logging_outputs) for part in ("loss", "tokens")
            )
            if tokens:
                metrics.log_scalar(f"{kind}_loss", loss / tokens / math.log(2), tokens, round=3)
