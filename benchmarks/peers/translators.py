"""Translation models of the same size: fairseq's Conformer and the project's."""

from argparse import Namespace
from types import SimpleNamespace
from typing import Any

from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel
from fairseq.models.speech_to_text.s2t_conformer import S2TConformerModel, conformer_base_architecture
from omegaconf import OmegaConf

from slam_plugin.models.base.decoder import DECODERS
from slam_plugin.models.base.presets import SIZES
from slam_plugin.models.base.warm_start import set_architecture
from slam_plugin.models.speech_to_text import SlamSpeechToText, SlamSpeechToTextModelConfig

OUR_KERNEL, THEIR_KERNEL = 5, 31


def dictionary(symbols: int) -> Dictionary:
    """Return a dictionary of this many symbols, including fairseq's four."""
    made = Dictionary()
    for number in range(symbols - len(made)):
        made.add_symbol(f"piece{number}")
    return made


def ours(size: str, symbols: Dictionary, bf16: bool) -> SlamSpeechToText:
    """Return ``slam_speech_to_text`` with rotary positions, ready to decode."""
    fields = SlamSpeechToTextModelConfig(size=size, positions="rotary", autocast="bf16" if bf16 else "none")
    config = OmegaConf.create(OmegaConf.to_container(OmegaConf.structured(fields), enum_to_str=True))
    config._name = "slam_speech_to_text"
    set_architecture(config, None)
    return _ready(SlamSpeechToText.build_model(config, _task(symbols)))


def fairseqs(size: str, symbols: Dictionary, kernel: int) -> S2TConformerModel:
    """Return ``s2t_conformer`` with the trunk's number and width of layers, and a decoder like ours.

    It has relative positions, as in fairseq's recipe for CoVoST, and its own front end.

    Args:
        kernel: of the depthwise convolution.
    """
    encoder, decoder = SIZES[size], DECODERS[size]
    args = Namespace(
        encoder_embed_dim=encoder["encoder_dim"],
        encoder_ffn_embed_dim=encoder["encoder_ffn_dim"],
        encoder_attention_heads=encoder["encoder_heads"],
        encoder_layers=encoder["speech_layers"] + encoder["multimodal_layers"],
        depthwise_conv_kernel_size=kernel,
        attn_type="espnet",
        pos_enc_type="rel_pos",
        decoder_embed_dim=decoder["decoder_dim"],
        decoder_ffn_embed_dim=decoder["decoder_ffn_dim"],
        decoder_attention_heads=decoder["decoder_heads"],
        decoder_layers=decoder["decoder_layers"],
        share_decoder_input_output_embed=True,
        max_target_positions=1024,
        fp16=False,
    )
    conformer_base_architecture(args)
    return _ready(S2TConformerModel.build_model(args, _task(symbols)))


def _task(symbols: Dictionary) -> SimpleNamespace:
    return SimpleNamespace(target_dictionary=symbols, source_dictionary=None, source_vocabulary=None)


def _ready(model: BaseFairseqModel) -> Any:
    """Return the model as ``fairseq-generate`` prepares it."""
    model.eval()
    model.make_generation_fast_(need_attn=False)
    return model
