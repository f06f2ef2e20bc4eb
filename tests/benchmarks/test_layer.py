"""The layers compared for speed are the same layer, except for the differences stated here."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import layer
from benchmarks.floor import Shape, products
from benchmarks.peers.layers import CONV_GROUPS, KERNEL, LAYERS, Layer
from slam_plugin.modules.conformer import ConformerLayer

SHAPE = Shape(batch=3, time=20, dim=128)


def test_the_floor_has_the_products_of_the_layer_and_no_other():
    run = LAYERS["layer"](SHAPE).run
    x = torch.randn(SHAPE.batch, SHAPE.time, SHAPE.dim, requires_grad=True)
    # In bf16 attention is plain products, which the counter knows.
    with FlopCounterMode(display=False) as of_layer:
        with torch.autocast("cpu", torch.bfloat16):
            out = run(x, layer.padding_mask(SHAPE))
        out.sum().backward()
    with FlopCounterMode(display=False) as of_floor:
        products(SHAPE, torch.bfloat16)()
    depthwise = of_layer.get_flop_counts()["Global"][torch.ops.aten.convolution]
    assert of_floor.get_total_flops() == of_layer.get_total_flops() - depthwise > 0


def own(conv_groups: int | None) -> ConformerLayer:
    return ConformerLayer(SHAPE.dim, SHAPE.heads, 4 * SHAPE.dim, KERNEL, conv_groups)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def copy_into(mine: ConformerLayer, theirs: list[nn.Module], qkv: list[nn.Module], depthwise: nn.Module) -> None:
    """Copy the parameters of another layer into ours.

    ``theirs``: [ffn (norm, two linears), attention (norm, out), conv (norm, pointwise, norm, pointwise), ffn, norm].
    """
    linears = [
        *(mine.first_ffn.norm, mine.first_ffn.expand, mine.first_ffn.contract),
        *(mine.attention.norm, mine.attention.out),
        *(mine.conv.norm, mine.conv.expand, mine.conv.conv_norm, mine.conv.contract),
        *(mine.second_ffn.norm, mine.second_ffn.expand, mine.second_ffn.contract, mine.final_norm),
    ]
    with torch.no_grad():
        for module, source in zip(linears, theirs, strict=True):
            module.weight.copy_(source.weight.view_as(module.weight))
            if source.bias is None:
                module.bias.zero_()
            else:
                module.bias.copy_(source.bias)
        mine.attention.qkv.weight.copy_(torch.cat([projection.weight for projection in qkv]))
        mine.attention.qkv.bias.copy_(torch.cat([projection.bias for projection in qkv]))
        mine.conv.depthwise_weight.copy_(depthwise.weight[:, 0])
        if depthwise.bias is not None:
            mine.conv.depthwise_bias.copy_(depthwise.bias)


def assert_same(mine: ConformerLayer, theirs: Layer, padding_mask: Tensor) -> None:
    """Return the output at valid positions, and the gradient there."""
    x = torch.randn(SHAPE.batch, SHAPE.time, SHAPE.dim, requires_grad=True)
    outputs = mine(x, padding_mask), theirs.run(x, padding_mask)
    direction = torch.randn_like(x).masked_fill(padding_mask[:, :, None], 0.0)
    gradients = [torch.autograd.grad(out, x, direction)[0] for out in outputs]
    for found in (outputs, gradients):
        torch.testing.assert_close(*(part[~padding_mask] for part in found), rtol=1e-4, atol=1e-5)


def unpadded() -> Tensor:
    return torch.zeros(SHAPE.batch, SHAPE.time, dtype=torch.bool)


def test_torchaudios_layer_is_ours_with_one_group():
    torch.manual_seed(0)
    theirs = LAYERS["torchaudio"](SHAPE)
    module, mine = theirs.module, own(conv_groups=1)
    first, second, conv = (part.sequential for part in (module.ffn1, module.ffn2, module.conv_module))
    copy_into(
        mine,
        [first[0], first[1], first[4], module.self_attn_layer_norm, module.self_attn.out_proj]
        + [module.conv_module.layer_norm, conv[0], conv[3], conv[5]]
        + [second[0], second[1], second[4], module.final_layer_norm],
        [joined(module.self_attn.in_proj_weight, module.self_attn.in_proj_bias)],
        conv[2],
    )
    assert count(mine) == count(module)
    assert_same(mine, theirs, unpadded())


def joined(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.size(1), weight.size(0))
    linear.weight.data, linear.bias.data = weight.data, bias.data
    return linear


@pytest.mark.parametrize("name", ["fairseq relative", "fairseq absolute"])
def test_fairseqs_layers_are_ours_but_for_positions_batch_norm_and_biases_of_convolutions(name):
    torch.manual_seed(0)
    theirs = LAYERS[name](SHAPE)
    module, mine = theirs.module, own(CONV_GROUPS)
    conv, attention = module.conv_module, module.self_attn
    positions = silence_positions(attention)
    assert count(module) == count(mine) + positions - biases_of_convolutions(mine)
    assert abs(count(module) / count(mine) - 1) < 0.05

    conv.batch_norm = nn.GroupNorm(CONV_GROUPS, SHAPE.dim)
    relative = name == "fairseq relative"
    letters = [getattr(attention, f"linear_{part}" if relative else f"{part}_proj") for part in "qkv"]
    out = attention.linear_out if relative else attention.out_proj
    first, second = module.ffn1, module.ffn2
    copy_into(
        mine,
        [first.layer_norm, first.w_1, first.w_2, module.self_attn_layer_norm, out]
        + [conv.layer_norm, conv.pointwise_conv1, conv.batch_norm, conv.pointwise_conv2]
        + [second.layer_norm, second.w_1, second.w_2, module.final_layer_norm],
        letters,
        conv.depthwise_conv,
    )
    assert_same(mine, theirs, unpadded())


def silence_positions(attention: nn.Module) -> int:
    """Remove the effect of relative positions and return the parameters that only they need."""
    if not hasattr(attention, "linear_pos"):
        return 0
    parameters = (attention.linear_pos.weight, attention.pos_bias_u, attention.pos_bias_v)
    for parameter in parameters:
        nn.init.zeros_(parameter)
    return sum(parameter.numel() for parameter in parameters)


def biases_of_convolutions(mine: ConformerLayer) -> int:
    return sum(bias.numel() for bias in (mine.conv.expand.bias, mine.conv.contract.bias, mine.conv.depthwise_bias))


def copy_transformers(mine: ConformerLayer, module: nn.Module, conv_norm: nn.Module) -> None:
    first, second, conv, attention = module.ffn1, module.ffn2, module.conv_module, module.self_attn
    copy_into(
        mine,
        [module.ffn1_layer_norm, first.intermediate_dense, first.output_dense]
        + [module.self_attn_layer_norm, attention.linear_out]
        + [conv.layer_norm, conv.pointwise_conv1, conv_norm, conv.pointwise_conv2]
        + [module.ffn2_layer_norm, second.intermediate_dense, second.output_dense, module.final_layer_norm],
        [attention.linear_q, attention.linear_k, attention.linear_v],
        conv.depthwise_conv,
    )


def test_transformers_conformer_layer_is_ours_but_for_positions_batch_norm_and_biases_of_convolutions():
    torch.manual_seed(0)
    theirs = LAYERS["transformers relative"](SHAPE)
    module, mine = theirs.module, own(CONV_GROUPS)
    positions = silence_positions(module.self_attn)
    assert count(module) == count(mine) + positions - biases_of_convolutions(mine)
    assert abs(count(module) / count(mine) - 1) < 0.05

    module.conv_module.batch_norm = nn.GroupNorm(CONV_GROUPS, SHAPE.dim)
    copy_transformers(mine, module, module.conv_module.batch_norm)
    assert_same(mine, theirs, unpadded())


def test_wav2vec2_berts_layer_is_ours_with_layer_norm_but_for_positions_and_what_the_convolution_sees():
    torch.manual_seed(0)
    theirs = LAYERS["transformers Wav2Vec2-BERT"](SHAPE)
    module, mine = theirs.module, own(conv_groups=None)
    embedding, depthwise = module.self_attn.distance_embedding.weight, module.conv_module.depthwise_conv
    assert count(module) == count(mine) + embedding.numel() - biases_of_convolutions(mine)
    assert abs(count(module) / count(mine) - 1) < 0.05

    nn.init.zeros_(embedding)
    # Theirs sees the four frames before, ours two on either side: the last two of theirs are ours alike.
    depthwise.weight.data[:, :, : KERNEL // 2] = 0.0
    copy_transformers(mine, module, module.conv_module.depthwise_layer_norm)
    with torch.no_grad():
        mine.conv.depthwise_weight.copy_(mine.conv.depthwise_weight.roll(-(KERNEL // 2), dims=1))
    assert_same(mine, theirs, layer.padding_mask(SHAPE))


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_gives_the_gradients_of_input_and_parameters(name):
    gradients = layer.step(name, SHAPE, autocast=False)()
    assert gradients[0].shape == (SHAPE.batch, SHAPE.time, SHAPE.dim)
    shapes = [parameter.shape for parameter in LAYERS[name](SHAPE).module.parameters()]
    assert [gradient.shape for gradient in gradients[1:]] == shapes
    assert gradients[0].isfinite().all() and gradients[0].any()
