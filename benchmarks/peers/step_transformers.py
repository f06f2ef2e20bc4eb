"""Pre-training of transformers' Wav2Vec2-Conformer, at the project's sizes and with its front end."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2ConformerConfig, Wav2Vec2ConformerForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import _sample_negative_indices

from slam_plugin.data.constants import MEL_BINS
from slam_plugin.models.base.presets import SIZES
from slam_plugin.modules.subsampler import ConvSubsampler
from slam_plugin.objectives.contrastive import Options


class FrontEnd(nn.Module):
    """The project's front end in place of theirs, which reads waveforms and returns 50 states per second."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.subsampler = ConvSubsampler(MEL_BINS, channels, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Return (batch, dim, T) states of (batch, frames, 80) features."""
        return self.subsampler(features, None)[0].transpose(1, 2)


def build(size: str, options: Options) -> Wav2Vec2ConformerForPreTraining:
    """Return their model with the same numbers of layers, codes and distractors. Its only task is contrastive."""
    sizes = SIZES[size]
    dim = sizes["encoder_dim"]
    config = Wav2Vec2ConformerConfig(
        hidden_size=dim,
        num_hidden_layers=sizes["speech_layers"] + sizes["multimodal_layers"],
        num_attention_heads=sizes["encoder_heads"],
        intermediate_size=sizes["encoder_ffn_dim"],
        conv_depthwise_kernel_size=5,
        position_embeddings_type="relative",
        attn_implementation="eager",  # as for the single layer: SDPA, the default, is no faster here
        num_codevector_groups=1,
        num_codevectors_per_group=options.codes,
        codevector_dim=options.code_dim,
        proj_codevector_dim=options.code_dim,
        contrastive_logits_temperature=options.similarity_temperature,
        num_negatives=options.distractors,
        diversity_loss_weight=options.diversity_weight,
        conv_dim=(dim, dim),  # of the replaced front end: they determine the length of its output
        conv_kernel=(1, 1),
        conv_stride=(2, 2),
        num_conv_pos_embeddings=1,  # a convolution that relative positions leave unused
        num_conv_pos_embedding_groups=dim,
        layerdrop=0.0,
        feat_proj_dropout=0.0,
        feat_quantizer_dropout=0.0,
        **dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "conformer_conv_dropout"), 0.0),
    )
    model = Wav2Vec2ConformerForPreTraining(config)
    model.set_gumbel_temperature(options.gumbel_start)
    model.wav2vec2_conformer.feature_extractor = FrontEnd(sizes["subsample_channels"], dim)
    return model.train()


def with_distractors(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch with the indices that their collator draws: drawing is not part of their step."""
    mask = batch["mask_indices"].numpy()
    indices = _sample_negative_indices(mask.shape, Options().distractors, mask_time_indices=mask)
    return {**batch, "distractors": torch.from_numpy(indices)}


class TransformersStep:
    """Forward, losses, backward and update with the optimizer of their Trainer: torch's fused AdamW."""

    def __init__(self, size: str, bf16: bool) -> None:
        self.model, self.bf16 = build(size, Options()), bf16
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )

    def __call__(self, batch: Mapping[str, Any]) -> float:
        """Run a step on a batch of :func:`with_distractors` and return the loss per masked frame before the update."""
        padding = batch["feature_padding_mask"]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            output = self.model(
                batch["features"],
                attention_mask=None if padding is None else (~padding).long(),
                mask_time_indices=batch["mask_indices"],
                sampled_negative_indices=batch["distractors"],
            )
        loss = output.loss / batch["mask_indices"].sum()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())
