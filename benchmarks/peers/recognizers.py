"""Recognizers with random weights: the project's CTC model, and transformers' of the same layers and channels."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor
from transformers import (
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from benchmarks.peers.layers import KERNEL
from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.text.normalization import AS_WRITTEN
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.decoding.ctc import best_path
from slam_plugin.hub import Slam
from slam_plugin.models.base.presets import SIZES
from slam_plugin.models.base.warm_start import set_architecture
from slam_plugin.models.ctc import SlamCtc, SlamCtcModelConfig
from slam_plugin.modules.front_end import DEFAULT_FRONT_END
from slam_plugin.tasks.speech_to_text import SlamSpeechToTextTaskConfig


class Recognizer(NamedTuple):
    """A recognizer, and its first part alone.

    Attributes:
        recognize: waveforms at 16 kHz -> their texts; of a model that only encodes, anything.
        features: waveforms -> what the model is given.
        parameters: number of the model's parameters.
    """

    recognize: Callable[[Sequence[np.ndarray]], Any]
    features: Callable[[Sequence[np.ndarray]], Any]
    parameters: int


def random_slam(size: str, vocabulary: Vocabulary, frames_per_state: int = DEFAULT_FRONT_END.frames_per_state) -> Slam:
    """Return a ``slam_ctc`` of a preset's size with random weights, as :meth:`Slam.load` returns one of a file."""
    model_config = _plain(SlamCtcModelConfig(size=size, frames_per_state=frames_per_state))
    model_config._name = "slam_ctc"
    set_architecture(model_config, None)
    task_config = _plain(SlamSpeechToTextTaskConfig(data="none"))
    task_config._name = "slam_speech_to_text"
    task = SimpleNamespace(target_dictionary=vocabulary.dictionary)
    model = SlamCtc.build_model(model_config, task).eval()
    return Slam(
        path="random weights",
        config=task_config,
        architecture=f"slam_ctc, {size}",
        abilities=frozenset({"transcribe", "encode"}),
        vocabulary=vocabulary,
        source_vocabulary=None,
        text_normalization=AS_WRITTEN,
        trunk=model.encoder.trunk,
        model=model,
        task=None,
        device=torch.device("cpu"),
        bf16=False,
    )


def _plain(fields: Any) -> Any:
    return OmegaConf.create(OmegaConf.to_container(OmegaConf.structured(fields), enum_to_str=True))


def ours(size: str, vocabulary: Vocabulary, frames_per_state: int) -> Recognizer:
    """Return the project's recognizer as ``slam transcribe`` runs it: reading, log-mel, batches, greedy search."""
    slam = random_slam(size, vocabulary, frames_per_state)
    read = slam.side("speech").read
    return Recognizer(
        lambda waveforms: slam.transcribe([(waveform, SAMPLE_RATE) for waveform in waveforms]),
        lambda waveforms: [read((waveform, SAMPLE_RATE), number) for number, waveform in enumerate(waveforms)],
        _count(slam.model),
    )


def wav2vec2_bert(size: str, vocabulary: Vocabulary) -> Recognizer:
    """Return transformers' Wav2Vec2-BERT with its log-mel in numpy: 50 states per second."""
    config = _sizes(Wav2Vec2BertConfig, size, vocabulary, position_embeddings_type="relative_key")
    extractor = SeamlessM4TFeatureExtractor()
    return _ctc(Wav2Vec2BertForCTC(config), extractor, vocabulary)


def wav2vec2_conformer(size: str, vocabulary: Vocabulary) -> Recognizer:
    """Return transformers' Wav2Vec2-Conformer with its convolutions over the waveform: 50 states per second."""
    unused = {"num_conv_pos_embeddings": 1, "num_conv_pos_embedding_groups": SIZES[size]["encoder_dim"]}
    config = _sizes(Wav2Vec2ConformerConfig, size, vocabulary, position_embeddings_type="relative", **unused)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    return _ctc(Wav2Vec2ConformerForCTC(config), extractor, vocabulary)


def whisper_tiny_encoder() -> Recognizer:
    """Return the encoder of Whisper's size tiny, without a decoder. Each recording is padded to 30 s."""
    config = WhisperConfig(d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536)
    model, extractor = WhisperEncoder(config).eval(), WhisperFeatureExtractor()

    def features(waveforms: Sequence[np.ndarray]) -> Tensor:
        return extractor(list(waveforms), sampling_rate=SAMPLE_RATE, return_tensors="pt")["input_features"]

    return Recognizer(lambda waveforms: model(features(waveforms)), features, _count(model))


def _sizes(kind: type, size: str, vocabulary: Vocabulary, **choices: Any) -> Any:
    sizes = SIZES[size]
    return kind(
        vocab_size=len(vocabulary.dictionary),
        hidden_size=sizes["encoder_dim"],
        num_hidden_layers=sizes["speech_layers"] + sizes["multimodal_layers"],
        num_attention_heads=sizes["encoder_heads"],
        intermediate_size=sizes["encoder_ffn_dim"],
        conv_depthwise_kernel_size=KERNEL,
        attn_implementation="eager",  # as for the single layer, where SDPA, the default, is no faster
        hidden_act="swish",
        **choices,
    )


def _ctc(model: Any, extractor: Any, vocabulary: Vocabulary) -> Recognizer:
    """Return transformers' model with the project's greedy search, which costs both sides the same."""
    model.eval()
    blank = vocabulary.dictionary.bos()

    def features(waveforms: Sequence[np.ndarray]) -> Any:
        return extractor(list(waveforms), sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt")

    def recognize(waveforms: Sequence[np.ndarray]) -> list[str]:
        logits = model(**features(waveforms)).logits.numpy()
        return [vocabulary.decode(best_path(row, blank).tokens) for row in logits]

    return Recognizer(recognize, features, _count(model))


def _count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
