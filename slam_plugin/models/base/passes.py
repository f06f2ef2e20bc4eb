"""The passes of a micro-batch through the trunk. Passes over the same features share the front end's states."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from torch import Tensor

from slam_plugin.modules.trunk import PLACES, Encoded, Front, Trunk
from slam_plugin.objectives.base import ALONE, AUGMENTED, CLEAN, MASKED, Objective

TOKENS = {MASKED: "tokens", CLEAN: "token_targets"}  # of the batch, by pass


def places_read(objectives: Iterable[Objective]) -> dict[str, str]:
    """Return the passes that ``objectives`` read, each with the highest of the trunk's ``PLACES`` that is read."""
    highest: dict[str, str] = {}
    for objective in objectives:
        for name, place in objective.reads.items():
            highest[name] = max(highest.get(name, place), place, key=PLACES.index)
    return highest


class Passes:
    """Runs the passes of one micro-batch by name (:mod:`slam_plugin.objectives.base`).

    Args:
        mask_vectors: what replaces masked states, (D,) or (batch, T, D); None if no speech is masked.
        places: the highest states that are read, by pass.
    """

    def __init__(
        self, trunk: Trunk, batch: Mapping[str, Any], mask_vectors: Tensor | None, places: Mapping[str, str]
    ) -> None:
        self.trunk, self.batch, self.mask_vectors, self.places = trunk, batch, mask_vectors, places

    def __call__(self, name: str) -> Encoded:
        """Run the pass ``name``."""
        batch = self.batch
        if name == AUGMENTED:
            padding_mask = batch["feature_padding_mask"]
            return self.trunk(batch["augmented_features"], padding_mask, until=self.places[name])
        if name == ALONE:
            return self.trunk(front=self._front, until=self.places[name])
        masked = name == MASKED and self.mask_vectors is not None
        return self.trunk(
            tokens=batch.get(TOKENS[name]),
            token_padding_mask=batch.get("token_padding_mask"),
            mask_indices=batch["mask_indices"] if masked else None,
            mask_vectors=self.mask_vectors if masked else None,
            front=self._front,
            until="top" if "tokens" in batch else self.places[name],
        )

    def rematched(self, name: str, encoded: Encoded, utterances: Tensor) -> Encoded:
        """Run the shared layers over each text of the pass ``name`` paired with another utterance of the batch.

        The front end and the speech encoder do not run again.

        Args:
            encoded: output of the pass.
            utterances: (batch,) row of the utterance that each text is paired with.
        """
        padding_mask = encoded.speech_padding_mask
        return self.trunk.encode_pairs(
            encoded.context[utterances],
            None if padding_mask is None else padding_mask[utterances],
            self.batch[TOKENS[name]],
            self.batch["token_padding_mask"],
        )

    @cached_property
    def _front(self) -> Front | None:
        """Return the front end's states, shared by all passes but that of augmented speech, None without speech."""
        if "features" not in self.batch:
            return None
        return self.trunk.encode_front(self.batch["features"], self.batch["feature_padding_mask"])
