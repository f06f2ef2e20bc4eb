import math

import pytest
import torch
from fairseq.modules import GumbelVectorQuantizer
from torch.nn import functional as F

from slam_plugin.modules.contrast import draw_distractors
from slam_plugin.modules.quantizer import normalize_over_time
from slam_plugin.objectives.base import REGISTRY, counts_key
from slam_plugin.objectives.contrastive import Contrastive, Options, perplexity
from tests.support.passes import build_context, masked_pass

DIM, TIME, SEED = 8, 20, 3
LENGTHS = [20, 20, 12, 6]
STATES = {"speech": "context", "multimodal": "speech"}


def objective(training=False, **options):
    torch.manual_seed(0)
    given = {"codes": 12, "code_dim": 6, "distractors": 5} | options
    built = Contrastive(build_context(DIM), 1.0, Options(**given))
    return built.train(training)


def padding():
    return torch.arange(TIME)[None, :] >= torch.tensor(LENGTHS)[:, None]


def random_mask():
    """Make masks of four utterances, one without any, one with three frames, True also at padding."""
    mask = torch.rand(len(LENGTHS), TIME, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[1] = False
    mask[3] = torch.arange(TIME) < 3
    mask[2, 12:] = True
    return mask


def view_of(mask, training=False, padded=True):
    torch.manual_seed(7)
    states = [torch.randn(len(LENGTHS), TIME, DIM, requires_grad=True) for _ in range(3)]
    names = dict(zip(("subsampled", "context", "speech"), states, strict=True))
    padding_mask = padding() if padded else None
    return masked_pass({"mask_indices": mask}, training, SEED, speech_padding_mask=padding_mask, **names)


def sums_of_a_loop(built, view, rows=None):
    """Return loss, accuracy, chance, chance loss and count, frame by frame, without noise."""
    mask, encoded = view.batch["mask_indices"] & ~padding(), view.encoded
    frames = normalize_over_time(encoded.subsampled, padding())
    distractors, _ = draw_distractors(
        mask.sum(1), int(mask.sum(1).max()), built.options.distractors, torch.Generator().manual_seed(SEED)
    )
    sums = dict.fromkeys(("loss", "correct", "chance", "chance_loss", "count"), 0.0)
    for b in range(len(LENGTHS)):
        places = mask[b].nonzero().flatten().tolist()
        codes = [built.quantizer.logits(frames[b, t]).argmax().item() for t in places]
        targets = [built.project_targets(built.quantizer.codebook[code]) for code in codes]
        for m, t in enumerate(places):
            context = built.project_context(getattr(encoded, STATES[built.options.context])[b, t])
            others = distractors[b, m, : min(len(places) - 1, built.options.distractors)].tolist()
            others = [j for j in others if codes[j] != codes[m]]
            if not others or (rows is not None and not rows[b]):
                continue
            scores = [F.cosine_similarity(context, targets[j], dim=0).item() / 0.1 for j in [m, *others]]
            sums["loss"] += math.log(sum(map(math.exp, scores))) - scores[0]
            sums["correct"] += scores[0] == max(scores)
            sums["chance"] += 1.0 / len(scores)
            sums["chance_loss"] += math.log(len(scores))
            sums["count"] += 1
    return sums


@pytest.mark.parametrize(("distractors", "context"), [(3, "speech"), (100, "speech"), (3, "multimodal")])
def test_loss_and_chance_are_those_of_a_loop(distractors, context):
    options = {"distractors": distractors, "context": context, "diversity_weight": 0.0}
    built, view = objective(**options), view_of(random_mask())
    expected = sums_of_a_loop(built, view)
    loss, logs = built(view)
    assert 10 < expected["count"] < random_mask().sum()
    assert logs["contrastive_frames"] == expected["count"] and logs["contrastive_accuracy"] == expected["correct"]
    assert abs(loss.item() - expected["loss"] / expected["count"]) < 1e-4
    assert abs(logs["contrastive_loss"].item() - expected["loss"]) < 1e-3
    assert abs(logs["contrastive_chance"].item() - expected["chance"]) < 1e-4
    assert abs(logs["contrastive_chance_loss"].item() - expected["chance_loss"]) < 1e-3


def test_a_tie_is_not_right():
    """All targets are the same, as in a collapse: fairseq's criterion does not count them either."""
    built = objective()
    torch.nn.init.zeros_(built.project_targets.weight)
    logs = built(view_of(random_mask())).logs
    assert logs["contrastive_frames"] > 10 and logs["contrastive_accuracy"] == 0
    torch.testing.assert_close(logs["contrastive_loss"], logs["contrastive_chance_loss"])


def test_rows_choose_utterances_whose_distractors_stay_the_same():
    built, rows = objective(), torch.tensor([True, False, False, True])
    view = view_of(random_mask())
    expected = sums_of_a_loop(built, view, rows)
    view.batch["matches"] = rows
    found = built.contrast(view, true_pairs=True)
    assert found.classified.count == expected["count"] > 0
    assert abs(found.classified.loss.item() - expected["loss"]) < 1e-3
    assert abs(found.chance.item() - expected["chance"]) < 1e-4


def test_targets_are_the_unmasked_states_of_masked_valid_frames_quantized_once(monkeypatch):
    built, view = objective(training=True), view_of(random_mask(), training=True)
    calls = []
    quantize = built.quantizer.forward
    monkeypatch.setattr(built.quantizer, "forward", lambda *given: calls.append(given) or quantize(*given))
    quantized = built.targets(view)
    built(view)
    ((frames, temperature, generator),) = calls
    masked = random_mask() & ~padding()
    assert quantized.ids.shape == (masked.sum(),)
    torch.testing.assert_close(frames, normalize_over_time(view.encoded.subsampled, padding())[masked])
    assert temperature == built.temperature and generator is view.generator


def test_noise_is_for_training_alone():
    mask = random_mask()
    trained, evaluated = (objective(flag).targets(view_of(mask, flag)) for flag in (True, False))
    assert torch.equal(trained.ids, evaluated.ids) and torch.equal(evaluated.ids, evaluated.chosen)
    assert not torch.equal(trained.ids, trained.chosen)


def test_diversity_has_its_weight():
    losses = []
    for weight in (0.0, 1.0):
        built = objective(diversity_weight=weight)
        loss, logs = built(view_of(random_mask()))
        losses.append(loss)
    frames = normalize_over_time(view_of(random_mask()).encoded.subsampled, padding())[random_mask() & ~padding()]
    mean = built.quantizer.logits(frames).softmax(-1).double().mean(0)
    expected = 1.0 - math.exp(-sum(p * math.log(p) for p in mean.tolist())) / 12
    assert abs((losses[1] - losses[0]).item() - expected) < 1e-4
    assert abs(logs["diversity_loss"].item() - expected) < 1e-4 and logs["quantized_batches"] == 1.0


def test_perplexity_in_closed_form():
    assert abs(perplexity(torch.tensor([5, 5, 0, 5, 0])).item() - 3.0) < 1e-5
    assert abs(perplexity(torch.tensor([0, 9])).item() - 1.0) < 1e-6
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert abs(perplexity(torch.tensor([30, 10, 0])).item() - expected) < 1e-5
    built, view = objective(), view_of(random_mask())
    counts = torch.bincount(built.targets(view).ids, minlength=12)
    logs = built(view).logs
    assert abs(logs["batch_code_perplexity"].item() - perplexity(counts).item()) < 1e-5
    assert logs[counts_key("code")].tolist() == counts.tolist()


def test_the_temperature_is_fairseqs_at_every_update():
    built = objective(gumbel_start=2.0, gumbel_end=0.5, gumbel_decay=0.999)
    fairseqs = GumbelVectorQuantizer(DIM, 4, (2.0, 0.5, 0.999), 1, False, 4, True)
    for update in (0, 1, 100, 1000, 5000, 3):
        built.set_num_updates(update)
        fairseqs.set_num_updates(update)
        assert built.temperature == pytest.approx(fairseqs.curr_temp)
    assert built(view_of(random_mask())).logs["temperature"] == built.temperature


@pytest.mark.parametrize("case", ["nothing masked", "one frame each", "one code"])
def test_without_a_distractor_there_is_no_contrastive_loss(case):
    """And a loss of zero, or of diversity alone, that is part of the graph."""
    built = objective(training=True)
    mask = torch.zeros(len(LENGTHS), TIME, dtype=torch.bool)
    if case == "one frame each":
        mask[:, 2] = True
    if case == "one code":
        mask = random_mask()
        built.quantizer.logit_std = None
        torch.nn.init.zeros_(built.quantizer.to_logits.weight)
        built.quantizer.to_logits.bias.data[5] = 1000.0
    view = view_of(mask, training=True)
    loss, logs = built(view)
    for key in ("contrastive_loss", "contrastive_accuracy", "contrastive_chance", "contrastive_chance_loss"):
        assert logs[key] == 0.0
    assert logs["contrastive_frames"] == 0
    diversity = logs["diversity_loss"].item()
    assert (diversity == 0.0) == (case == "nothing masked")
    assert abs(loss.item() - built.options.diversity_weight * diversity) < 1e-6
    loss.backward()
    gradients = [parameter.grad for parameter in built.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert not built.project_context.weight.grad.any()
    if case == "nothing masked":
        assert not any(gradient.any() for gradient in gradients)
        assert (logs["quantized_batches"], logs["temperature"], logs["batch_code_perplexity"]) == (0.0, 0.0, 0.0)
    else:
        assert logs["quantized_batches"] == 1.0


@pytest.mark.parametrize("training", [True, False])
def test_the_schema_of_logs_is_fixed(training):
    built = objective(training)
    keys = built.zero_logs().keys()
    assert keys == built(view_of(random_mask(), training)).logs.keys()
    assert keys == built(view_of(torch.zeros(len(LENGTHS), TIME, dtype=torch.bool), training)).logs.keys()
    assert not any(torch.as_tensor(value).any() for value in built.zero_logs().values())
    assert REGISTRY["contrastive"] is Contrastive and set(built.logged.ratios) < set(keys)
