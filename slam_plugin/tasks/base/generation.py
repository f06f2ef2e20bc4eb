"""The base of tasks that generate text: search, decoded text, and its scores in validation."""

import json
import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fairseq import utils
from omegaconf import DictConfig
from torch import Tensor, nn

from slam_plugin.data.errors import DataError
from slam_plugin.data.text.pieces import join_pieces
from slam_plugin.data.text.vocabulary import MASK
from slam_plugin.decoding.generator import SteppingGenerator
from slam_plugin.scoring import counts
from slam_plugin.tasks.base.bad_updates import describe_rows
from slam_plugin.tasks.base.fine_tuning import FineTuningTask, FineTuningTaskConfig

logger = logging.getLogger(__name__)


@dataclass
class WritingTaskConfig(FineTuningTaskConfig):
    """How validation decodes and scores."""

    eval_wer: bool = field(
        default=False, metadata={"help": "decode in validation and log word and character error rate (wer, cer)"}
    )
    eval_bleu: bool = field(default=False, metadata={"help": "decode in validation and log BLEU (bleu)"})
    eval_args: str = field(
        default="{}",
        metadata={"help": "search options in validation, as JSON such as '{\"beam\": 5}' (default: greedy)"},
    )
    eval_print_samples: bool = field(
        default=False, metadata={"help": "log a hypothesis and its reference from each validation batch"}
    )


class StartingGenerator(SteppingGenerator):
    """fairseq's search, with a start symbol for each sentence: the first of its ``prev_output_tokens``.

    That is ``</s>``, as always in fairseq, or the tag of the language to write.
    """

    def _generate(
        self,
        sample: dict[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
        bos_token: int | None = None,
    ) -> list[list[dict[str, Tensor]]]:
        starts = sample["net_input"]["prev_output_tokens"][:, 0]
        return super()._generate(sample, prefix_tokens, constraints, starts.repeat_interleave(self.beam_size))


class WritingTask(FineTuningTask):
    """A task whose models generate text, with fairseq's search or their own (``model.build_search``)."""

    cfg: WritingTaskConfig
    _generator: Any = None  # for validation

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> Any:
        model = super().build_model(cfg, from_checkpoint)
        if self.scores_text:
            self._generator = self.build_generator([model], Namespace(**parse_eval_args(self.cfg.eval_args)))
        return model

    @property
    def scores_text(self) -> bool:
        """Return whether validation decodes."""
        return self.cfg.eval_wer or self.cfg.eval_bleu

    def filter_indices_by_size(
        self,
        indices: np.ndarray,
        dataset: Any,
        max_positions: tuple[int, int] | None = None,
        ignore_invalid_inputs: bool = False,
    ) -> np.ndarray:
        """Return the rows within ``max_positions``. Others are named.

        Raises :class:`DataError` for rows to validate or decode that are longer, unless fairseq's
        ``--skip-invalid-size-inputs-valid-test`` is on. Training leaves them out, with a warning.
        """
        kept, ignored = dataset.filter_indices_by_size(indices, max_positions)
        if len(ignored) and not ignore_invalid_inputs:
            limits = " and ".join(map(str, max_positions))
            source, target = dataset.size(int(ignored[0]))
            raise DataError(
                f"{describe_rows(dataset, ignored)}: found a source of {source} and a target of {target} positions "
                f"in the first of {len(ignored)} rows that are too long, expected at most {limits} "
                "(--max-source-positions, --max-target-positions); leave them out with "
                "--skip-invalid-size-inputs-valid-test"
            )
        if len(ignored):
            named = describe_rows(dataset, ignored)
            logger.warning("left out %d of %d rows as too long: %s", len(ignored), len(indices), named)
        return kept

    def build_generator(
        self,
        models: Sequence[nn.Module],
        args: Any,
        seq_gen_cls: Any = None,
        extra_gen_cls_kwargs: Mapping[str, Any] | None = None,
        prefix_allowed_tokens_fn: Any = None,
    ) -> Any:
        """Return the model's own search, or fairseq's without ``<mask>`` and language tags in the output."""
        if hasattr(models[0], "build_search"):
            return models[0].build_search(self.target_dictionary, args.beam)
        extra = {**(extra_gen_cls_kwargs or {}), "tokens_to_suppress": (MASK, *self.vocabulary.language_tags)}
        return super().build_generator(models, args, StartingGenerator, extra, prefix_allowed_tokens_fn)

    def valid_step(
        self, sample: Mapping[str, Any], model: nn.Module, criterion: Any
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Return the criterion's loss, its sample size, and its logs with the counts of the scores asked for."""
        loss, sample_size, log = super().valid_step(sample, model, criterion)
        if self.scores_text:
            hypotheses, references = self._decode(sample, model)
            log.update(self.count(sample, hypotheses, references))
            if self.cfg.eval_print_samples:
                logger.info("example hypothesis: %s", hypotheses[0])
                logger.info("example reference: %s", references[0])
        return loss, sample_size, log

    def count(self, sample: Mapping[str, Any], hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, int]:
        """Return the sums over a validation batch that the scores need."""
        errors = counts.error_counts(hypotheses, references) if self.cfg.eval_wer else {}
        return {**errors, **(counts.bleu_counts(hypotheses, references) if self.cfg.eval_bleu else {})}

    def reduce_metrics(self, logging_outputs: Sequence[Mapping[str, Any]], criterion: Any) -> None:
        super().reduce_metrics(logging_outputs, criterion)
        if self.cfg.eval_wer:
            counts.log_errors(logging_outputs)
        if self.cfg.eval_bleu:
            counts.log_bleu(logging_outputs)

    def _decode(self, sample: Mapping[str, Any], model: nn.Module) -> tuple[list[str], list[str]]:
        """Return the best hypothesis and the reference of each sentence. Unknown symbols never count as a match."""
        found = self.inference_step(self._generator, [model], sample)
        hypotheses = [self.vocabulary.decode(nbest[0]["tokens"]) for nbest in found]
        targets = [utils.strip_pad(target, self.target_dictionary.pad()) for target in sample["target"]]
        references = [join_pieces(self.target_dictionary.string(target, escape_unk=True)) for target in targets]
        return hypotheses, references


def parse_eval_args(text: str) -> dict[str, Any]:
    """Return the search options of validation. Raises ValueError unless ``text`` is a JSON object."""
    expected = "expected a JSON object such as '{\"beam\": 5}'"
    try:
        options = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"--eval-args: found {text[:80]!r}, {expected} ({error})") from error
    if not isinstance(options, dict):
        raise ValueError(f"--eval-args: found {text[:80]!r}, {expected}")
    return {"beam": 1, **options}
