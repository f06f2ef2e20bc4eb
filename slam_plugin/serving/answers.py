"""What a server answers about a recording, as plain values for JSON: transcripts, similarities, attention."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from slam_plugin.data.constants import MAX_SECONDS, SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from slam_plugin.serving.bounds import MAX_SENTENCES, RequestError

TEXT_ABILITIES = ("transcribe", "translate")
_DIGITS = 4


def description(slam: Slam) -> dict[str, Any]:
    """Return what the model is and can do here."""
    return {
        "says": slam.says(),
        "print": repr(slam),
        "abilities": abilities(slam),
        "languages": list(slam.vocabulary.languages) if writes_text(slam) else [],
        "layers": len(slam.trunk.multimodal_layers),
        "language": default_language(slam) if writes_text(slam) else None,
    }


def abilities(slam: Slam) -> list[str]:
    """Return the endpoints that the model has an answer for, in the order of the page."""
    found = [name for name in TEXT_ABILITIES if name in slam.abilities]
    if {"speech", "text"} <= set(slam.reads):
        found.append("similarity")
    return found + [name for name in ("attention",) if name in slam.abilities]


def writes_text(slam: Slam) -> bool:
    """Return whether the model writes text from speech."""
    return any(name in slam.abilities for name in TEXT_ABILITIES)


def default_language(slam: Slam) -> str | None:
    """Return the language that the model writes if none is specified, None if it has no default."""
    return slam.config.get("tgt_lang") or slam.config.get("target_lang")


def require_speech(slam: Slam) -> None:
    """Raise :class:`DataError` if the model reads no speech, so that there is nothing to serve."""
    if "speech" not in slam.reads:
        raise DataError(f"{slam.path}: this checkpoint reads text alone, expected one that reads speech")


def transcript(
    slam: Slam, ability: str, waveform: Tensor, target: str | None, beam: int, check: Callable[[], None]
) -> dict[str, Any]:
    """Return the transcript or translation of a waveform (samples,) at 16 kHz, as ``--format json`` writes it."""
    stream = slam.recordings_stream(
        ability, [(waveform, SAMPLE_RATE)], beam, target, report=lambda what, name, share: check()
    )
    found = next(iter(stream))
    if isinstance(found, DataError):
        raise found
    return {"ability": ability, **found.record()}


def similarities(slam: Slam, waveform: Tensor, sentences: Sequence[str]) -> dict[str, Any]:
    """Return the cosine between the mean state of speech and that of each sentence, by shared layer."""
    _require_short(waveform)
    if not 1 <= len(sentences) <= MAX_SENTENCES:
        raise RequestError(400, f"sentence: found {len(sentences)}, expected 1 to {MAX_SENTENCES}")
    speech = slam.encode(speech=(waveform, SAMPLE_RATE), layer="all", pool=True)  # (layers, D)
    text = torch.stack(slam.encode(text=list(sentences), layer="all", pool=True), dim=1)  # (layers, sentences, D)
    cosines = F.cosine_similarity(text, speech[:, None], dim=-1).tolist()
    layers = [[round(value, _DIGITS) for value in row] for row in cosines]
    return {"sentences": list(sentences), "layers": layers}


def attention(slam: Slam, waveform: Tensor, sentences: Sequence[str]) -> dict[str, Any]:
    """Return the attention from each piece of a sentence to speech, the mean over heads: (layers, pieces, states)."""
    _require_short(waveform)
    if len(sentences) != 1:
        raise RequestError(400, f"sentence: found {len(sentences)}, expected 1")
    found = slam.attention(speech=(waveform, SAMPLE_RATE), text=sentences[0])
    weights = (found.weights.double().mean(1) * 10**_DIGITS).round() / 10**_DIGITS
    return {"pieces": found.pieces, "seconds": found.seconds, "layers": weights.tolist()}


def _require_short(waveform: Tensor) -> None:
    """Raise :class:`RequestError` (413) for speech that is too long to be encoded whole."""
    if len(waveform) > MAX_SECONDS * SAMPLE_RATE:
        seconds = len(waveform) / SAMPLE_RATE
        raise RequestError(413, f"the recording has {seconds:.1f} s, expected at most {MAX_SECONDS:g} s to compare")
