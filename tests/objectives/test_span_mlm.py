import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from slam_plugin.objectives.span_mlm import Options, SpanMlm
from tests.support.passes import build_context, masked_pass

DIM, TOKENS, VOCABULARY = 8, 10, 9
COUNTS = [0, 0, 0, 3, 10, 40, 25, 20, 2]


def objective():
    torch.manual_seed(0)
    built = SpanMlm(build_context(DIM, VOCABULARY, torch.tensor(COUNTS)), 1.0, Options())
    nn.init.normal_(built.bias)
    return built


def view_of(mask):
    torch.manual_seed(7)
    text = torch.randn(3, TOKENS, DIM, requires_grad=True)
    targets = torch.randint(4, VOCABULARY, (3, TOKENS))
    batch = {"token_mask_indices": mask, "token_targets": targets, "tokens": torch.full_like(targets, VOCABULARY - 1)}
    return masked_pass(batch, text=text)


def random_mask():
    return torch.rand(3, TOKENS, generator=torch.Generator().manual_seed(1)) < 0.5


@pytest.mark.parametrize("rows", [None, [True, False, True]])
def test_it_names_the_original_of_every_masked_token(rows):
    built, view = objective(), view_of(random_mask())
    linear, norm, embedding = built.transform[0], built.transform[2], built._embedding[0].weight
    loss = correct = count = 0.0
    for b, t in random_mask().nonzero().tolist():
        if rows is None or rows[b]:
            hidden = F.gelu(linear.weight @ view.encoded.text[b, t] + linear.bias)
            hidden = (hidden - hidden.mean()) / (hidden.var(correction=0) + 1e-5).sqrt() * norm.weight + norm.bias
            scores = [(hidden @ embedding[symbol] + built.bias[symbol]).item() for symbol in range(VOCABULARY)]
            target = view.batch["token_targets"][b, t].item()
            loss += math.log(sum(map(math.exp, scores))) - scores[target]
            correct += scores.index(max(scores)) == target
            count += 1
    if rows is not None:
        view.batch["matches"] = torch.tensor(rows)
    mean, logs = built.predict(view, true_pairs=rows is not None)
    assert logs["span_mlm_tokens"] == count > 5 and logs["span_mlm_accuracy"] == correct
    assert abs(logs["span_mlm_loss"].item() - loss) < 1e-3 and abs(mean.item() - loss / count) < 1e-4
    if rows is None:
        assert built(view) == (mean, logs)


def test_chance_is_a_guess_by_frequency():
    built, view = objective(), view_of(random_mask())
    targets = view.batch["token_targets"][random_mask()].tolist()
    logs = built(view).logs
    assert logs["span_mlm_chance"] == targets.count(5) > 0
    counts = [max(count, 1) for count in COUNTS]  # symbols missing from training text count once
    expected = -sum(math.log(counts[target] / sum(counts)) for target in targets)
    assert abs(logs["span_mlm_chance_loss"].item() - expected) < 1e-3
    assert logs["span_mlm_tokens"] == len(targets)
    assert logs.keys() == built.zero_logs().keys()


@pytest.mark.parametrize("frequency_bias", [True, False])
def test_the_loss_starts_at_the_entropy_of_the_words(frequency_bias):
    """Not at log V: here the states do not reach the logits."""
    torch.manual_seed(0)
    context = build_context(DIM, VOCABULARY, torch.tensor(COUNTS))
    nn.init.zeros_(context.text_embedding.weight)
    built = SpanMlm(context, 1.0, Options(frequency_bias=frequency_bias))
    tokens = torch.tensor([symbol for symbol, count in enumerate(COUNTS) for _ in range(count)])
    masked = torch.ones(1, len(tokens), dtype=torch.bool)
    batch = {"token_mask_indices": masked, "token_targets": tokens[None]}
    loss = built(masked_pass(batch, text=torch.randn(1, len(tokens), DIM))).loss.item()
    entropy = -sum(count / sum(COUNTS) * math.log(count / sum(COUNTS)) for count in COUNTS if count)
    expected = entropy if frequency_bias else math.log(VOCABULARY)
    assert loss == pytest.approx(expected, abs=0.05)  # words that never occur count once


def test_the_output_layer_is_the_embedding():
    built, view = objective(), view_of(random_mask())
    built(view).loss.backward()
    assert built._embedding[0].weight.grad.abs().sum(1).all()
    assert sorted(name for name, _ in built.named_parameters()) == [
        "bias",
        "transform.0.bias",
        "transform.0.weight",
        "transform.2.bias",
        "transform.2.weight",
    ]
    assert torch.equal(view.encoded.text.grad.abs().sum(-1) > 0, random_mask())


def test_nothing_masked_is_a_zero_on_the_graph():
    built, view = objective(), view_of(torch.zeros(3, TOKENS, dtype=torch.bool))
    loss, logs = built(view)
    assert loss == 0.0 and not any(logs.values())
    loss.backward()
    assert not built.bias.grad.any() and not view.encoded.text.grad.any()
