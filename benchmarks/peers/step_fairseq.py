"""The speech side of pre-training, built from fairseq's parts at the sizes of the project's model."""

from collections.abc import Mapping
from typing import Any

import torch
from fairseq.criterions.wav2vec_criterion import Wav2vecCriterion
from fairseq.models.speech_to_text.modules.convolution import Conv2dSubsampler
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model
from fairseq.modules import GumbelVectorQuantizer, RelPositionalEncoding
from fairseq.modules.conformer_layer import ConformerEncoderLayer
from fairseq.optim.adam import Adam
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.data.constants import MEL_BINS
from slam_plugin.models.base.presets import SIZES
from slam_plugin.objectives.contrastive import Options

MAX_STATES = 1000  # that have a relative position


class FairseqModel(nn.Module):
    """fairseq's convolutional front end, Conformer layers, quantizer and contrastive task, and a linear layer on top.

    They are connected as in ``slam_pretraining``: the quantizer reads the front end's states without a gradient, the
    contrastive task the lower layers, the prediction of codes the upper ones.
    """

    sample_negatives = Wav2Vec2Model.sample_negatives
    compute_preds = Wav2Vec2Model.compute_preds
    get_logits = Wav2Vec2Model.get_logits
    get_targets = Wav2Vec2Model.get_targets

    def __init__(self, size: str, options: Options) -> None:
        super().__init__()
        sizes = SIZES[size]
        dim = sizes["encoder_dim"]
        self.n_negatives, self.cross_sample_negatives = options.distractors, 0
        self.logit_temp = options.similarity_temperature

        def layers(count: int) -> nn.ModuleList:
            shape = (dim, sizes["encoder_ffn_dim"], sizes["encoder_heads"], 0.0, False, 5)
            kinds = {"attn_type": "espnet", "pos_enc_type": "rel_pos"}
            return nn.ModuleList(ConformerEncoderLayer(*shape, **kinds) for _ in range(count))

        self.subsampler = Conv2dSubsampler(1, MEL_BINS, sizes["subsample_channels"], dim)
        self.mask_emb = nn.Parameter(torch.rand(dim))
        self.positions = RelPositionalEncoding(MAX_STATES, dim)
        self.lower = layers(sizes["speech_layers"])
        self.between = nn.Linear(dim, dim)
        self.upper = layers(sizes["multimodal_layers"])
        temperature = (options.gumbel_start, options.gumbel_end, options.gumbel_decay)
        self.quantizer = GumbelVectorQuantizer(
            dim, options.codes, temperature, 1, combine_groups=False, vq_dim=options.code_dim, time_first=True
        )
        self.project_q = nn.Linear(options.code_dim, options.code_dim)
        self.final_proj = nn.Linear(dim, options.code_dim)
        self.to_codes = nn.Linear(dim, options.codes)

    def forward(
        self, features: Tensor, lengths: Tensor, padding_mask: Tensor | None, mask_indices: Tensor
    ) -> dict[str, Any]:
        """Return the inputs of ``Wav2vecCriterion``.

        Args:
            features: (batch, frames, 80); lengths: (batch,).
            padding_mask: (batch, T) of the states.
            mask_indices: (batch, T), an equal number in every row, as fairseq requires.
        """
        states, _ = self.subsampler(features, lengths)  # (T, batch, dim)
        x = states.transpose(0, 1)
        batch = x.size(0)
        quantized = self.quantizer(x.detach()[mask_indices].view(batch, -1, x.size(-1)), produce_targets=True)
        targets = self.project_q(quantized["x"])
        negatives, _ = self.sample_negatives(targets, targets.size(1))

        x = torch.where(mask_indices[:, :, None], self.mask_emb.to(x.dtype), x)
        if padding_mask is not None:
            x = x.masked_fill(padding_mask[:, :, None], 0.0)
        x = x.transpose(0, 1)
        positions = self.positions(x)
        for layer in self.lower:
            x, _ = layer(x, padding_mask, positions)
        context = self.final_proj(x.transpose(0, 1)[mask_indices]).view(targets.shape)
        x = self.between(x)
        for layer in self.upper:
            x, _ = layer(x, padding_mask, positions)
        codes = self.to_codes(x.transpose(0, 1)[mask_indices])
        return {
            **quantized,
            "x": self.compute_preds(context, targets, negatives),
            "masked_prediction": F.cross_entropy(codes.float(), quantized["targets"].flatten()),
        }

    def get_extra_losses(self, net_output: Mapping[str, Any]) -> list[Tensor]:
        """Return the diversity loss and the masked prediction loss, both means."""
        diversity = (net_output["num_vars"] - net_output["prob_perplexity"]) / net_output["num_vars"]
        return [diversity, net_output["masked_prediction"]]


class FairseqStep:
    """Forward, losses, backward and update with fairseq's criterion and its Adam."""

    def __init__(self, size: str, bf16: bool) -> None:
        options = Options()
        self.model, self.bf16 = FairseqModel(size, options), bf16
        self.criterion = Wav2vecCriterion(None, infonce=True, loss_weights=[options.diversity_weight, 1.0])
        self.optimizer = Adam(self.model.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01)

    def __call__(self, batch: Mapping[str, Any]) -> float:
        """Run a step and return the loss per masked frame before the update."""
        inputs = {"mask_indices": batch["mask_indices"], "padding_mask": batch["state_padding_mask"]}
        inputs |= {"features": batch["features"], "lengths": batch["lengths"]}
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss, frames, _ = self.criterion(self.model, {"net_input": inputs, "id": batch["lengths"]})
        loss = loss / frames
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())
