"""``slam_pretraining``: the trunk and its pre-training objectives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.models import BaseFairseqModel, register_model, register_model_architecture
from torch import Tensor, nn

import slam_plugin.objectives  # noqa: F401  (registers them)
from slam_plugin.data.constants import MEL_BINS
from slam_plugin.data.text.pieces import word_starts
from slam_plugin.data.text.vocabulary import check_hashes
from slam_plugin.models.base.passes import Passes, places_read
from slam_plugin.models.base.presets import SIZES, set_size
from slam_plugin.models.base.teacher import Teacher
from slam_plugin.models.base.trunk import autocast, build_trunk
from slam_plugin.models.base.trunk_schedule import ScheduledTrunkConfig, TrunkSchedule
from slam_plugin.modules.trunk import Trunk
from slam_plugin.objectives.base import BuildContext, MaskedPass, Output, build_objectives


@dataclass
class SlamPretrainingConfig(ScheduledTrunkConfig):
    """The trunk's configuration. Corpora and objectives are in ``corpora.yaml``."""

    dropout: float = field(default=0.0, metadata={"help": "dropout in the encoder, attention weights included"})
    mask_vectors: ChoiceEnum(["learned", "random"]) = field(
        default="learned",
        metadata={"help": "what replaces masked speech states: one learned vector, or random vectors as in w2v-BERT"},
    )


@register_model("slam_pretraining", dataclass=SlamPretrainingConfig)
class SlamPretraining(BaseFairseqModel):
    """SLAM in pre-training (Bapna et al. 2021).

    Args:
        objectives: built for this very trunk.
        config: read for ``autocast``, ``mask_vectors`` and the fields of :class:`ScheduledTrunkConfig`.
        vocabulary_hash: of the text vocabulary, in hexadecimal; it is saved with the weights.
    """

    def __init__(
        self, trunk: Trunk, objectives: nn.ModuleDict, config: SlamPretrainingConfig, vocabulary_hash: str
    ) -> None:
        super().__init__()
        self.trunk, self.objectives, self.config = trunk, objectives, config
        learned = str(config.mask_vectors) == "learned"
        self.speech_mask = nn.Parameter(torch.empty(trunk.dim).uniform_()) if learned else None
        # The text embedding learns with the heads: it is the output layer of those that predict text.
        layers = [p for name, p in trunk.named_parameters() if not name.startswith("text_embedding.")]
        self.schedule = TrunkSchedule(layers, config)
        self.register_buffer("vocabulary_hash", torch.tensor(list(bytes.fromhex(vocabulary_hash)), dtype=torch.uint8))

    @classmethod
    def build_model(cls, cfg: SlamPretrainingConfig, task: Any) -> "SlamPretraining":
        """Build from a configuration that the task has resolved: every field of the trunk is filled in."""
        dictionary = task.source_dictionary
        trunk = build_trunk(cfg, len(dictionary), dictionary.pad())
        context = BuildContext(
            dim=trunk.dim,
            features=MEL_BINS,
            front_end=trunk.front_end,
            text_embedding=trunk.text_embedding.tokens,
            token_counts=torch.tensor(dictionary.count),
            word_starts=torch.tensor(word_starts(dictionary.symbols)),
            bos=dictionary.bos(),
            eos=dictionary.eos(),
            teacher=Teacher,
        )
        return cls(trunk, build_objectives(task.corpora.objectives, context), cfg, task.vocabulary.hash)

    def load_state_dict(self, state_dict: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        """Load weights as fairseq does, after a check of the vocabulary, before the embedding's shape could fail.

        Raises :class:`DataError` with both hashes if the weights belong to another vocabulary than this model's.
        """
        if "vocabulary_hash" in state_dict:  # else fairseq reports that it is missing
            hashes = state_dict["vocabulary_hash"], self.vocabulary_hash
            theirs, ours = (bytes(found.tolist()).hex() for found in hashes)
            check_hashes(ours, theirs, "this run", "the checkpoint")
        return super().load_state_dict(state_dict, *args, **kwargs)

    def set_num_updates(self, num_updates: int) -> None:
        super().set_num_updates(num_updates)
        self.schedule.set_num_updates(num_updates)

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Output]:
        """Run the passes that the objectives of this micro-batch read. Return each objective's output by name.

        An objective whose weight is 0 at the current update is skipped in training, not in validation.
        """
        if self.training:
            self.schedule.apply()
        device = next(self.parameters()).device
        generator = torch.Generator(device).manual_seed(batch["seed"])
        objectives = {
            name: objective
            for name, objective in self.objectives.items()
            if batch["kind"] in objective.kinds and (objective.weight > 0 or not self.training)
        }
        with autocast(self.config, device):
            # Drawn before any pass, so that the draws do not depend on which passes run.
            mask_vectors = self._mask_vectors(batch["mask_indices"], generator) if "mask_indices" in batch else None
            passes = Passes(self.trunk, batch, mask_vectors, places_read(objectives.values()))
            view = MaskedPass(
                batch,
                passes,
                generator,
                self.training,
                encode_states=self.trunk.encode_states,
                encode_rematched=passes.rematched,
            )
            return {name: objective(view) for name, objective in objectives.items()}

    def _mask_vectors(self, mask_indices: Tensor, generator: torch.Generator) -> Tensor:
        """Return what replaces masked states (batch, T): a learned vector (D,) or unit-variance noise (batch, T, D)."""
        if self.speech_mask is not None:
            return self.speech_mask
        shape = (*mask_indices.shape, self.trunk.dim)
        return torch.randn(shape, generator=generator, device=mask_indices.device)

    def max_positions(self) -> None:
        """Return None: length limits belong to the corpora."""
        return None


for _size in SIZES:
    register_model_architecture("slam_pretraining", f"slam_pretraining_{_size}")(set_size(_size))
