"""What is compared for speed is the same thing, and figures are what they say. No test looks at a time."""

import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import figures, layer, padding, targets, timing
from benchmarks.__main__ import main
from benchmarks.figures import Figure, Goal
from benchmarks.floor import Shape, products
from slam_plugin.modules.conformer import ConformerLayer

SHAPE = Shape(batch=3, time=20, dim=128)


def test_minima_are_the_least_of_interleaved_visits():
    now, calls = 0.0, []
    costs = {"a": iter([9.0, 1.0, 3.0, 2.0, 5.0]), "b": iter([9.0, 1.0, 4.0, 6.0, 7.0])}

    def candidate(name):
        def call():
            nonlocal now
            calls.append(name)
            now += next(costs[name])

        return call

    found = timing.minima({name: candidate(name) for name in costs}, rounds=3, shortest=0.5, clock=lambda: now)
    assert found == {"a": 2.0, "b": 4.0}  # the first call, and the one that sets the repeats, do not count
    assert calls == ["a", "a", "b", "b"] + ["a", "b"] + ["b", "a"] + ["a", "b"]


def test_a_quick_candidate_is_repeated_and_its_time_is_that_of_one_call():
    now, calls = 0.0, 0

    def call():
        nonlocal now, calls
        now, calls = now + 0.25, calls + 1

    assert timing.minima({"quick": call}, rounds=2, shortest=1.0, clock=lambda: now) == {"quick": 0.25}
    assert calls == 2 + 2 * 4


def test_the_floor_has_the_products_of_the_layer_and_no_other():
    _, run = layer.ours(SHAPE, rotary=False)
    x = torch.randn(SHAPE.batch, SHAPE.time, SHAPE.dim, requires_grad=True)
    # In bf16 attention is plain products, which the counter knows, and the depthwise convolution is none.
    with FlopCounterMode(display=False) as of_layer:
        with torch.autocast("cpu", torch.bfloat16):
            out = run(x, layer.padding_mask(SHAPE))
        out.sum().backward()
    with FlopCounterMode(display=False) as of_floor:
        products(SHAPE, torch.bfloat16)()
    assert of_floor.get_total_flops() == of_layer.get_total_flops() > 0


def copy_linears(mine: ConformerLayer, theirs: list[nn.Module]) -> None:
    """Parameters of torchaudio's or fairseq's [ffn, norm, attention out, conv sequence ..., ffn, norm] into ours."""
    own = [
        *(mine.first_ffn.norm, mine.first_ffn.expand, mine.first_ffn.contract),
        *(mine.attention.norm, mine.attention.out),
        *(mine.conv.norm, mine.conv.expand, mine.conv.conv_norm, mine.conv.contract),
        *(mine.second_ffn.norm, mine.second_ffn.expand, mine.second_ffn.contract, mine.final_norm),
    ]
    with torch.no_grad():
        for module, source in zip(own, theirs, strict=True):
            module.weight.copy_(source.weight.view_as(module.weight))
            if source.bias is None:
                module.bias.zero_()
            else:
                module.bias.copy_(source.bias)


def assert_same_output_and_gradient(mine, run, x):
    found = mine(x)
    expected = run(x, torch.zeros(x.shape[:2], dtype=torch.bool))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    direction = torch.randn_like(found)
    gradients = [torch.autograd.grad(out, x, direction)[0] for out in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_torchaudios_layer_is_ours_with_one_group():
    torch.manual_seed(0)
    theirs, run = layer.torchaudios(SHAPE)
    mine = ConformerLayer(SHAPE.dim, SHAPE.heads, 4 * SHAPE.dim, layer.KERNEL, conv_groups=1)
    first, second, conv = (module.sequential for module in (theirs.ffn1, theirs.ffn2, theirs.conv_module))
    copy_linears(
        mine,
        [first[0], first[1], first[4], theirs.self_attn_layer_norm, theirs.self_attn.out_proj]
        + [theirs.conv_module.layer_norm, conv[0], conv[3], conv[5]]
        + [second[0], second[1], second[4], theirs.final_layer_norm],
    )
    with torch.no_grad():
        mine.attention.qkv.weight.copy_(theirs.self_attn.in_proj_weight)
        mine.attention.qkv.bias.copy_(theirs.self_attn.in_proj_bias)
        mine.conv.depthwise_weight.copy_(conv[2].weight[:, 0])
        mine.conv.depthwise_bias.copy_(conv[2].bias)
    assert sum(p.numel() for p in mine.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert_same_output_and_gradient(mine, run, torch.randn(3, 20, SHAPE.dim, requires_grad=True))


def test_fairseqs_layer_is_ours_but_for_positions_norm_and_biases():
    torch.manual_seed(0)
    theirs, run = layer.fairseqs(SHAPE)
    mine = ConformerLayer(SHAPE.dim, SHAPE.heads, 4 * SHAPE.dim, layer.KERNEL, layer.CONV_GROUPS)
    conv, attention = theirs.conv_module, theirs.self_attn
    more = attention.linear_pos.weight.numel() + attention.pos_bias_u.numel() + attention.pos_bias_v.numel()
    less = sum(bias.numel() for bias in (mine.conv.expand.bias, mine.conv.contract.bias, mine.conv.depthwise_bias))
    count = sum(p.numel() for p in mine.parameters())
    assert sum(p.numel() for p in theirs.parameters()) == count + more - less

    conv.batch_norm = nn.GroupNorm(layer.CONV_GROUPS, SHAPE.dim)
    for silenced in (attention.linear_pos.weight, attention.pos_bias_u, attention.pos_bias_v):
        nn.init.zeros_(silenced)
    first, second = theirs.ffn1, theirs.ffn2
    copy_linears(
        mine,
        [first.layer_norm, first.w_1, first.w_2, theirs.self_attn_layer_norm, attention.linear_out]
        + [conv.layer_norm, conv.pointwise_conv1, conv.batch_norm, conv.pointwise_conv2]
        + [second.layer_norm, second.w_1, second.w_2, theirs.final_layer_norm],
    )
    projections = (attention.linear_q, attention.linear_k, attention.linear_v)
    with torch.no_grad():
        mine.attention.qkv.weight.copy_(torch.cat([projection.weight for projection in projections]))
        mine.attention.qkv.bias.copy_(torch.cat([projection.bias for projection in projections]))
        mine.conv.depthwise_weight.copy_(conv.depthwise_conv.weight[:, 0])
    assert_same_output_and_gradient(mine, run, torch.randn(3, 20, SHAPE.dim, requires_grad=True))


@pytest.mark.parametrize("name", layer.LAYERS)
def test_a_step_gives_the_gradients_of_input_and_parameters(name):
    gradients = layer.step(name, SHAPE, autocast=False)()
    assert gradients[0].shape == (SHAPE.batch, SHAPE.time, SHAPE.dim)
    shapes = [p.shape for p in layer.LAYERS[name](SHAPE)[0].parameters()]
    assert [gradient.shape for gradient in gradients[1:]] == shapes
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients[:1])


def test_the_contrastive_losses_agree_on_fairseqs_draws():
    torch.manual_seed(0)
    batch, masked, distractors = 2, 15, 6
    given = targets.frames(batch, masked, codes=9, dim=8)
    negatives, indices = targets.fairseqs_draw(given, distractors)
    within = indices.view(batch, masked, distractors) - masked * torch.arange(batch)[:, None, None]
    losses = [
        targets.our_loss(given, within, torch.ones_like(within, dtype=torch.bool)),
        targets.fairseqs_loss(given, negatives),
    ]
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, (given.context, given.targets)) for loss in losses]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_quantisers_agree_without_noise():
    mine, theirs = targets.quantizers(dim=8, codes=12, code_dim=6)
    states = torch.randn(40, 8)
    found, expected = mine(states, targets.GUMBEL_TEMPERATURE, None), theirs.eval()(states[None], produce_targets=True)
    assert torch.equal(found.chosen, expected["targets"].flatten())
    torch.testing.assert_close(found.vectors, expected["x"][0])
    torch.testing.assert_close(found.diversity_loss, 1.0 - expected["prob_perplexity"] / 12, rtol=1e-5, atol=1e-6)


def test_padding_is_seen_where_it_changes_a_result():
    torch.manual_seed(0)
    with torch.no_grad():
        changes = {name: padding.of_layer(name, SHAPE) for name in layer.LAYERS}
    assert changes["layer"] < 1e-6 and changes["rotary layer"] < 1e-6
    assert changes["fairseq relative"] > 1e-3 and changes["torchaudio"] > 1e-3
    alone = torch.tensor([3.0, 4.0])
    assert padding.change(alone, alone + torch.tensor([0.0, 0.5])) == pytest.approx(0.1)


def test_goals_tables_and_files(tmp_path):
    seconds = {"ours": 2.0, "theirs": 5.0, "other": 1.0}
    found = [
        figures.ratio("theirs / ours", seconds, "theirs", "ours", "words", Goal(">=", 2.5)),
        figures.ratio("ours / theirs", seconds, "ours", "theirs", "words", Goal("<=", 0.39)),
        Figure("change", 2e-7, "relative change", "words"),
    ]
    assert [figure.value for figure in found] == [2.5, 0.4, 2e-7]
    assert [figure.met for figure in found] == [True, False, None]
    lines = figures.table(found).splitlines()
    assert [line.split()[-1] for line in lines] == ["met", "yes", "NO", "2.0e-07"]

    figures.write(tmp_path / "results.json", found, {"machine": "a"})
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert written["machine"] == "a"
    assert written["figures"][0] == {
        "name": "theirs / ours",
        "value": 2.5,
        "goal": ">= 2.5",
        "met": True,
        "unit": "times",
        "meaning": "words",
        "cpu_seconds": {"theirs": 5.0, "ours": 2.0},
    }


def test_a_run_writes_every_figure_once(tmp_path, capsys):
    threads = torch.get_num_threads()
    try:
        found = main(["--scale", "smoke", "--out", str(tmp_path / "results.json")])
    finally:
        torch.set_num_threads(threads)
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert written["scale"] == {"name": "smoke", "rounds": 1, "batch": 2, "budget": 800}
    assert written["machine"]["processor"] and written["versions"]["torch"]
    names = [figure["name"] for figure in written["figures"]]
    assert names == [figure.name for figure in found] and len(set(names)) == len(names)
    printed = capsys.readouterr().out
    for figure in written["figures"]:
        assert figure["value"] >= 0 and figure["name"] in printed
        assert (figure["met"] is None) == (figure["goal"] is None)
    padded = [figure for figure in written["figures"] if figure["name"].startswith("padding, small encoder")]
    assert len(padded) == 3 and all(figure["met"] for figure in padded)
