"""The trunk's configuration: its flags."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from slam_plugin.models.base.presets import (
    CAUSAL,
    DEFAULT,
    LEARNED,
    LINEAR,
    NONE,
    RELATIVE_KEY,
    ROTARY,
    SAME,
    SIZES,
)
from slam_plugin.modules.front_end import CONV, STACKED


@dataclass
class TrunkConfig(FairseqDataclass):
    """Sizes and options of the trunk. A size field left out is filled from the preset that ``size`` names."""

    size: ChoiceEnum(list(SIZES)) = field(
        default=DEFAULT, metadata={"help": "preset for sizes that are not set; xl is the paper's"}
    )
    encoder_dim: Optional[int] = field(
        default=None, metadata={"help": "model dimension of the encoder (default: by --size)"}
    )
    encoder_heads: Optional[int] = field(
        default=None, metadata={"help": "attention heads of a Conformer layer (default: by --size)"}
    )
    encoder_ffn_dim: Optional[int] = field(
        default=None, metadata={"help": "hidden dimension of the encoder's feed-forward modules (default: by --size)"}
    )
    speech_layers: Optional[int] = field(
        default=None, metadata={"help": "Conformer layers of the speech encoder (default: by --size)"}
    )
    multimodal_layers: Optional[int] = field(
        default=None, metadata={"help": "Conformer layers shared by speech and text (default: by --size)"}
    )
    subsample_channels: Optional[int] = field(
        default=None, metadata={"help": "channels of the two subsampling convolutions (default: by --size)"}
    )
    front_end: Optional[ChoiceEnum([CONV, STACKED])] = field(
        default=None,
        metadata={
            "help": "front end of speech: convolutions as in the paper, or two stacked frames as in w2v-BERT 2.0 "
            "(default: by --size)"
        },
    )
    frames_per_state: Optional[int] = field(
        default=None,
        metadata={
            "help": "frames of 10 ms in a state: 4 or 2 with convolutions, 2 if stacked (default: the first of these)"
        },
    )
    conv_kernel: Optional[int] = field(
        default=None,
        metadata={"help": "kernel size of the depthwise convolution, odd unless it is causal (default: by --size)"},
    )
    conv_padding: Optional[ChoiceEnum([SAME, CAUSAL])] = field(
        default=None,
        metadata={
            "help": "states that the depthwise convolution sees: as many before as after, or none after "
            "(default: by --size)"
        },
    )
    conv_bias: Optional[ChoiceEnum([LEARNED, NONE])] = field(
        default=None,
        metadata={"help": "biases of the convolution module's three convolutions (default: by --size)"},
    )
    conv_norm: Optional[ChoiceEnum(["group", "layer"])] = field(
        default=None,
        metadata={"help": "normalization in the convolution module; group is the paper's (default: by --size)"},
    )
    conv_groups: Optional[int] = field(
        default=None,
        metadata={"help": "groups of the convolution module's group norm; not given in the paper (default: by --size)"},
    )
    positions: Optional[ChoiceEnum([NONE, ROTARY, RELATIVE_KEY])] = field(
        default=None,
        metadata={
            "help": "positions in self-attention; none is the paper's, relative_key that of w2v-BERT 2.0 (default: by "
            "--size)"
        },
    )
    speech_projection: Optional[ChoiceEnum([LINEAR, NONE])] = field(
        default=None,
        metadata={
            "help": "between the speech encoder and the shared layers: a linear layer as in the paper, or nothing "
            "(default: by --size)"
        },
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout in the encoder, attention weights included"})
    autocast: ChoiceEnum(["none", "bf16"]) = field(
        default="none",
        metadata={"help": "bf16 computes matrix products in bf16; losses, softmax and norms stay in fp32"},
    )
    checkpoint_activations: bool = field(
        default=False,
        metadata={"help": "save memory: recompute the Conformer layers' activations in the backward pass"},
    )
    plain_kernels: bool = field(
        default=False,
        metadata={"help": "on a GPU, run the Conformer layers by torch's operations in place of our Triton kernels"},
    )
    compile: bool = field(
        default=False,
        metadata={"help": "torch.compile the Conformer layers; for GPUs: a CPU compiles for a minute and gains little"},
    )
    cudnn_attention: bool = field(
        default=False,
        metadata={"help": "on a GPU, let torch use cuDNN's attention; it plans anew for each batch size and length"},
    )
    apex_norm: bool = field(
        default=False,
        metadata={"help": "layer norms by apex, which must be installed; by default torch's, whatever is installed"},
    )
