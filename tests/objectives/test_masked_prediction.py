import math
from types import SimpleNamespace

import pytest
import torch

from slam_plugin.objectives.base import build_objectives
from tests.support.passes import build_context, masked_pass

DIM, TIME, CODES = 8, 15, 12
LENGTHS = [15, 9, 4]


def objectives():
    torch.manual_seed(0)
    options = {"codes": CODES, "code_dim": 6}
    configs = {
        "contrastive": SimpleNamespace(weight=1.0, options=options),
        "masked_prediction": SimpleNamespace(weight=1.0, options={}),
    }
    return build_objectives(configs, build_context(DIM))


def view_of(mask, training=True):
    torch.manual_seed(7)
    states = [torch.randn(len(LENGTHS), TIME, DIM, requires_grad=True) for _ in range(3)]
    padding = torch.arange(TIME)[None, :] >= torch.tensor(LENGTHS)[:, None]
    names = dict(zip(("subsampled", "context", "speech"), states, strict=True))
    return masked_pass({"mask_indices": mask}, training, speech_padding_mask=padding, **names)


def random_mask():
    return torch.rand(len(LENGTHS), TIME, generator=torch.Generator().manual_seed(1)) < 0.5


@pytest.mark.parametrize("rows", [None, [True, False, True]])
def test_it_names_the_most_likely_code_of_every_masked_valid_frame(rows):
    built, view = objectives(), view_of(random_mask())
    quantizer, head = built["contrastive"].quantizer, built["masked_prediction"].to_codes
    loss = correct = count = 0.0
    for b, length in enumerate(LENGTHS):
        frames = view.encoded.subsampled[b, :length]
        frames = (frames - frames.mean(0)) / (frames.var(0, correction=0) + 1e-5).sqrt()
        for t in range(length):
            if view.batch["mask_indices"][b, t] and (rows is None or rows[b]):
                code = quantizer.logits(frames[t]).argmax().item()
                scores = head(view.encoded.speech[b, t]).tolist()
                loss += math.log(sum(map(math.exp, scores))) - scores[code]
                correct += scores.index(max(scores)) == code
                count += 1
    if rows is not None:
        view.batch["matches"] = torch.tensor(rows)
    mean, logs = built["masked_prediction"].predict(view, true_pairs=rows is not None)
    assert count > 5 and abs(mean.item() - loss / count) < 1e-4
    expected = {"loss": loss, "accuracy": correct, "frames": count}
    assert logs == {f"masked_prediction_{key}": pytest.approx(value, abs=1e-3) for key, value in expected.items()}
    assert logs.keys() == built["masked_prediction"].zero_logs().keys()
    if rows is None:
        assert built["masked_prediction"](view) == (mean, logs)


def test_it_teaches_the_multimodal_encoder_and_not_the_codebook():
    built, view = objectives(), view_of(random_mask())
    built["masked_prediction"](view).loss.backward()
    reached = {name for name, parameter in built.named_parameters() if parameter.grad is not None}
    assert reached == {"masked_prediction.to_codes.weight", "masked_prediction.to_codes.bias"}
    valid = ~view.encoded.speech_padding_mask
    assert torch.equal(view.encoded.speech.grad.abs().sum(-1) > 0, random_mask() & valid)
    assert view.encoded.subsampled.grad is None and view.encoded.context.grad is None


def test_nothing_masked_is_a_zero_on_the_graph():
    built, view = objectives(), view_of(torch.zeros(len(LENGTHS), TIME, dtype=torch.bool))
    loss, logs = built["masked_prediction"](view)
    assert loss == 0.0 and not any(logs.values())
    loss.backward()
    assert not built["masked_prediction"].to_codes.weight.grad.any() and not view.encoded.speech.grad.any()
