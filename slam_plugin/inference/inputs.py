"""What a user hands in, one input at a time: speech as normalised features, text as the ids of its pieces."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from torch import Tensor

from slam_plugin.data.audio import load_features, log_mel, normalize, read_audio
from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.data.datasets.sentence_prediction import LEAST_POSITIONS, join_sentences
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import Vocabulary

Speech = str | Path | bytes | tuple[np.ndarray | Tensor, int]

_WAV_TYPES = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "FLOAT"}


class Limits(NamedTuple):
    """Lengths that a model takes; ``most`` is None where it says none."""

    least: int
    most: int | None

    def __contains__(self, length: int) -> bool:
        return self.least <= length and (self.most is None or length <= self.most)

    def __str__(self) -> str:
        return f"at least {self.least}" if self.most is None else f"{self.least} to {self.most}"


def name_of(source: object, number: int) -> str:
    """How errors call speech: by its path, or by its number in the list, from 0."""
    return str(source) if isinstance(source, str | Path) else f"input {number}"


# ---------------------------------------------------------------------------------------------------------------------
# speech


def read_speech(source: Speech, name: str, limits: Limits) -> Tensor:
    """Normalised log-mel (frames, 80); :class:`DataError` with ``name`` where there is none within ``limits``."""
    features = _log_mel_of(source, name)
    if len(features) not in limits:
        raise DataError(
            f"{name}: {len(features)} frames ({len(features) / FRAMES_PER_SECOND:.2f} s), "
            f"expected {limits}, as the model was trained on"
        )
    return normalize(features)


def _log_mel_of(source: Speech, name: str) -> Tensor:
    if isinstance(source, str | Path):
        return load_features(str(source), "")
    try:
        return log_mel(read_audio(_sound_bytes(source)))
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def _sound_bytes(source: Speech) -> bytes:
    """The bytes of a sound file; an array becomes one, and so goes the very way that files go."""
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
    file = io.BytesIO()
    try:
        soundfile.write(file, samples, rate, subtype=subtype, format="WAV")
    except soundfile.SoundFileError as error:
        raise DataError(f"an array of shape {samples.shape} at {rate} Hz is no sound ({error})") from error
    return file.getvalue()


# ---------------------------------------------------------------------------------------------------------------------
# text


def read_text(text: str, name: str, vocabulary: Vocabulary, limits: Limits) -> Tensor:
    """``<s>``, the pieces and ``</s>``, (L,); :class:`DataError` with ``name`` where that is not within ``limits``."""
    return read_sentences([text], name, vocabulary, limits)


def read_sentences(texts: Sequence[str], name: str, vocabulary: Vocabulary, limits: Limits) -> Tensor:
    """The ids (L,) of a sentence, or of two as :func:`join_sentences` joins them; errors as :func:`read_text`."""
    pieces = [_pieces_of(text, name, vocabulary) for text in texts]
    length = sum(len(each) + 2 for each in pieces)
    if length not in limits:
        raise DataError(f"{name}: {length} tokens, expected {limits}, as the model was trained on")
    return join_sentences(pieces, vocabulary.dictionary, max(length, LEAST_POSITIONS))


def _pieces_of(text: str, name: str, vocabulary: Vocabulary) -> Tensor:
    """The pieces (L,) of a text that holds something which the vocabulary knows."""
    if not isinstance(text, str):
        raise TypeError(f"text: found {type(text).__name__}, expected a string or a list of these")
    if not text.strip():
        raise DataError(f"{name}: the text is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{name}: {text!r} is no text in Unicode ({error.reason})") from None
    pieces = vocabulary.encode(text)
    dictionary = vocabulary.dictionary
    # SentencePiece puts a blank before the text, and it may be a piece: alone it is nothing that was read.
    if not set(pieces.tolist()) - {dictionary.unk(), dictionary.index("▁")}:
        raise DataError(f"{name}: the model's vocabulary holds nothing of {text!r}: it was trained on other scripts")
    return pieces
