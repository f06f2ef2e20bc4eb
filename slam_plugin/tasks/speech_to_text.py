"""``slam_speech_to_text``: speech recognition and speech translation, by CTC or with a decoder."""

import dataclasses
import json
import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from fairseq import utils
from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING, DictConfig
from torch import Tensor, nn

import slam_plugin.criterions.ctc
import slam_plugin.optim.adamw
import slam_plugin.optim.schedule  # noqa: F401  (all three register themselves)
from slam_plugin.criterions.ctc import needed_by
from slam_plugin.data.errors import LISTED_FAULTS, DataError
from slam_plugin.data.manifest import Manifest
from slam_plugin.data.specaugment import SpecAugment
from slam_plugin.data.speech_to_text import TARGET_COLUMN, SpeechToTextDataset
from slam_plugin.data.validate import ensure_valid
from slam_plugin.data.vocabulary import DICTIONARY_FILE, MASK, MODEL_FILE, PieceDictionary, Vocabulary, join_pieces
from slam_plugin.decoding.ctc import CtcGenerator
from slam_plugin.kernels.select import log_fused_paths
from slam_plugin.models.ctc import SlamCtc
from slam_plugin.models.pretrained import load_trunk, read_earlier, settle
from slam_plugin.models.trunk_encoder import frozen_parameters
from slam_plugin.modules.subsampler import subsampled_length
from slam_plugin.tasks import validation
from slam_plugin.tasks.checks import refuse_casting, refuse_ignored_rates, refuse_waiting_exchange
from slam_plugin.tasks.ranks import first_rank_first
from slam_plugin.tasks.resuming import resumed_from

logger = logging.getLogger(__name__)


@dataclass
class SlamSpeechToTextTaskConfig(FairseqDataclass):
    """Where the data is, what is masked of it, and how validation scores it."""

    data: str = field(default=MISSING, metadata={"help": "folder with {split}.tsv, dict.txt and spm.model"})
    audio_root: Optional[str] = field(
        default=None, metadata={"help": "folder that relative audio paths are under (default: the manifest's)"}
    )
    min_source_positions: int = field(default=8, metadata={"help": "shortest utterance, in frames of 10 ms"})
    max_source_positions: int = field(default=3000, metadata={"help": "longest utterance, in frames of 10 ms"})
    max_target_positions: int = field(default=1024, metadata={"help": "longest target, in tokens"})
    specaugment: bool = field(default=False, metadata={"help": "mask training features by the five fields below"})
    freq_masks: int = field(default=SpecAugment.freq_masks, metadata={"help": "bands of mel bins to mask"})
    freq_width: int = field(default=SpecAugment.freq_width, metadata={"help": "most mel bins of a band"})
    time_masks: int = field(default=SpecAugment.time_masks, metadata={"help": "stretches of time to mask"})
    time_width: int = field(default=SpecAugment.time_width, metadata={"help": "most frames of a stretch"})
    time_share: float = field(
        default=SpecAugment.time_share, metadata={"help": "most of an utterance that one stretch may take"}
    )
    eval_wer: bool = field(default=False, metadata={"help": "decode in validation and log wer and cer"})
    eval_bleu: bool = field(default=False, metadata={"help": "decode in validation and log bleu"})
    eval_args: str = field(
        default="{}",
        metadata={"help": "how to decode in validation, as JSON such as '{\"beam\": 5}' (default: greedy)"},
    )
    eval_print_samples: bool = field(default=False, metadata={"help": "log an example of each validation batch"})
    seed: int = II("common.seed")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    train_subset: str = II("dataset.train_subset")
    save_dir: str = II("checkpoint.save_dir")
    restore_file: str = II("checkpoint.restore_file")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")
    path: Optional[str] = II("common_eval.path")


@register_task("slam_speech_to_text", dataclass=SlamSpeechToTextTaskConfig)
class SlamSpeechToTextTask(FairseqTask):
    """Speech to text, by whichever of the plugin's models.

    The checkpoint carries the vocabulary. To decode, the data folder may do without ``dict.txt`` and ``spm.model``;
    where it has them they have to be the checkpoint's.
    """

    cfg: SlamSpeechToTextTaskConfig

    def __init__(self, cfg: SlamSpeechToTextTaskConfig, vocabulary: Vocabulary | None) -> None:
        super().__init__(cfg)
        self.vocabulary = vocabulary
        # fairseq-generate asks for the dictionary before it reads the checkpoint: this one is filled then.
        self._dictionary = PieceDictionary(add_special_symbols=True) if vocabulary is None else vocabulary.dictionary
        self._generator: Any = None
        self._trains = self._ctc = False

    @classmethod
    def setup_task(cls, cfg: SlamSpeechToTextTaskConfig, **kwargs: Any) -> "SlamSpeechToTextTask":
        """Check what can be checked before any data is read."""
        refuse_casting(cfg)
        log_fused_paths()
        _parse_eval_args(cfg.eval_args)
        return cls(cfg, Vocabulary.load(cfg.data) if Vocabulary.is_in(cfg.data) else None)

    # ---- vocabulary

    @property
    def source_dictionary(self) -> None:
        return None

    @property
    def target_dictionary(self) -> Dictionary:
        return self._dictionary

    def state_dict(self) -> dict[str, Any]:
        return {} if self.vocabulary is None else {"vocabulary": self.vocabulary.state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a checkpoint's vocabulary, or refuse it where the data folder has another."""
        stored = Vocabulary.from_state(state_dict["vocabulary"], self.cfg.path or "the checkpoint")
        if self.vocabulary is None:
            self.vocabulary = stored
            vars(self._dictionary).update(vars(stored.dictionary))
        else:
            self.vocabulary.check_same(stored.hash, stored.source)

    def build_tokenizer(self, args: Any) -> None:
        """None: SentencePiece cuts text by itself."""
        return None

    def build_bpe(self, args: Any) -> Namespace:
        """What joins pieces to text, whatever ``--bpe`` says: fairseq-generate prints D- lines with it."""
        return Namespace(decode=join_pieces)

    # ---- data

    def load_dataset(self, split: str, combine: bool = False, task_cfg: Any = None, **kwargs: Any) -> None:
        """Open ``{data}/{split}.tsv``, one file a split; its audio is decoded once to check it.

        Targets may be absent where a model only decodes.
        """
        limits = self.cfg.min_source_positions, self.cfg.max_source_positions
        with first_rank_first():  # it decodes what was never checked
            manifest = Manifest.open(Path(self.cfg.data, f"{split}.tsv"))
            root = Path(self.cfg.audio_root) if self.cfg.audio_root else manifest.path.parent
            texts = (TARGET_COLUMN,) if self._trains or TARGET_COLUMN in manifest.columns else ()
            ensure_valid(manifest, root, *limits, texts, progress=True)
        training = self._trains and split == self.cfg.train_subset
        augment = self._augment() if training and self.cfg.specaugment else None
        self.datasets[split] = SpeechToTextDataset(
            manifest, root, self.vocabulary, augment, self.cfg.seed, shuffle=training
        )
        if self._trains and self._ctc:
            _warn_of_impossible(self.datasets[split])

    def max_positions(self) -> tuple[int, int]:
        return self.cfg.max_source_positions, self.cfg.max_target_positions

    def _augment(self) -> SpecAugment:
        return SpecAugment(**{f.name: self.cfg[f.name] for f in dataclasses.fields(SpecAugment)})

    # ---- model

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the model that ``cfg`` names; a new one takes its trunk from ``pretrained``.

        A run that resumes takes the sizes of its trunk from the checkpoint it goes on from; fairseq loads the weights.
        The fields of ``cfg`` are filled in, so that a checkpoint needs no other file.
        """
        self._trains = not from_checkpoint
        if from_checkpoint:
            cfg.compile = False  # pays in training alone
        model = super().build_model(cfg, True) if from_checkpoint else self._build_new(cfg)
        self._ctc = isinstance(model, SlamCtc)
        if self.cfg.eval_wer or self.cfg.eval_bleu:
            self._generator = self.build_generator([model], Namespace(**_parse_eval_args(self.cfg.eval_args)))
        return model

    def _build_new(self, cfg: DictConfig) -> BaseFairseqModel:
        if self.vocabulary is None:
            raise DataError(f"{self.cfg.data}: has neither {DICTIONARY_FILE} nor {MODEL_FILE}, and training needs both")
        refuse_ignored_rates(cfg)
        refuse_waiting_exchange(cfg)
        resumed = resumed_from(self.cfg)
        source = resumed or cfg.pretrained
        earlier = read_earlier(source) if source else None
        settle(cfg, earlier)
        model = super().build_model(cfg)
        if resumed:
            self.vocabulary.check_same(Vocabulary.from_state(earlier.task["vocabulary"], resumed).hash, resumed)
            if cfg.pretrained:
                logger.info("%s: not read, the run goes on from %s", cfg.pretrained, resumed)
        elif earlier:
            load_trunk(model.encoder.trunk, earlier)
        return model

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """One step that leaves a frozen trunk as it is: on several ranks its gradients are zeros, not absent."""
        for parameter in frozen_parameters(model):
            parameter.grad = None
        optimizer.step()

    # ---- decoding and scores

    def build_generator(
        self,
        models: Sequence[nn.Module],
        args: Any,
        seq_gen_cls: Any = None,
        extra_gen_cls_kwargs: Mapping[str, Any] | None = None,
        prefix_allowed_tokens_fn: Any = None,
    ) -> Any:
        """CTC search for CTC models, fairseq's generator (which never emits ``<mask>``) for the others."""
        if isinstance(models[0], SlamCtc):
            return CtcGenerator(self.target_dictionary, args.beam, models[0].blank)
        extra = {**(extra_gen_cls_kwargs or {}), "tokens_to_suppress": (MASK,)}
        return super().build_generator(models, args, seq_gen_cls, extra, prefix_allowed_tokens_fn)

    def valid_step(
        self, sample: Mapping[str, Any], model: nn.Module, criterion: Any
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """The criterion's loss and, where asked for, counts of the decoded text."""
        loss, sample_size, log = super().valid_step(sample, model, criterion)
        if self._generator is not None:
            hypotheses, references = self._decode(sample, model)
            if self.cfg.eval_wer:
                log.update(validation.error_counts(hypotheses, references))
            if self.cfg.eval_bleu:
                log.update(validation.bleu_counts(hypotheses, references))
            if self.cfg.eval_print_samples:
                logger.info("example hypothesis: %s", hypotheses[0])
                logger.info("example reference: %s", references[0])
        return loss, sample_size, log

    def _decode(self, sample: Mapping[str, Any], model: nn.Module) -> tuple[list[str], list[str]]:
        """Best hypothesis and reference of each utterance; an unknown symbol is written so that it matches nothing."""
        found = self.inference_step(self._generator, [model], sample)
        hypotheses = [self.vocabulary.decode(nbest[0]["tokens"]) for nbest in found]
        targets = [utils.strip_pad(target, self.target_dictionary.pad()) for target in sample["target"]]
        references = [join_pieces(self.target_dictionary.string(target, escape_unk=True)) for target in targets]
        return hypotheses, references

    def reduce_metrics(self, logging_outputs: Sequence[Mapping[str, Any]], criterion: Any) -> None:
        super().reduce_metrics(logging_outputs, criterion)
        if self.cfg.eval_wer:
            validation.log_errors(logging_outputs)
        if self.cfg.eval_bleu:
            validation.log_bleu(logging_outputs)


def _parse_eval_args(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--eval-args: found {text!r}, expected JSON such as '{{\"beam\": 5}}' ({error})") from error
    return {"beam": 1, **options}


def _warn_of_impossible(dataset: SpeechToTextDataset) -> None:
    """Name the rows that CTC can give no path to: they have no gradient."""
    states = [subsampled_length(frames) for frames in dataset.frames.tolist()]
    needed = [needed_by(dataset.targets[i]) for i in range(len(dataset))]
    rows = [i for i in range(len(dataset)) if needed[i] > states[i]]
    if not rows:
        return
    lines = [
        f"{dataset.describe(i)}: has {states[i]} states, its target needs {needed[i]}" for i in rows[:LISTED_FAULTS]
    ]
    if len(rows) > len(lines):
        lines.append(f"... and {len(rows) - len(lines)} more")
    logger.warning("%d utterances are too short for CTC and count as zero loss:\n%s", len(rows), "\n".join(lines))
