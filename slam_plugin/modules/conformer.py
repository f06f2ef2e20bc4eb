"""The Conformer layer (Gulati et al. 2020) as SLAM uses it: group norm in the conv module, padding without effect."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.kernels.attention import Keys, attend, attention_weights
from slam_plugin.kernels.choice import fused_layer, runs_on
from slam_plugin.kernels.depthwise import depthwise_conv
from slam_plugin.modules.norm import MaskedGroupNorm, MaskedLayerNorm
from slam_plugin.modules.relative_key import Columns, RelativeKey
from slam_plugin.modules.rotary import Rotation, rotate

NormFactory = Callable[[int], nn.Module]
Positions = Rotation | Columns | None  # of a layer's kind of positions; None for attention without positions


class FeedForward(nn.Module):
    """Layer norm, linear, swish, linear."""

    def __init__(self, dim: int, ffn_dim: int, dropout: float, norm: NormFactory = nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm(dim)
        self.expand = nn.Linear(dim, ffn_dim)
        self.contract = nn.Linear(ffn_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, time, dim) to (batch, time, dim)."""
        return self.dropout(self.contract(self.dropout(F.silu(self.expand(self.norm(x).to(x.dtype))))))


class SelfAttention(nn.Module):
    """Layer norm and multi-head self-attention with one product for query, key and value.

    Args:
        relative_key: learn a vector per distance (:mod:`slam_plugin.modules.relative_key`) in place of rotation.
    """

    def __init__(
        self, dim: int, heads: int, dropout: float, norm: NormFactory = nn.LayerNorm, relative_key: bool = False
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide {dim} channels")
        self.heads, self.attention_dropout = heads, dropout
        self.norm = norm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.relative_key = RelativeKey(dim // heads) if relative_key else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None, positions: Positions, keys: Keys | None = None) -> Tensor:
        """Map x (batch, time, dim), padding_mask (batch, time), positions and keys to (batch, time, dim)."""
        heads = self.project(self.norm(x).to(x.dtype))
        return self.dropout(self.out(self.mix(*heads, padding_mask, positions, keys)))

    def mix(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        padding_mask: Tensor | None,
        positions: Positions,
        keys: Keys | None = None,
    ) -> Tensor:
        """Return the heads' weighted values (batch, time, dim) of (batch, heads, time, head_dim) each."""
        query, key, bias = self._positioned(query, key, positions)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = attend(query, key, value, padding_mask, dropout, bias, keys)  # (batch, heads, time, head_dim)
        return mixed.transpose(1, 2).flatten(2)

    def weights(self, x: Tensor, padding_mask: Tensor | None, positions: Positions) -> Tensor:
        """Return the attention weights (batch, heads, time, time), for inspection, not for training."""
        query, key, _ = self.project(self.norm(x).to(x.dtype))
        query, key, bias = self._positioned(query, key, positions)
        return attention_weights(query, key, padding_mask, bias)

    def project(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value, (batch, heads, time, head_dim) each, of normed states (batch, time, dim)."""
        batch, time, dim = normed.shape
        qkv = self.qkv(normed).view(batch, time, 3, self.heads, dim // self.heads)
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
        return query, key, value

    def _positioned(self, query: Tensor, key: Tensor, positions: Positions) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return query and key with their positions, and the bias by distance, if any."""
        if self.relative_key is not None:
            return query, key, self.relative_key(query, positions)
        if positions is not None:
            query, key = rotate(query, positions), rotate(key, positions)
        return query, key, None


class ConvModule(nn.Module):
    """Layer norm, pointwise GLU, depthwise convolution, norm, swish, pointwise.

    Args:
        kernel: kernel size, odd unless the convolution is causal.
        groups: groups of the masked group norm after the convolution; None for layer norm.
        causal: the convolution sees no later state.
        bias: whether the depthwise convolution and the two pointwise ones have biases.
    """

    def __init__(
        self,
        dim: int,
        kernel: int,
        groups: int | None,
        dropout: float,
        norm: NormFactory = nn.LayerNorm,
        causal: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0 and not causal:
            raise ValueError(f"the depthwise kernel must be odd, not {kernel}")
        self.causal = causal
        self.norm = norm(dim)
        self.expand = nn.Linear(dim, 2 * dim, bias=bias)
        self.depthwise_weight = nn.Parameter(torch.empty(dim, kernel))
        self.depthwise_bias = nn.Parameter(torch.zeros(dim)) if bias else None
        nn.init.uniform_(self.depthwise_weight, -(kernel**-0.5), kernel**-0.5)
        self.conv_norm = MaskedLayerNorm(dim) if groups is None else MaskedGroupNorm(groups, dim)
        self.contract = nn.Linear(dim, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Map x (batch, time, dim) and padding_mask (batch, time) to (batch, time, dim)."""
        gated = F.glu(self.expand(self.norm(x).to(x.dtype)), dim=-1)
        if padding_mask is not None:
            gated = gated * (~padding_mask).to(gated.dtype).unsqueeze(2)
        mixed = depthwise_conv(gated, self.depthwise_weight, self.depthwise_bias, self.causal)
        return self.dropout(self.contract(F.silu(self.conv_norm(mixed, padding_mask))))


class ConformerLayer(nn.Module):
    """Half feed-forward, self-attention, conv module, half feed-forward, final norm. Each with a residual, pre-norm.

    Args:
        dim, heads, ffn_dim, kernel: sizes.
        conv_groups: groups of the conv module's group norm; None for layer norm.
        residual_scale: factor of the four branches' output weights at the start of training. A small one lets the input
            pass through an untrained stack; otherwise CTC long predicts only the letters' frequencies.
        norm: class of every other norm, called with ``dim``.
        relative_key: learned vectors by distance in self-attention; ``positions`` are then ``distance_columns``.
        causal: the convolution sees no later state.
        conv_bias: whether the conv module's three convolutions have biases.
        fused: run by our Triton kernels on a GPU (:mod:`slam_plugin.modules.fused_layer`), if the norm is torch's.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        ffn_dim: int,
        kernel: int = 5,
        conv_groups: int | None = 8,
        dropout: float = 0.0,
        residual_scale: float = 1.0,
        norm: NormFactory = nn.LayerNorm,
        relative_key: bool = False,
        causal: bool = False,
        conv_bias: bool = True,
        fused: bool = True,
    ) -> None:
        super().__init__()
        self.run_fused = fused_layer() if fused and norm is nn.LayerNorm else None
        self.first_ffn = FeedForward(dim, ffn_dim, dropout, norm)
        self.attention = SelfAttention(dim, heads, dropout, norm, relative_key)
        self.conv = ConvModule(dim, kernel, conv_groups, dropout, norm, causal, conv_bias)
        self.second_ffn = FeedForward(dim, ffn_dim, dropout, norm)
        self.final_norm = norm(dim)
        for branch_end in (self.first_ffn.contract, self.attention.out, self.conv.contract, self.second_ffn.contract):
            branch_end.weight.data.mul_(residual_scale)
            if branch_end.bias is not None:
                nn.init.zeros_(branch_end.bias)

    def forward(
        self,
        x: Tensor,
        padding_mask: Tensor | None = None,
        positions: Positions = None,
        keys: Keys | None = None,
    ) -> Tensor:
        """Run the layer. Values at valid positions do not depend on the content or the amount of padding.

        The output has x's type: norms, which CUDA's autocast computes in fp32, are rounded to it.

        Args:
            x: (batch, time, dim).
            padding_mask: (batch, time), True at padding; None without padding.
            positions: ``distance_columns`` if the layer has relative keys, else ``rotary_angles``, or None for
                attention without positions (the paper's choice).
            keys: ``padding_mask`` as attention takes it, made once for a stack by ``visible_keys``; None makes it here.
        """
        if self.run_fused is not None and runs_on(x.device):
            return self.run_fused(self, x, padding_mask, positions, keys)
        x = x.add(self.first_ffn(x), alpha=0.5)
        x = x + self.attention(x, padding_mask, positions, keys)
        x = x + self.conv(x, padding_mask)
        x = x.add(self.second_ffn(x), alpha=0.5)
        return self.final_norm(x).to(x.dtype)

    @contextlib.contextmanager
    def by_operations(self) -> Iterator[None]:
        """Within, the layer runs by torch's operations everywhere: our kernels skip the modules' hooks."""
        run_fused, self.run_fused = self.run_fused, None
        try:
            yield
        finally:
            self.run_fused = run_fused
