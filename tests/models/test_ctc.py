"""slam_ctc: padding, freezing, learning rates, and where the trunk comes from."""

import logging
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf

from slam_plugin.data.errors import DataError
from slam_plugin.models.base.encoder import frozen_parameters
from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.models.base.warm_start import load_trunk, read_source, set_architecture
from slam_plugin.models.ctc import SlamCtc, SlamCtcModelConfig
from slam_plugin.optim.adamw import SlamAdamW, SlamAdamWConfig
from tests.support.checkpoints import task_of

TINY = {
    "size": "tiny",
    "encoder_dim": 32,
    "encoder_ffn_dim": 64,
    "speech_layers": 1,
    "multimodal_layers": 2,
    "subsample_channels": 4,
}


def dictionary():
    symbols = Dictionary()
    for symbol in "abcdefgh":
        symbols.add_symbol(symbol)
    return symbols


def configuration(**fields):
    config = OmegaConf.structured(SlamCtcModelConfig(**fields))
    OmegaConf.set_struct(config, False)
    config._name = "slam_ctc"
    return OmegaConf.create(OmegaConf.to_container(config, enum_to_str=True))


def build(**fields):
    torch.manual_seed(0)
    config = configuration(**{**TINY, **fields})
    set_architecture(config, None)
    return SlamCtc.build_model(config, SimpleNamespace(target_dictionary=dictionary()))


def batch(lengths, seed=0):
    """Features with rubbish at padding, and their mask."""
    features = torch.randn(len(lengths), max(lengths), 80, generator=torch.Generator().manual_seed(seed))
    return features, torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("positions", ["none", "rotary"])
@pytest.mark.parametrize("conv_norm", ["group", "layer"])
def test_an_utterance_alone_is_as_in_a_batch(positions, conv_norm):
    model = build(positions=positions, conv_norm=conv_norm).eval()
    lengths = [61, 120, 9]
    features, mask = batch(lengths)
    together = model(features, mask)
    for i, length in enumerate(lengths):
        alone = model(features[i : i + 1, :length], mask[i : i + 1, :length])["logits"][0]
        valid = together["logits"][i][~together["padding_mask"][i]]
        assert valid.shape == alone.shape
        assert (valid - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_bf16_is_near_fp32_and_gives_fp32_logits():
    features, mask = batch([80, 100])
    fp32, bf16 = build().eval(), build(autocast="bf16").eval()
    reference, found = fp32(features, mask)["logits"], bf16(features, mask)["logits"]
    assert found.dtype == torch.float32
    assert 0 < (found - reference).abs().max() < 0.05 * reference.abs().max()


# ---- freezing and rates


def gradient_names(model):
    model(*batch([40, 60]))["logits"].sum().backward()
    return {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}


def test_frozen_trunk_has_no_gradient_until_its_update():
    model = build(freeze_encoder_updates=3)
    assert gradient_names(model) == {"output"}
    model.set_num_updates(2)
    assert len(frozen_parameters(model)) == len(list(model.encoder.trunk.parameters()))
    assert gradient_names(model) == {"output"}
    model.set_num_updates(3)
    assert frozen_parameters(model) == []
    assert gradient_names(model) == {"output", "encoder"}


def test_encoder_moves_at_its_own_rate():
    """The first step of Adam is the learning rate times the gradient's sign, whatever the gradient."""
    model = build(encoder_lr_scale=0.125, dropout=0.0, final_dropout=0.0)
    config = OmegaConf.structured(SlamAdamWConfig())
    OmegaConf.update(config, "lr", [0.01], force_add=True)
    config.adam_eps = 0.0
    optimizer = SlamAdamW(config, list(model.parameters()))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model(*batch([40, 60]))["logits"].square().sum().backward()
    optimizer.step()
    for name, p in model.named_parameters():
        if p.grad is None:
            continue
        moved = (p.detach() - before[name])[p.grad != 0].abs()
        expected = 0.01 * (0.125 if name.startswith("encoder.") else 1.0)
        assert torch.allclose(moved, torch.full_like(moved, expected), rtol=1e-2), name


# ---- configuration


def test_presets_fill_what_is_left_out_and_the_name_is_the_models():
    config = configuration(encoder_dim=64)
    config._name = "slam_ctc_small"
    set_architecture(config, None)
    assert (config._name, config.size, config.encoder_dim, config.encoder_ffn_dim) == ("slam_ctc", "small", 64, 1024)
    assert (config.conv_kernel, config.conv_norm, config.conv_groups, config.positions) == (5, "group", 8, "rotary")


@pytest.mark.parametrize(
    ("size", "expected"), [(None, "rotary"), ("small", "rotary"), ("base", "none"), ("xl", "none")]
)
def test_positions_are_the_presets_unless_given(size, expected):
    config = configuration(size=size)
    set_architecture(config, None)
    assert config.positions == expected
    for given in ("none", "rotary"):
        config = configuration(size=size, positions=given)
        set_architecture(config, None)
        assert config.positions == given


def test_an_architecture_and_another_size_are_refused():
    config = configuration(size="base")
    config._name = "slam_ctc_tiny"
    with pytest.raises(ValueError, match="--size base: found"):
        set_architecture(config, None)


def save(path, config, weights):
    """The parts of a fairseq checkpoint that are read."""
    history = [{"criterion_name": "C", "optimizer_name": "O", "lr_scheduler_state": {}, "num_updates": 7}]
    cfg = {"task": {"_name": task_of(config["_name"])}, "model": config}
    state = {"args": None, "cfg": cfg, "model": weights, "task_state": {}}
    torch.save({**state, "optimizer_history": history, "extra_state": {"train_iterator": {"epoch": 1}}}, path)


def pretraining_checkpoint(path, **fields):
    """A pre-training checkpoint: a trunk with both sides, and heads."""
    config = configuration(**{**TINY, "positions": "rotary", **fields})
    set_architecture(config, None)
    torch.manual_seed(1)
    trunk = build_trunk(config, vocab_size=20, padding_idx=1)
    weights = {f"trunk.{name}": value for name, value in trunk.state_dict().items()}
    weights |= {"objectives.contrastive.projection.weight": torch.zeros(2, 2), "speech_mask": torch.zeros(2)}
    save(path, OmegaConf.to_container(config), weights)
    return trunk


def test_sizes_left_out_are_the_pretrained_ones(tmp_path):
    pretraining_checkpoint(tmp_path / "pre.pt")
    config = configuration()
    set_architecture(config, read_source(tmp_path / "pre.pt"))
    assert {key: config[key] for key in TINY} == TINY
    assert config.positions == "rotary"


def test_contradictions_with_the_pretrained_trunk_are_named(tmp_path):
    pretraining_checkpoint(tmp_path / "pre.pt")
    source = read_source(tmp_path / "pre.pt")
    with pytest.raises(DataError) as error:
        set_architecture(configuration(encoder_dim=64, positions="none", speech_layers=1), source)
    assert "encoder_dim: found 64, expected 32" in str(error.value)
    assert "positions: found none, expected rotary" in str(error.value)
    assert "speech_layers" not in str(error.value)
    with pytest.raises(DataError, match="--arch: small.*encoder_dim: found 256, expected 32"):
        set_architecture(configuration(size="small"), source)


def test_the_trunk_is_taken_and_the_rest_left_and_said_so(tmp_path, caplog):
    pretrained = pretraining_checkpoint(tmp_path / "pre.pt")
    model = build(positions="rotary")
    with caplog.at_level(logging.INFO):
        load_trunk(model.encoder.trunk, read_source(tmp_path / "pre.pt"))
    taken = pretrained.state_dict()
    for name, value in model.encoder.trunk.state_dict().items():
        assert torch.equal(value, taken[name]), name
    took, left = caplog.messages[-2:]
    assert f"took {len(model.encoder.trunk.state_dict())} tensors" in took
    for name in ("objectives.contrastive", "trunk.text_embedding", "speech_mask"):
        assert name in left
    assert "trunk.speech_layers" not in left


def test_a_fine_tuned_checkpoint_serves_as_pretrained(tmp_path):
    source, target = build(positions="rotary"), build(positions="rotary")
    with torch.no_grad():
        for p in source.parameters():
            p.add_(1)
    config = OmegaConf.to_container(source.encoder.config)
    save(tmp_path / "asr.pt", config, source.state_dict())
    load_trunk(target.encoder.trunk, read_source(tmp_path / "asr.pt"))
    for mine, theirs in zip(target.encoder.parameters(), source.encoder.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_what_is_no_checkpoint_of_ours_is_named(tmp_path):
    with pytest.raises(DataError, match="pre.pt: there is no such checkpoint"):
        read_source(tmp_path / "pre.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "pre.pt")
    with pytest.raises(DataError, match="pre.pt: is not a checkpoint of fairseq"):
        read_source(tmp_path / "pre.pt")
    save(tmp_path / "pre.pt", {"_name": "slam_ctc"}, {"layer.weight": torch.zeros(100)})
    with pytest.raises(DataError, match="has no trunk.*layer.weight"):
        read_source(tmp_path / "pre.pt")


def test_a_trunk_that_lacks_tensors_is_named(tmp_path):
    pretraining_checkpoint(tmp_path / "pre.pt")
    source = read_source(tmp_path / "pre.pt")
    del source.weights["trunk.speech_projection.bias"]
    with pytest.raises(DataError, match="missing.*speech_projection.bias"):
        load_trunk(build(positions="rotary").encoder.trunk, source)
