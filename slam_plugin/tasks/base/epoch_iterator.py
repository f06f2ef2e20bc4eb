"""fairseq's epoch iterator for fine-tuning, which knows the data that it is a position in."""

from collections.abc import Mapping
from typing import Any, Self

from fairseq.data.iterators import EpochBatchIterator

from slam_plugin.data.errors import DataError

_AFRESH = "start the epoch anew with --reset-dataloader"


class FineTuningIterator(EpochBatchIterator):
    """An :class:`EpochBatchIterator` whose state holds hashes of the training data.

    fairseq keeps only a position: in the middle of an epoch it is one of other batches if the data has changed.
    """

    data: Mapping[str, str]

    @classmethod
    def of(cls, iterator: EpochBatchIterator, data: Mapping[str, str]) -> Self:
        """Return ``iterator`` as one of this class. ``data`` are hashes by file."""
        made = cls.__new__(cls)
        vars(made).update(vars(iterator))
        made.data = dict(data)
        return made

    def state_dict(self) -> dict[str, Any]:
        """Return fairseq's position, the hashes of the data, and the number of batches on each rank."""
        return {**super().state_dict(), "data": self.data, "batches": len(self)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to the position of a checkpoint. Raises :class:`DataError` if it is in an epoch of other data or batches.

        Between two epochs, data may change.
        """
        if state_dict.get("iterations_in_epoch", 0) and "data" in state_dict:
            self._check(state_dict["data"], state_dict["batches"])
        super().load_state_dict(state_dict)

    def _check(self, data: Mapping[str, str], batches: int) -> None:
        changed = [name for name in dict.fromkeys([*data, *self.data]) if data.get(name) != self.data.get(name)]
        if changed:
            raise DataError(
                f"{', '.join(changed)}: changed since the checkpoint was written in the middle of an epoch; undo that, "
                f"or {_AFRESH}"
            )
        if batches != len(self):
            raise DataError(
                f"the checkpoint was written in the middle of an epoch of {batches} batches on each rank; found "
                f"{len(self)} now: use the same flags of batches and the same number of ranks, or {_AFRESH}"
            )
