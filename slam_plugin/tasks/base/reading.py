"""What a checkpoint says about the text that its model reads: how the training text was normalized."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from slam_plugin.data.text.normalization import find_normalization
from slam_plugin.data.text.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

TEXT_NORMALIZATION = "text_normalization"


class ReadsText:
    """A task whose checkpoint names the normalization of its training text, in its state beside the vocabulary.

    Attributes:
        text_normalization: a name in ``NORMALIZATIONS``; None if unknown, or if no text is read.
    """

    text_normalization: str | None = None
    _learned = False

    def learn_normalization(self, texts: Sequence[str], vocabulary: Vocabulary) -> None:
        """Find the normalization that leaves some of the training texts as they are.

        It replaces that of a source checkpoint. Later shards change nothing, also in a run that resumes.
        """
        found = None if self._learned else find_normalization(texts, vocabulary.dictionary.symbols)
        if found is not None:
            self.text_normalization, self._learned = found, True
            logger.info("normalization of the input text: %s", found)

    def normalization_state(self) -> dict[str, str]:
        """Return what the task's state holds of it."""
        return {} if self.text_normalization is None else {TEXT_NORMALIZATION: self.text_normalization}

    def take_normalization(self, state: Mapping[str, Any], resumes: bool = False) -> None:
        """Take it from the state of a checkpoint.

        Args:
            resumes: whether the checkpoint is of this run, which has learned it from its first shards.
        """
        self.text_normalization = state.get(TEXT_NORMALIZATION)
        self._learned = resumes and self.text_normalization is not None
