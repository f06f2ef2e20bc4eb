import math
from types import SimpleNamespace

import pytest
import torch

from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.objectives.base import build_objectives, counts_key
from slam_plugin.objectives.best_rq import BestRq, Options
from tests.support.passes import FEATURES, build_context, masked_pass, valid_masked

DIM, CODES = 8, 12
FRAMES = [40, 31, 9]
TIME = FrontEnd().states_of(max(FRAMES))


def objective(training=True):
    torch.manual_seed(0)
    return BestRq(build_context(DIM), 1.0, Options(codes=CODES, code_dim=4)).train(training)


def view_of(share=0.6, training=True):
    torch.manual_seed(7)
    speech = torch.randn(len(FRAMES), TIME, DIM, requires_grad=True)
    padding_mask = torch.arange(max(FRAMES))[None, :] >= torch.tensor(FRAMES)[:, None]
    features = torch.randn(len(FRAMES), max(FRAMES), FEATURES).masked_fill(padding_mask[:, :, None], 9.0)
    states = torch.tensor([FrontEnd().states_of(frames) for frames in FRAMES])
    mask = torch.rand(len(FRAMES), TIME) < share
    batch = {"features": features, "feature_padding_mask": padding_mask, "mask_indices": mask}
    return masked_pass(batch, training, speech=speech, speech_padding_mask=torch.arange(TIME) >= states[:, None])


@pytest.mark.parametrize("rows", [None, [True, False, True]])
def test_it_names_the_code_of_the_input_behind_every_masked_frame(rows):
    built, view = objective(), view_of()
    loss = correct = count = 0.0
    for b, frames in enumerate(FRAMES):
        for t in range(FrontEnd().states_of(frames)):
            if view.batch["mask_indices"][b, t] and (rows is None or rows[b]):
                stacked = view.batch["features"][b, 4 * t : min(4 * t + 4, frames)].flatten()
                stacked = torch.cat((stacked, torch.zeros(4 * FEATURES - len(stacked))))
                code = built.quantizer(stacked[None]).item()
                scores = built.to_codes(view.encoded.speech[b, t]).tolist()
                loss += math.log(sum(map(math.exp, scores))) - scores[code]
                correct += scores.index(max(scores)) == code
                count += 1
    if rows is not None:
        view.batch["matches"] = torch.tensor(rows)
    mean, logs = built.predict(view, true_pairs=rows is not None)
    assert count > 5 and abs(mean.item() - loss / count) < 1e-4
    assert logs == {"best_rq_loss": pytest.approx(loss, abs=1e-3), "best_rq_accuracy": correct, "best_rq_frames": count}


@pytest.mark.parametrize("training", [True, False])
def test_the_codes_are_counted_in_validation(training):
    built, view = objective(training), view_of(training=training)
    logs = built(view).logs
    assert logs.keys() == built.zero_logs().keys()
    if not training:
        ids = built.masked_codes(view).tolist()
        assert logs[counts_key("best_rq_code")].tolist() == [ids.count(code) for code in range(CODES)]


def test_it_learns_by_the_output_layer_and_the_states_alone():
    built, view = objective(), view_of()
    built(view).loss.backward()
    assert {name for name, parameter in built.named_parameters()} == {"to_codes.weight", "to_codes.bias"}
    reached = view.encoded.speech.grad.abs().sum(-1) > 0
    assert torch.equal(reached, valid_masked(view))


def test_nothing_masked_is_a_zero_on_the_graph():
    built, view = objective(), view_of(0.0)
    loss, logs = built(view)
    assert loss == 0.0 and not any(logs.values())
    loss.backward()
    assert not built.to_codes.weight.grad.any()


def test_tlm_takes_it_up():
    options = {"best_rq": {"codes": CODES}, "tlm": {}}
    configs = {name: SimpleNamespace(weight=1.0, options=given) for name, given in options.items()}
    built, view = build_objectives(configs, build_context(DIM)), view_of()
    view.batch["matches"] = torch.tensor([True, False, True])
    loss, logs = built["tlm"](view)
    assert loss == built["best_rq"].predict(view, true_pairs=True).loss and logs["tlm_best_rq_frames"] > 0
