"""No objective makes the host wait for a GPU: counted on any device, and left to torch's own check on a GPU."""

import pytest
import torch
from fairseq.utils import apply_to_sample

from benchmarks import joint
from benchmarks.joint import Batch
from slam_plugin.models.pretraining import SlamPretrainingConfig
from slam_plugin.modules.ctc_paths import PATH_ROWS, PATHS, find_paths
from slam_plugin.modules.pseudo_speech import PseudoSpeechSpec, spoken_of
from slam_plugin.modules.selection import LISTS, SIZES, pack, select_positions
from slam_plugin.objectives.base import REGISTRY
from tests.support.passes import write_centroids
from tests.support.syncs import CountedSyncs

VOCABULARY = 50
SHAPES = {
    "speech": Batch("speech", 3, frames=120),
    "text": Batch("text", 3, tokens=24),
    "pairs": Batch("pairs", 4, frames=120, tokens=8),
}
SMALL = {"encoder_dim": 16, "encoder_heads": 2, "encoder_ffn_dim": 32, "speech_layers": 1, "multimodal_layers": 2}
OPTIONS = {
    "best_rq": {"unmasked_weight": 0.5, "frequency_bias": True},
    "ctc": {"inputs": "clean", "layer": "top"},
    "masked_prediction": {"unmasked_weight": 0.5, "frequency_bias": True},
    "stm": {"partners": "both"},
}


def model_of(tmp_path, **options):
    torch.manual_seed(0)
    centroids = write_centroids(tmp_path / "kmeans.npz", torch.randn(5, 26))
    options = {**OPTIONS, "kmeans": {"centroids": centroids}, **options}
    config = SlamPretrainingConfig(size="tiny", subsample_channels=4, dropout=0.1, **SMALL)
    return joint.joint_model(tuple(REGISTRY), VOCABULARY, config, options)


def batch_of(kind):
    """Make a batch with padding, as the shards collate it."""
    batch = joint.random_batch(SHAPES[kind], VOCABULARY)
    states = None
    if kind != "text":
        padding = torch.arange(120) >= torch.tensor([120, 96, 84, 60][: SHAPES[kind].items])[:, None]
        states = padding[:, ::4]
        batch["feature_padding_mask"], batch["mask_indices"] = padding, batch["mask_indices"] & ~states
    if kind == "pairs":
        batch["false_partners"] = torch.tensor([1, -1, 0, 2])
        targets = batch["token_targets"][:, 1:-1]
        inside = torch.ones_like(targets, dtype=torch.bool)
        batch |= find_paths(targets, inside, (~states).sum(1), batch["matches"]).entries()
    if kind == "text":
        spec, starts = PseudoSpeechSpec(96, 1.0, 0.49, 10), torch.zeros(VOCABULARY, dtype=torch.bool)
        draws = torch.Generator().manual_seed(batch["seed"])
        batch |= spoken_of(batch["token_targets"], None, spec, starts, (0, 2), 1, draws).entries()
    return {**batch, **pack(select_positions(batch, states))}


def step(model, batch):
    outputs = model(batch)
    loss = sum(output.loss for output in outputs.values())
    if model.training:
        loss.backward()
    return outputs


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("partners", ["one", "both"])
@pytest.mark.parametrize("kind", SHAPES)
def test_no_pass_waits_for_the_device(tmp_path, kind, partners, training):
    model, batch = model_of(tmp_path, stm={"partners": partners}).train(training), batch_of(kind)
    with torch.set_grad_enabled(training), CountedSyncs() as syncs:
        outputs = step(model, batch)
    assert not syncs.found
    assert outputs.keys() == {name for name, objective in REGISTRY.items() if kind in objective.kinds}


@pytest.mark.parametrize("kind", SHAPES)
def test_the_lists_of_a_batch_change_neither_losses_nor_gradients(tmp_path, kind):
    """A batch that was made by hand has none: they are made from its masks, which a GPU would be waited for."""
    found = []
    for left_out in ((), (LISTS, SIZES, PATHS, PATH_ROWS)):
        model = model_of(tmp_path)
        batch = {k: v for k, v in batch_of(kind).items() if k not in left_out and not (left_out and "spoken" in k)}
        torch.manual_seed(1)
        with CountedSyncs() as syncs:
            outputs = step(model, batch)
        assert bool(syncs.found) == bool(left_out)
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found.append(({name: output.loss for name, output in outputs.items()}, gradients))
    (losses, gradients), (other_losses, other_gradients) = found
    assert losses == other_losses and gradients.keys() == other_gradients.keys()
    assert all(torch.equal(gradient, other_gradients[name]) for name, gradient in gradients.items())


def test_the_count_sees_what_waits():
    values, mask = torch.randn(3, 2), torch.tensor([True, False, True])
    waiting = (
        lambda: values[mask],
        lambda: values.sum().item(),
        lambda: mask.any() and 1,
        lambda: mask.nonzero(),
        lambda: torch.bincount(mask.long()),
        lambda: torch.tensor([1, 2]),
        lambda: values.index_put((mask,), torch.zeros(2, 2)),
        lambda: values.repeat_interleave(mask.long(), dim=0),
        lambda: mask.unique(),
    )
    for wait in waiting:
        with CountedSyncs() as syncs:
            wait()
        assert syncs.found
    with CountedSyncs() as syncs:
        values[torch.arange(2)].sum().add(1)
    assert not syncs.found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", SHAPES)
def test_a_gpu_is_not_waited_for(tmp_path, kind):
    """Without CTC losses: torch's own kernel copies their lengths to the device."""
    model = model_of(tmp_path).cuda()
    for name in ("ctc", "text_ctc"):
        model.objectives[name].weight = 0.0
    batch = apply_to_sample(lambda tensor: tensor.pin_memory(), batch_of(kind))
    for mode in (0, "error"):  # the first step may wait for libraries
        torch.cuda.set_sync_debug_mode(mode)
        try:
            step(model, apply_to_sample(lambda tensor: tensor.to("cuda", non_blocking=True), batch))
        finally:
            torch.cuda.set_sync_debug_mode(0)
