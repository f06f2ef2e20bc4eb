"""Reading one input of a user: speech as normalized features, text as the ids of its pieces."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from torch import Tensor

from slam_plugin.data.audio import load_features, log_mel, normalize, read_audio
from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.data.datasets.sentence_prediction import MIN_POSITIONS, join_sentences
from slam_plugin.data.errors import DataError
from slam_plugin.data.lines import HOLDS_NUL
from slam_plugin.data.sound.reading import require_rate
from slam_plugin.data.text.normalization import AS_WRITTEN, NORMALIZATIONS
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.modules.front_end import FrontEnd

Speech = str | Path | bytes | tuple[np.ndarray | Tensor, int]

_WAV_TYPES = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "FLOAT"}


class Limits(NamedTuple):
    """Lengths that a model takes, None for no maximum."""

    minimum: int
    maximum: int | None

    def __contains__(self, length: int) -> bool:
        return self.minimum <= length and (self.maximum is None or length <= self.maximum)

    def __str__(self) -> str:
        return f"at least {self.minimum}" if self.maximum is None else f"{self.minimum} to {self.maximum}"


def name_of(source: object, number: int) -> str:
    """Return the name of speech in errors: its path, or its number in the list, from 0."""
    return str(source) if isinstance(source, str | Path) else f"input {number}"


# ---------------------------------------------------------------------------------------------------------------------
# speech


def read_speech(source: Speech, name: str, limits: Limits, front_end: FrontEnd) -> Tensor:
    """Return log-mel (frames, 80), normalized as the front end of the model expects it.

    Raises :class:`DataError` with ``name`` if the speech is unreadable or its length not in ``limits``.
    """
    return checked_features(_log_mel_of(source, name), name, limits, front_end)


def checked_features(features: Tensor, name: str, limits: Limits, front_end: FrontEnd) -> Tensor:
    """Return log-mel (frames, 80) normalized as the front end of the model expects it.

    Raises :class:`DataError` with ``name`` if the number of frames is not in ``limits``.
    """
    if len(features) not in limits:
        raise DataError(
            f"{name}: found {len(features)} frames ({len(features) / FRAMES_PER_SECOND:.2f} s), "
            f"expected {limits}, as in the model's training"
        )
    return normalize(features, front_end)


def _log_mel_of(source: Speech, name: str) -> Tensor:
    if isinstance(source, str | Path):
        return load_features(str(source), "")
    try:
        return log_mel(read_audio(sound_bytes(source)))
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def sound_bytes(source: Speech) -> bytes:
    """Return the bytes of a sound file. An array is written to one, so that arrays and files are read alike."""
    if isinstance(source, bytes):
        return source
    match source:
        case (np.ndarray() | Tensor() as samples, int(rate)):
            return _wav(np.asarray(samples), rate)
    raise TypeError(f"speech: found {type(source).__name__}, expected a path, bytes, (array, rate) or a list of these")


def _wav(samples: np.ndarray, rate: int) -> bytes:
    subtype = _WAV_TYPES.get(str(samples.dtype))
    if subtype is None:
        raise DataError(f"found an array of {samples.dtype}, expected one of {', '.join(_WAV_TYPES)}")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] > samples.shape[0]):
        raise DataError(f"found an array of shape {samples.shape}, expected (samples,) or (samples, channels)")
    # A header cannot hold every number.
    require_rate(rate)
    file = io.BytesIO()
    try:
        soundfile.write(file, samples, rate, subtype=subtype, format="WAV")
    except soundfile.SoundFileError as error:
        raise DataError(f"found an array of shape {samples.shape} at {rate} Hz, expected sound ({error})") from error
    return file.getvalue()


# ---------------------------------------------------------------------------------------------------------------------
# text


def read_text(text: str, name: str, vocabulary: Vocabulary, limits: Limits, normalization: str = AS_WRITTEN) -> Tensor:
    """Return ``<s>``, the pieces and ``</s>`` (L,) of a text after its ``normalization``.

    Raises :class:`DataError` if L is out of ``limits``.
    """
    return read_sentences([text], name, vocabulary, limits, normalization)


def read_sentences(
    texts: Sequence[str], name: str, vocabulary: Vocabulary, limits: Limits, normalization: str = AS_WRITTEN
) -> Tensor:
    """Return the ids (L,) of one sentence, or of two by :func:`join_sentences`. Errors as in :func:`read_text`."""
    pieces = [_pieces_of(text, name, vocabulary, normalization) for text in texts]
    length = sum(len(ids) + 2 for ids in pieces)
    if length not in limits:
        raise DataError(f"{name}: found {length} tokens, expected {limits}, as in the model's training")
    return join_sentences(pieces, vocabulary.dictionary, max(length, MIN_POSITIONS))


def _pieces_of(text: str, name: str, vocabulary: Vocabulary, normalization: str) -> Tensor:
    """Return the ids (L,) of a text's pieces. Raises :class:`DataError` if the vocabulary knows none of them."""
    if not isinstance(text, str):
        raise TypeError(f"text: found {type(text).__name__}, expected a string or a list of these")
    if not text.strip():
        raise DataError(f"{name}: found an empty text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{name}: {text!r} is not valid Unicode ({error.reason})") from None
    if "\0" in text:
        raise DataError(f"{name}: {HOLDS_NUL}")
    normalized = NORMALIZATIONS[normalization](text)
    if not normalized:
        raise DataError(f"{name}: found no words in {text!r}; the model was trained on text without punctuation")
    pieces = vocabulary.encode(normalized)
    dictionary = vocabulary.dictionary
    # SentencePiece puts a space before the text, which may be a piece of its own and does not count.
    if not set(pieces.tolist()) - {dictionary.unk(), dictionary.index("▁")}:
        raise DataError(f"{name}: the model's vocabulary knows no piece of {text!r}; it was trained on other scripts")
    return pieces
