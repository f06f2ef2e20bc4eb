"""Any checkpoint of the plugin, as an object that does with speech and text what it was trained to do.

    from slam_plugin.hub import Slam
    slam = Slam.load("checkpoint_best.pt")
    print(slam)                          # what this checkpoint is, and what it can do
    slam.transcribe(["a.wav", "b.flac"])

Loading needs the one file: what the model was trained on may be gone.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.inference.batches import one_or_all
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.inference.classification import Label, Sentences, classify
from slam_plugin.inference.encoding import Attention, attention, states
from slam_plugin.inference.generation import Written, write
from slam_plugin.inference.inputs import Speech


class Slam(Checkpoint):
    """One checkpoint; :meth:`load` makes it.

    Speech is a path (a sound file, ``.npy`` features, or ``pack.zip:offset:length``), the bytes of a sound file, a pair
    (array, sample rate) with an array (samples,) or (samples, channels), or a list of these. A list gives a list,
    computed in batches of similar length. Text is a string or a list of strings; to be classified, a tuple of two is a
    pair. What cannot be used raises :class:`DataError` with the input's name, or with
    its number in the list from 0; so does a request that the checkpoint cannot serve.
    """

    def transcribe(self, speech: Speech | list[Speech], *, target: str | None = None, beam: int = 1) -> str | list[str]:
        """The words of each utterance, in its own language.

        Args:
            target: that language, of a model that writes several.
        """
        return self._texts("transcribe", "speech", speech, beam, target)

    def translate(
        self,
        speech: Speech | list[Speech] | None = None,
        *,
        text: str | list[str] | None = None,
        target: str | None = None,
        beam: int = 5,
    ) -> str | list[str]:
        """Each utterance or text in another language.

        Args:
            target: the language, of a model that translates into several.
        """
        side, inputs = _one_side("translate", speech, text)
        return self._texts("translate", side, inputs, beam, target)

    def normalize(self, text: str | list[str], *, beam: int = 5) -> str | list[str]:
        """Each text as it is read aloud, or whatever else the model was taught to make of it."""
        return self._texts("normalize", "text", text, beam)

    def classify(self, text: Sentences | list[Sentences]) -> Label | float | list[Label] | list[float]:
        """The likeliest class of each text, or of a pair of two, with its probability; of a regression its number."""
        return one_or_all(text, self.labels)

    def encode(
        self,
        *,
        speech: Speech | list[Speech] | None = None,
        text: str | list[str] | None = None,
        layer: int = -1,
        pool: bool = False,
    ) -> Tensor | list[Tensor]:
        """States (T, D), fp32 on the CPU: of speech at 25 Hz, of text for each of ``<s>``, the pieces and ``</s>``.

        Args:
            layer: the multimodal layer whose output is taken, as Python counts: 0 is the first, -1 the last.
            pool: take the mean over T, (D,).
        """
        side, inputs = _one_side("encode", speech, text)
        return one_or_all(inputs, lambda listed: self.states(side, listed, layer, pool))

    def attention(self, *, speech: Speech, text: str) -> Attention:
        """What a pre-training checkpoint attends to in ``speech`` from each piece of ``text``."""
        return attention(self, speech, text)

    # ---- streams: the result of each input in order, or the error that takes its place

    def write(
        self, ability: str, side: str, inputs: Iterable[Any], beam: int, nbest: int = 1, target: str | None = None
    ) -> Iterator[list[Written] | DataError]:
        """ "transcribe", "translate" or "normalize" any number of inputs; see :func:`write`."""
        return write(self, ability, side, inputs, beam, nbest, target)

    def states(
        self, side: str, inputs: Iterable[Any], layer: int = -1, pool: bool = False
    ) -> Iterator[Tensor | DataError]:
        """:meth:`encode` any number of inputs; ``side`` is "speech" or "text"."""
        return states(self, side, inputs, layer, pool)

    def labels(self, inputs: Iterable[Sentences]) -> Iterator[Label | float | DataError]:
        """:meth:`classify` any number of texts or pairs."""
        return classify(self, inputs)

    def _texts(self, ability: str, side: str, inputs: Any, beam: int, target: str | None = None) -> str | list[str]:
        def best(listed: list[Any]) -> Iterator[str | DataError]:
            for found in self.write(ability, side, listed, beam, target=target):
                yield found if isinstance(found, DataError) else found[0].text

        return one_or_all(inputs, best)


def _one_side(method: str, speech: Any, text: Any) -> tuple[str, Any]:
    if (speech is None) == (text is None):
        raise ValueError(f"{method}: expected one of speech and text")
    return ("speech", speech) if text is None else ("text", text)
