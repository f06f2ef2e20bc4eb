"""The Python API: any checkpoint of the plugin as an object that transcribes, translates, classifies or encodes.

    from slam_plugin.hub import Slam
    slam = Slam.load("checkpoint_best.pt")
    print(slam)                          # what this checkpoint is, and what it can do
    slam.transcribe(["a.wav", "b.flac"])

The checkpoint file is all that loading needs; the training data may be gone.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.decoding.options import DEFAULT_BEAMS, SearchOptions
from slam_plugin.inference.batches import one_or_all
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.inference.classification import Label, Sentences, classify
from slam_plugin.inference.encoding import Attention, Layer, attention, encode
from slam_plugin.inference.generation import Hypothesis, generate
from slam_plugin.inference.inputs import Speech
from slam_plugin.inference.recordings import Cutting, Report, transcripts
from slam_plugin.recordings.transcript import Transcript


class Slam(Checkpoint):
    """A checkpoint loaded by :meth:`load`, with a method for each ability.

    Speech is a path (a sound file, ``.npy`` features, or ``pack.zip:offset:length``), the bytes of a sound file, a pair
    (array, sample rate) with an array (samples,) or (samples, channels), or a list of these. Text is a string or a list
    of strings; a tuple of two strings is a sentence pair for :meth:`classify`. A list of inputs gives a list of
    results, computed in batches of similar length. An unusable input raises :class:`DataError` with the input's name,
    or its number in the list from 0; so does an ability that the checkpoint does not have.
    """

    def transcribe(
        self,
        speech: Speech | list[Speech],
        *,
        target: str | None = None,
        beam: int = DEFAULT_BEAMS["transcribe"],
        search: SearchOptions | None = None,
    ) -> str | list[str]:
        """Return the transcript of each recording. One of any length is cut at its pauses: see :meth:`recordings`.

        Args:
            target: the recordings' language, if the model writes several.
            search: a language model, a lexicon or hotwords, for CTC models: ``SearchOptions(lm="4gram.arpa")``.
        """
        return self._texts("transcribe", "speech", speech, beam, target, search)

    def translate(
        self,
        speech: Speech | list[Speech] | None = None,
        *,
        text: str | list[str] | None = None,
        target: str | None = None,
        beam: int = DEFAULT_BEAMS["translate"],
    ) -> str | list[str]:
        """Return a translation of each recording or text. A recording may have any length.

        Args:
            target: language to translate into, if the model has several.
        """
        side, inputs = _one_side("translate", speech, text)
        return self._texts("translate", side, inputs, beam, target)

    def normalize(self, text: str | list[str], *, beam: int = DEFAULT_BEAMS["normalize"]) -> str | list[str]:
        """Return each text normalized: as it is read aloud, or what else the model was trained to write."""
        return self._texts("normalize", "text", text, beam)

    def classify(self, text: Sentences | list[Sentences]) -> Label | float | list[Label] | list[float]:
        """Return the likeliest class of each text or pair with its probability, or its number for regression."""
        return one_or_all(text, self.classify_stream)

    def encode(
        self,
        *,
        speech: Speech | list[Speech] | None = None,
        text: str | list[str] | None = None,
        layer: Layer = -1,
        pool: bool = False,
    ) -> Tensor | list[Tensor]:
        """Return the states (T, D) of each input, fp32 on the CPU.

        Speech has 25 states a second, or 50 if the model's front end makes one of two frames. Text has one for each of
        ``<s>``, the pieces and ``</s>``.

            speech = slam.encode(speech="a.wav", layer="all", pool=True)  # (layers, D)
            text = slam.encode(text="good morning", layer="all", pool=True)
            torch.cosine_similarity(speech, text)  # (layers,)

        Args:
            layer: the multimodal layer whose output is returned: 0 is the first, -1 the last. ``"all"`` returns those
                of all layers from one pass of the model, the first layer first: (layers, T, D).
            pool: return the mean over T: (D,), or (layers, D) of all layers.
        """
        side, inputs = _one_side("encode", speech, text)
        return one_or_all(inputs, lambda listed: self.encode_stream(side, listed, layer, pool))

    def attention(self, *, speech: Speech, text: str) -> Attention:
        """Return a pre-training checkpoint's attention from each piece of ``text`` to ``speech``."""
        return attention(self, speech, text)

    def recordings(
        self,
        speech: Speech | list[Speech],
        *,
        ability: str = "transcribe",
        target: str | None = None,
        beam: int | None = None,
        cutting: Cutting | None = None,
    ) -> Transcript | list[Transcript]:
        """Return the transcript or translation of each recording with the times of its segments and words.

        A recording longer than the model takes is cut at its pauses, which needs the extra ``recordings``.

            transcript = slam.recordings("talk.m4a")
            for segment in transcript.segments:
                print(segment.start, segment.end, segment.text, segment.words)

        Args:
            ability: "transcribe" or "translate".
            beam: hypotheses kept in the search; None for those of the method of the ability's name.
        """
        kept = DEFAULT_BEAMS.get(ability, 1) if beam is None else beam  # another ability is refused below
        return one_or_all(speech, lambda listed: self.recordings_stream(ability, listed, kept, target, cutting))

    # ---- streams: iterators over the result of each input in order, or its error

    def generate_stream(
        self,
        ability: str,
        side: str,
        inputs: Iterable[Any],
        beam: int,
        nbest: int = 1,
        target: str | None = None,
        search: SearchOptions | None = None,
    ) -> Iterator[list[Hypothesis] | DataError]:
        """Yield the hypotheses of any number of inputs, best first. See :func:`generate`.

        Args:
            ability: "transcribe", "translate" or "normalize".
            side: type of the inputs, "speech" or "text".
        """
        return generate(self, ability, side, inputs, beam, nbest, target, search)

    def recordings_stream(
        self,
        ability: str,
        speech: Iterable[Speech],
        beam: int,
        target: str | None = None,
        cutting: Cutting | None = None,
        report: Report = lambda what, name, share: None,
        search: SearchOptions | None = None,
    ) -> Iterator[Transcript | DataError]:
        """Yield what :meth:`recordings` returns for any number of recordings. See :func:`transcripts`."""
        return transcripts(self, ability, speech, beam, target, cutting, report, search)

    def encode_stream(
        self, side: str, inputs: Iterable[Any], layer: Layer = -1, pool: bool = False
    ) -> Iterator[Tensor | DataError]:
        """Yield what :meth:`encode` returns for any number of inputs. ``side`` is "speech" or "text"."""
        return encode(self, side, inputs, layer, pool)

    def classify_stream(self, inputs: Iterable[Sentences]) -> Iterator[Label | float | DataError]:
        """Yield what :meth:`classify` returns for any number of texts or pairs."""
        return classify(self, inputs)

    def _texts(
        self,
        ability: str,
        side: str,
        inputs: Any,
        beam: int,
        target: str | None = None,
        search: SearchOptions | None = None,
    ) -> str | list[str]:
        def best(listed: list[Any]) -> Iterator[str | DataError]:
            if side == "speech":
                for found in self.recordings_stream(ability, listed, beam, target, search=search):
                    yield found if isinstance(found, DataError) else found.text
                return
            for found in self.generate_stream(ability, side, listed, beam, target=target):
                yield found if isinstance(found, DataError) else found[0].text

        return one_or_all(inputs, best)


def _one_side(method: str, speech: Any, text: Any) -> tuple[str, Any]:
    if (speech is None) == (text is None):
        raise ValueError(f"{method}: expected one of speech and text")
    return ("speech", speech) if text is None else ("text", text)
