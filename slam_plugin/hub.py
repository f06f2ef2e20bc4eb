"""Any checkpoint of the plugin, as an object that transcribes, translates or encodes what it is given.

    from slam_plugin.hub import Slam
    slam = Slam.load("checkpoint_best.pt")
    slam.abilities                       # what this checkpoint can do
    slam.transcribe(["a.wav", "b.flac"])

Loading needs the one file: what the model was trained on may be gone.
"""

import contextlib
import io
import itertools
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import soundfile
import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.utils import merge_with_parent
from torch import Tensor, nn

from slam_plugin import compat
from slam_plugin.data.audio import FRAME_SHIFT, SAMPLE_RATE, load_features, log_mel, normalize, read_audio
from slam_plugin.data.errors import DataError
from slam_plugin.data.vocabulary import Vocabulary
from slam_plugin.models.ctc import SlamCtc
from slam_plugin.models.encoder import Trunk, build_trunk
from slam_plugin.models.pretrained import Earlier, load_trunk
from slam_plugin.models.pretraining import SlamPretrainingConfig
from slam_plugin.modules.subsampler import subsampled_length
from slam_plugin.tasks.speech_to_text import SlamSpeechToTextTask, SlamSpeechToTextTaskConfig

Speech = str | Path | bytes | tuple[np.ndarray | Tensor, int]

# Inputs that are read, and sorted by length, together: what is in memory at one time.
POOL = 256
# Of one batch, padding included: log-mel frames of 10 ms, and tokens, which are one state each as four frames are.
BATCH_FRAMES, BATCH_TOKENS = 12_000, 3_000

_VERBS = {"transcribe": "transcribes", "translate": "translates", "encode": "encodes", "attention": "shows attention"}
_WAV_TYPES = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "FLOAT"}
_FRAMES_A_SECOND = SAMPLE_RATE / FRAME_SHIFT
_SECONDS_A_STATE = 4 / _FRAMES_A_SECOND

Item = TypeVar("Item")
Result = TypeVar("Result")


class Written(NamedTuple):
    """The best hypothesis and its log-probability: of the whole by CTC, the mean of its tokens by a decoder."""

    text: str
    score: float


class Attention(NamedTuple):
    """What the multimodal layers attend to, from the text of a pair to its speech.

    ``weights`` (layers, heads, L, T) are the part that goes to speech: a row and what goes to the text sum to one.
    """

    weights: Tensor
    pieces: list[str]  # the L rows, <s> and </s> included
    seconds: float  # what the T columns span together


@dataclass(frozen=True, eq=False)
class Slam:
    """One checkpoint; :meth:`load` makes it.

    Speech is a path (a sound file, ``.npy`` features, or ``pack.zip:offset:length``), the bytes of a sound file, a pair
    (array, sample rate) with an array (samples,) or (samples, channels), or a list of these. A list gives a list,
    computed in batches of similar length. What cannot be used raises :class:`DataError` with the input's name, or with
    its number in the list from 0; so does a request that the checkpoint cannot serve.

    Attributes:
        abilities: what may be called: "transcribe", "translate", "encode", "attention".
        trunk: the encoder; ``model`` is all of a fine-tuned model, and the trunk itself of a pre-training checkpoint.
        task: what ``model`` was fine-tuned by; None of a pre-training checkpoint.
    """

    path: str
    abilities: frozenset[str]
    vocabulary: Vocabulary
    trunk: Trunk
    model: nn.Module
    task: SlamSpeechToTextTask | None
    device: torch.device
    bf16: bool

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", bf16: bool = False) -> "Slam":
        """Load any checkpoint of the plugin; one that names code is refused, and nothing in it is run.

        Args:
            bf16: matrix products in bf16, whatever the model was trained with; results are fp32 all the same.
        """
        compat.register()
        device = _checked_device(device)
        state = _read_checkpoint(path)
        cfg = state["cfg"]
        cfg.model.autocast = "bf16" if bf16 else "none"
        vocabulary = Vocabulary.from_state(state["task_state"]["vocabulary"], str(path))
        if cfg.task._name == "slam_pretraining":
            task, model, abilities = None, _pretrained_trunk(path, state, vocabulary), {"encode", "attention"}
        else:
            task, model = _fine_tuned(state, vocabulary)
            abilities = {"encode", *_writing_abilities(model, task.cfg)}
        model.to(device).eval()
        trunk = model if isinstance(model, Trunk) else model.encoder.trunk
        return cls(str(path), frozenset(abilities), vocabulary, trunk, model, task, device, bf16)

    def transcribe(self, speech: Speech | list[Speech], beam: int = 1) -> str | list[str]:
        """The words of each utterance, in its own language."""
        return _one_or_all(speech, lambda listed: self._texts("transcribe", listed, beam))

    def translate(self, speech: Speech | list[Speech], beam: int = 5) -> str | list[str]:
        """Each utterance in the language that the model translates into."""
        return _one_or_all(speech, lambda listed: self._texts("translate", listed, beam))

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
        if (speech is None) == (text is None):
            raise ValueError("encode: expected one of speech and text; attention takes both")
        side, inputs = ("speech", speech) if text is None else ("text", text)
        return _one_or_all(inputs, lambda listed: map(_checked, self.states(side, listed, layer, pool)))

    def attention(self, *, speech: Speech, text: str) -> Attention:
        """What a pre-training checkpoint attends to in ``speech`` from each piece of ``text``."""
        self._require("attention")
        features, _ = self._padded([self._features(speech, 0)])
        tokens, _ = self._padded([self._tokens(text, 0)])
        end = tokens.size(1)
        caught: list[Tensor] = []

        def catch(attention: nn.Module, inputs: tuple) -> None:
            weights = attention.weights(*inputs)  # (1, heads, L + gap + T, L + gap + T)
            caught.append(weights[0, :, :end, end + self.trunk.gap :].float().cpu())

        with contextlib.ExitStack() as hooks:
            for layer in self.trunk.multimodal_layers:
                hooks.enter_context(layer.attention.register_forward_pre_hook(catch))
            self._run_trunk(features=features, tokens=tokens)
        weights = torch.stack(caught)
        pieces = [self.vocabulary.dictionary[i] for i in tokens[0].tolist()]
        return Attention(weights, pieces, weights.size(-1) * _SECONDS_A_STATE)

    # ---- streams: the result of each input in order, or the error that takes its place

    def write(self, ability: str, speech: Iterable[Speech], beam: int) -> Iterator[Written | DataError]:
        """``transcribe`` or ``translate`` any number of utterances."""
        self._require(ability)
        generator = self.task.build_generator([self.model], SimpleNamespace(beam=beam))

        def compute(features: list[Tensor]) -> list[Written]:
            padded, padding_mask = self._padded(features)
            starts = torch.full((len(features), 1), self.vocabulary.dictionary.eos(), device=self.device)
            inputs = {"features": padded, "padding_mask": padding_mask, "prev_output_tokens": starts}
            sample = {"net_input": inputs}
            best = [nbest[0] for nbest in self.task.inference_step(generator, [self.model], sample)]
            return [Written(self.vocabulary.decode(each["tokens"].cpu()), float(each["score"])) for each in best]

        return _in_batches(speech, self._features, BATCH_FRAMES, compute)

    def states(
        self, side: str, inputs: Iterable[Any], layer: int = -1, pool: bool = False
    ) -> Iterator[Tensor | DataError]:
        """:meth:`encode` any number of inputs; ``side`` is "speech" or "text"."""
        self._require("encode")
        if side == "text" and self.trunk.text_embedding is None:
            raise DataError(f"{self.path}: this checkpoint was fine-tuned on speech and has no text side")
        layers = self.trunk.multimodal_layers
        if not -len(layers) <= layer < len(layers):
            raise DataError(f"layer: found {layer}, expected {-len(layers)} to {len(layers) - 1}")

        if side == "speech":
            names, pad, states_of = ("features", "feature_padding_mask"), 0.0, subsampled_length
            read, budget = self._features, BATCH_FRAMES
        else:
            names, pad, states_of = ("tokens", "token_padding_mask"), self.vocabulary.dictionary.pad(), int
            read, budget = self._tokens, BATCH_TOKENS

        def compute(items: list[Tensor]) -> list[Tensor]:
            caught: list[Tensor] = []
            with layers[layer].register_forward_hook(lambda _, __, output: caught.append(output)):
                self._run_trunk(**dict(zip(names, self._padded(items, pad), strict=True)))
            rows = [row[: states_of(len(item))].float().cpu() for row, item in zip(caught[0], items, strict=True)]
            return [row.mean(0) for row in rows] if pool else rows

        return _in_batches(inputs, read, budget, compute)

    # ---- inside

    def _texts(self, ability: str, speech: list[Speech], beam: int) -> Iterator[str]:
        return (_checked(written).text for written in self.write(ability, speech, beam))

    def _require(self, ability: str) -> None:
        if ability not in self.abilities:
            can = " and ".join(verb for name, verb in _VERBS.items() if name in self.abilities)
            cannot = "show attention" if ability == "attention" else ability
            raise DataError(f"{self.path}: this checkpoint {can}; it cannot {cannot}")

    def _features(self, source: Speech, number: int) -> Tensor:
        """Normalised log-mel (frames, 80) within the lengths that the model was trained on, where it says them."""
        name = str(source) if isinstance(source, str | Path) else f"input {number}"
        features = _log_mel_of(source, name)
        least, most = 1, len(features)
        if self.task is not None:
            least, most = self.task.cfg.min_source_positions, self.task.cfg.max_source_positions
        if not least <= len(features) <= most:
            raise DataError(
                f"{name}: {len(features)} frames ({len(features) / _FRAMES_A_SECOND:.2f} s), "
                f"expected {least} to {most}, as the model was trained on"
            )
        return normalize(features)

    def _tokens(self, text: str, number: int) -> Tensor:
        """``<s>``, the pieces and ``</s>``, (L,)."""
        if not text.strip():
            raise DataError(f"input {number}: the text is empty")
        dictionary = self.vocabulary.dictionary
        pieces = self.vocabulary.encode(text)
        return torch.cat((pieces.new_tensor([dictionary.bos()]), pieces, pieces.new_tensor([dictionary.eos()])))

    def _padded(self, items: list[Tensor], value: float = 0.0) -> tuple[Tensor, Tensor]:
        """(batch, longest, ...) and padding (batch, longest), on the model's device."""
        lengths = torch.tensor([len(item) for item in items])
        padded = nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=value)
        padding_mask = torch.arange(padded.size(1)) >= lengths[:, None]
        return padded.to(self.device), padding_mask.to(self.device)

    def _run_trunk(self, **inputs: Tensor) -> None:
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            self.trunk(**inputs)


# ---------------------------------------------------------------------------------------------------------------------
# checkpoints


def _checked_device(device: str | torch.device) -> torch.device:
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise DataError(f"device: found {device!r}, expected one such as cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DataError(f"device: found {device}, but torch finds no GPU here; expected cpu")
    return device


def _read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What fairseq's trainer saved; :class:`DataError` unless it is a checkpoint of one of the plugin's tasks."""
    if not Path(path).is_file():
        raise DataError(f"{path}: there is no such checkpoint")
    # Any other file might be read as a pickle, and fail in any way.
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: is no checkpoint, or one that was cut short; expected a file that torch.save wrote")
    known = ("slam_pretraining", "slam_speech_to_text")
    try:
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
        task = state["cfg"]["task"]["_name"]
    except (KeyError, TypeError, RuntimeError) as error:
        expected = f"expected one of {' or '.join(known)}"
        raise DataError(f"{path}: is no checkpoint of fairseq ({error!r}), {expected}") from error
    if task not in known:
        raise DataError(f"{path}: is a checkpoint of the task {task}, expected {' or '.join(known)}")
    return state


def _pretrained_trunk(path: str | Path, state: dict[str, Any], vocabulary: Vocabulary) -> Trunk:
    """The trunk alone: its objectives stand in a corpora.yaml that may be gone, and only training needs them."""
    config = merge_with_parent(SlamPretrainingConfig(), state["cfg"]["model"], remove_missing=True)
    config.compile = False  # pays in training alone
    dictionary = vocabulary.dictionary
    trunk = build_trunk(config, len(dictionary), dictionary.pad())
    load_trunk(trunk, Earlier(str(path), config, state["model"], state["task_state"]))
    return trunk


def _fine_tuned(state: dict[str, Any], vocabulary: Vocabulary) -> tuple[SlamSpeechToTextTask, nn.Module]:
    cfg = state["cfg"]
    task_config = merge_with_parent(SlamSpeechToTextTaskConfig(), cfg.task, remove_missing=True)
    # Not by setup_task: it looks into the data folder, which may be gone or hold another vocabulary by now.
    task = SlamSpeechToTextTask(task_config, vocabulary)
    model = task.build_model(cfg.model, from_checkpoint=True)
    model.load_state_dict(state["model"], strict=True, model_cfg=cfg.model)
    return task, model


def _writing_abilities(model: nn.Module, config: SlamSpeechToTextTaskConfig) -> set[str]:
    """CTC transcribes. What a decoder writes is told by the score of its validation; without one it may be either."""
    if isinstance(model, SlamCtc):
        return {"transcribe"}
    scored = {"transcribe": config.eval_wer, "translate": config.eval_bleu}
    return {ability for ability, score in scored.items() if score} or set(scored)


# ---------------------------------------------------------------------------------------------------------------------
# inputs


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
# lists, pools and batches


def _one_or_all(inputs: Any, compute: Callable[[list[Any]], Iterable[Result]]) -> Result | list[Result]:
    """A list for a list, one result for anything else."""
    if isinstance(inputs, list):
        return list(compute(inputs))
    return next(iter(compute([inputs])))


def _checked(result: Result | DataError) -> Result:
    if isinstance(result, DataError):
        raise result
    return result


def _in_batches(
    inputs: Iterable[Any],
    read: Callable[[Any, int], Tensor],
    budget: int,
    compute: Callable[[list[Tensor]], Sequence[Result]],
) -> Iterator[Result | DataError]:
    """The result of each input in order, or the error of reading it; batches of at most ``budget``, or of one item."""
    numbered = enumerate(inputs)
    while pool := list(itertools.islice(numbered, POOL)):
        items: dict[int, Tensor] = {}
        results: dict[int, Result | DataError] = {}
        for number, source in pool:
            try:
                items[number] = read(source, number)
            except DataError as error:
                results[number] = error
        for batch in _batches({number: len(item) for number, item in items.items()}, budget):
            results.update(zip(batch, compute([items[number] for number in batch]), strict=True))
        yield from (results[number] for number, _ in pool)


def _batches(lengths: dict[int, int], budget: int) -> Iterator[list[int]]:
    """Keys by length, the longest first, in batches whose size after padding is within ``budget``."""
    batch: list[int] = []
    for key in sorted(lengths, key=lambda key: -lengths[key]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch
