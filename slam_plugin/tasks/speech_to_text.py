"""``slam_speech_to_text``: speech recognition and speech translation with CTC, a transducer or an attention decoder."""

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, List, Optional  # noqa: UP035  (fairseq makes flags of typing.List only)

import torch
from fairseq.data.iterators import EpochBatchIterator
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from omegaconf import II, MISSING, DictConfig
from torch import Tensor, nn

import slam_plugin.criterions.ctc
import slam_plugin.criterions.transducer
import slam_plugin.criterions.with_ctc  # noqa: F401  (all register themselves)
from slam_plugin.data.augmentation import Augmentation
from slam_plugin.data.constants import FRAMES_PER_SECOND, MAX_SECONDS
from slam_plugin.data.datasets.speech_to_text import TARGET_COLUMN, TRANSCRIPT_COLUMN, CtcTexts, SpeechToTextDataset
from slam_plugin.data.errors import LISTED_FAULTS
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.validate import ensure_valid
from slam_plugin.data.perturbation import Perturbation
from slam_plugin.data.specaugment import SpecAugment
from slam_plugin.data.state_masks import StateMasks
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.decoding.options import DEFAULT_LM_WEIGHT, SearchFlags, options_of
from slam_plugin.kernels.status import log_fused_paths
from slam_plugin.models.base.ctc_head import take_ctc_head
from slam_plugin.models.base.encoder import TrunkEncoder, take_mask_vector
from slam_plugin.models.base.warm_start import SourceCheckpoint
from slam_plugin.models.ctc import SlamCtc
from slam_plugin.models.speech_to_text import SlamSpeechToText
from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd
from slam_plugin.tasks.base.fine_tuning import source_vocabulary_in, vocabulary_in
from slam_plugin.tasks.base.flag_checks import refuse_asynchronous_saves, refuse_casting, refuse_half_ctc
from slam_plugin.tasks.base.generation import WritingTask, WritingTaskConfig, parse_eval_args
from slam_plugin.tasks.base.listening import listening_counts, log_listening
from slam_plugin.tasks.base.ranks import first_rank_first

logger = logging.getLogger(__name__)


@dataclass
class SlamSpeechToTextTaskConfig(WritingTaskConfig, SearchFlags):
    """Options of speech-to-text: data, length limits, augmentation, target language, validation scores, search."""

    data: str = field(default=MISSING, metadata={"help": "folder with {split}.tsv, dict.txt and spm.model"})
    audio_root: Optional[str] = field(
        default=None, metadata={"help": "folder that relative audio paths start from (default: the manifest's folder)"}
    )
    min_source_positions: int = field(default=8, metadata={"help": "minimum utterance length in frames of 10 ms"})
    max_source_positions: int = field(
        default=int(MAX_SECONDS * FRAMES_PER_SECOND), metadata={"help": "maximum utterance length in frames of 10 ms"}
    )
    max_target_positions: int = field(default=1024, metadata={"help": "maximum target length in tokens"})
    specaugment: bool = field(
        default=False,
        metadata={"help": "SpecAugment in training, by --freq-masks/-width and --time-masks/-width/-share"},
    )
    freq_masks: int = field(default=SpecAugment.freq_masks, metadata={"help": "SpecAugment: number of frequency masks"})
    freq_width: int = field(
        default=SpecAugment.freq_width, metadata={"help": "SpecAugment: maximum width of a frequency mask in mel bins"}
    )
    time_masks: int = field(default=SpecAugment.time_masks, metadata={"help": "SpecAugment: number of time masks"})
    time_width: int = field(
        default=SpecAugment.time_width,
        metadata={"help": "SpecAugment: maximum width of a time mask in frames of 10 ms"},
    )
    time_share: float = field(
        default=SpecAugment.time_share,
        metadata={"help": "SpecAugment: maximum share of an utterance that one time mask covers"},
    )
    speeds: List[float] = field(  # noqa: UP006
        default_factory=lambda: [1.0],
        metadata={"help": "speed perturbation: speeds to draw from in training, such as 0.9,1.0,1.1"},
    )
    noise_snr: List[float] = field(  # noqa: UP006
        default_factory=list,
        metadata={"help": "add noise in training, with a signal-to-noise ratio between these two values, in dB"},
    )
    eval_listening: bool = field(
        default=False,
        metadata={
            "help": "log in validation by how many nats per token the loss rises with another utterance's speech"
        },
    )
    max_tokens: Optional[int] = II("dataset.max_tokens")
    tgt_lang: Optional[str] = field(
        default=None,
        metadata={"help": "language to write, if the model has several (default: the manifest's tgt_lang)"},
    )


@register_task("slam_speech_to_text", dataclass=SlamSpeechToTextTaskConfig)
class SlamSpeechToTextTask(WritingTask):
    """Speech recognition and speech translation with any of the plugin's speech-to-text models."""

    cfg: SlamSpeechToTextTaskConfig
    ctc_texts: CtcTexts | None = None  # CTC targets in training
    front_end: FrontEnd = DEFAULT_FRONT_END  # of the model, once it is built
    _masks: StateMasks | None = None
    _transcript_vocabulary: Vocabulary | None = None

    @classmethod
    def setup_task(cls, cfg: SlamSpeechToTextTaskConfig, **kwargs: Any) -> "SlamSpeechToTextTask":
        """Return the task after all checks that need no data."""
        refuse_casting(cfg)
        refuse_asynchronous_saves(cfg)
        perturbation_of(cfg)
        log_fused_paths()
        parse_eval_args(cfg.eval_args)
        return cls(cfg, vocabulary_in(cfg.data))

    @property
    def source_dictionary(self) -> None:
        """Return None: fairseq-generate would use it to print source text, and the source is speech."""
        return None

    # ---- the vocabulary of transcripts, for CTC beside a decoder

    @property
    def transcript_vocabulary(self) -> Vocabulary | None:
        """Return the vocabulary of transcripts: the trunk's text vocabulary, or a separate one if it reads no text."""
        return self._transcript_vocabulary or self.source_vocabulary

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the vocabularies."""
        own = self._transcript_vocabulary
        return super().state_dict() | ({} if own is None else {"transcript_vocabulary": own.state()})

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take the checkpoint's vocabularies, that of transcripts whatever the data folder has."""
        others = dict(state_dict)
        own = others.pop("transcript_vocabulary", None)
        super().load_state_dict(others)
        self._transcript_vocabulary = None if own is None else Vocabulary.from_state(own)

    def _check_resumed(self, source: SourceCheckpoint) -> None:
        super()._check_resumed(source)
        if self._transcript_vocabulary is not None:
            theirs = Vocabulary.from_state(source.task["transcript_vocabulary"], source.path)
            self._transcript_vocabulary.check_same(theirs.hash, source.path)

    # ---- data

    def load_dataset(self, split: str, combine: bool = False, task_cfg: Any = None, **kwargs: Any) -> None:
        """Open the manifest ``{data}/{split}.tsv``. Audio that was never checked is decoded once.

        Targets may be absent if the model only decodes.
        """
        shortest = max(self.cfg.min_source_positions, self.front_end.fewest_frames(1))
        limits = shortest, self.cfg.max_source_positions
        with first_rank_first():  # rank 0 checks the audio, the other ranks find it checked
            manifest = Manifest.open(Path(self.cfg.data, f"{split}.tsv"))
            root = Path(self.cfg.audio_root) if self.cfg.audio_root else manifest.path.parent
            ctc = self.ctc_texts
            columns = {TARGET_COLUMN} if self._trains or TARGET_COLUMN in manifest.columns else set()
            columns |= {ctc.column} if ctc else set()
            ensure_valid(manifest, root, *limits, sorted(columns), progress=True, upper="--max-source-positions")
        training = self._trains and split == self.cfg.train_subset
        augment = self.augmentation() if training else None
        # A slowed-down utterance must fit into one batch as well: fairseq refuses longer ones.
        bounds = limits[0], min(limits[1], self.cfg.max_tokens or limits[1])
        dataset = SpeechToTextDataset(
            manifest,
            root,
            self.vocabulary,
            augment,
            self.cfg.seed,
            training,
            self.cfg.tgt_lang,
            bounds,
            ctc,
            front_end=self.front_end,
        )
        if ctc is not None:
            _warn_of_impossible(dataset)
        self.datasets[split] = dataset

    def get_batch_iterator(self, dataset: Any, max_tokens: int | None = None, **options: Any) -> EpochBatchIterator:
        """Return fairseq's iterator. ``max_tokens`` limits a batch with its padding."""
        dataset.budget = max_tokens
        return super().get_batch_iterator(dataset, max_tokens=max_tokens, **options)

    def max_positions(self) -> tuple[int, int]:
        return self.cfg.max_source_positions, self.cfg.max_target_positions

    def augmentation(self) -> Augmentation:
        """Return the augmentation set by the flags. Masks of encoder states are set by the model's."""
        perturbation, specaugment = perturbation_of(self.cfg), None
        if self.cfg.specaugment:
            specaugment = SpecAugment(**{f.name: self.cfg[f.name] for f in dataclasses.fields(SpecAugment)})
        return Augmentation(perturbation, specaugment, self._masks)

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        if from_checkpoint:
            model = super().build_model(cfg, True)
            self.front_end = model.encoder.trunk.front_end
            return model
        refuse_half_ctc(cfg)
        if options_of(self.cfg, DEFAULT_LM_WEIGHT) is not None:
            raise ValueError("--lm, --lexicon, --hotwords and the like: found in training, expected in decoding alone")
        if cfg.get("ctc_head") and self.source_vocabulary is None:
            self._transcript_vocabulary = source_vocabulary_in(self.cfg.data)
        model = super().build_model(cfg)
        if self.cfg.eval_listening and not isinstance(model, SlamSpeechToText):
            raise ValueError(f"--eval-listening: found with --arch {cfg._name}, expected slam_speech_to_text")
        self.front_end = model.encoder.trunk.front_end
        self._masks = _state_masks(model.encoder)
        self.ctc_texts = self._ctc_texts(model)
        return model

    def _ctc_texts(self, model: BaseFairseqModel) -> CtcTexts | None:
        if isinstance(model, SlamCtc):
            return CtcTexts(TARGET_COLUMN, self.vocabulary)
        beside = getattr(model, "ctc_layer", None) is not None
        return CtcTexts(TRANSCRIPT_COLUMN, self.transcript_vocabulary) if beside else None

    def take_others(self, model: BaseFairseqModel, source: SourceCheckpoint) -> Collection[str]:
        """Copy the CTC head and the mask vector from a source checkpoint. Return the names of the weights taken."""
        taken = take_mask_vector(model.encoder, source)
        ctc = self._ctc_texts(model)
        if ctc is not None:
            fresh = model.encoder.config.fresh_ctc_head
            taken += take_ctc_head(model.ctc_layer, ctc.vocabulary, source, fresh)
        return taken

    def build_generator(self, models: Sequence[nn.Module], args: Any, *others: Any, **options: Any) -> Any:
        """Return the search, for CTC models with a language model, a lexicon or hotwords if flags ask for it."""
        search = options_of(self.cfg, getattr(args, "lm_weight", DEFAULT_LM_WEIGHT))
        if search is None:
            return super().build_generator(models, args, *others, **options)
        if not isinstance(models[0], SlamCtc):
            raise ValueError("--lm, --lexicon, --hotwords and the like: found with a model that is not slam_ctc")
        return models[0].build_search(self.target_dictionary, args.beam, search)

    # ---- validation

    def valid_step(
        self, sample: Mapping[str, Any], model: nn.Module, criterion: Any
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Run the validation step, with the counts of ``listening`` if ``eval_listening`` is on."""
        loss, sample_size, log = super().valid_step(sample, model, criterion)
        if self.cfg.eval_listening:
            with torch.no_grad():
                log.update(listening_counts(model, sample, self.target_dictionary.pad()))
        return loss, sample_size, log

    def reduce_metrics(self, logging_outputs: Sequence[Mapping[str, Any]], criterion: Any) -> None:
        super().reduce_metrics(logging_outputs, criterion)
        log_listening(logging_outputs)


def perturbation_of(cfg: SlamSpeechToTextTaskConfig) -> Perturbation | None:
    """Return the speed and noise perturbation set by the flags, None if none. Raises ValueError for bad values."""
    perturbation = Perturbation(tuple(cfg.speeds), tuple(cfg.noise_snr) or None)
    return perturbation if perturbation.any else None


def _state_masks(encoder: TrunkEncoder) -> StateMasks | None:
    """Return the masks of states set in the encoder's configuration, None if none."""
    names = "state_mask_rate", "state_mask_span", "channel_mask_rate", "channel_mask_span"
    masks = StateMasks(*(encoder.config[name] for name in names), encoder.trunk.dim)
    return masks if masks.any else None


def _warn_of_impossible(dataset: SpeechToTextDataset) -> None:
    """Log the rows that are too short for any CTC path: they have no gradient."""
    rows = dataset.too_short_for_ctc()
    if not len(rows):
        return
    lines = [
        f"{dataset.describe(i)}: found {dataset.front_end.states_of(int(dataset.frames[i]))} encoder states, "
        f"expected at least {dataset.spelled.states[i]} for its text"
        for i in rows[:LISTED_FAULTS].tolist()
    ]
    if len(rows) > len(lines):
        lines.append(f"... and {len(rows) - len(lines)} more")
    logger.warning("%d utterances are too short for CTC, their loss counts as 0:\n%s", len(rows), "\n".join(lines))
