"""Small models that translate generated speech, to compare searches."""

from types import SimpleNamespace

import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf

from slam_plugin.models.base.warm_start import set_architecture
from slam_plugin.models.speech_to_text import SlamSpeechToText, SlamSpeechToTextModelConfig

TINY = {
    "encoder_dim": 32,
    "encoder_ffn_dim": 64,
    "speech_layers": 1,
    "multimodal_layers": 1,
    "subsample_channels": 4,
    "decoder_dim": 24,
    "decoder_heads": 4,
    "decoder_ffn_dim": 48,
    "decoder_layers": 2,
}
TAGS = ["<lang:de>", "<lang:ca>"]
LENGTHS = [61, 30, 120, 9, 120, 40]


def _dictionary() -> Dictionary:
    symbols = Dictionary()
    for symbol in [*(f"piece{number}" for number in range(60)), "<mask>", *TAGS]:
        symbols.add_symbol(symbol)
    return symbols


SYMBOLS = _dictionary()
EOS = SYMBOLS.eos()
TASK = SimpleNamespace(target_dictionary=SYMBOLS, source_vocabulary=None)


def build(seed=0, eos=1.5, **fields):
    """Make a model with logits as spread as a trained one's: in a new model rounding would decide.

    Args:
        eos: scale of the logits of ``</s>``, so that hypotheses end at many lengths.
    """
    torch.manual_seed(seed)
    config = OmegaConf.structured(SlamSpeechToTextModelConfig(**{**TINY, **fields}))
    config = OmegaConf.create(OmegaConf.to_container(config, enum_to_str=True))
    config._name = "slam_speech_to_text"
    set_architecture(config, None)
    model = SlamSpeechToText.build_model(config, TASK)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            if parameter.dim() > 1:
                parameter.mul_(2.0)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
        model.decoder.output_projection.weight.mul_(1.5)
        model.decoder.output_projection.weight[EOS].mul_(eos)
    return model.eval()


def speech(lengths=LENGTHS, seed=0):
    """Make utterances with random values at padding."""
    features = torch.randn(len(lengths), max(lengths), 80, generator=torch.Generator().manual_seed(seed))
    return {"features": features, "padding_mask": torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]}
