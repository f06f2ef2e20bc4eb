"""The cross-entropy in chunks against the whole logits."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from slam_plugin.modules import cross_entropy
from slam_plugin.modules.cross_entropy import linear_cross_entropy, needs_chunks
from slam_plugin.objectives.base import classify, classify_by_linear
from slam_plugin.objectives.span_mlm import Options, SpanMlm
from tests.support.passes import build_context, masked_pass
from tests.support.syncs import CountedSyncs

DIM, CLASSES, ROWS = 6, 11, 4  # rows of a chunk


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(cross_entropy, "MAX_LOGITS", ROWS * CLASSES + 3)


def drawn(rows, bias=True, dtype=torch.float64):
    torch.manual_seed(rows)
    states, weight = torch.randn(rows, DIM, dtype=dtype), torch.randn(CLASSES, DIM, dtype=dtype)
    shift = torch.randn(CLASSES, dtype=dtype) if bias else None
    leaves = [each.requires_grad_() for each in (states, weight, shift) if each is not None]
    return states, weight, shift, torch.randint(CLASSES, (rows,)), leaves


class Calls(TorchDispatchMode):
    """Counts products, and notes the most elements of a tensor that an operation returns."""

    products = elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.products += func._overloadpacket.__name__ in ("mm", "addmm")
        sizes = [each.numel() for each in tree_leaves(out) if isinstance(each, torch.Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return out


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [0, 1, ROWS - 1, ROWS, 2 * ROWS + 1, 3 * ROWS])
def test_it_is_the_loss_of_the_whole_logits(rows, bias):
    states, weight, shift, targets, leaves = drawn(rows, bias)
    logits = F.linear(states, weight, shift)
    expected = F.cross_entropy(logits, targets, reduction="sum")
    loss, correct = linear_cross_entropy(states, weight, shift, targets)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    assert loss.dtype == torch.float64 and correct == (logits.argmax(1) == targets).sum()
    found, wanted = (torch.autograd.grad(-1.7 * value, leaves) for value in (loss, expected))
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_frozen_weight_gets_no_gradient():
    states, weight, shift, targets, _ = drawn(9)
    with Calls() as free:
        linear_cross_entropy(states, weight, shift, targets)[0].backward()
    states, frozen, shift, targets, _ = drawn(9)
    frozen.requires_grad_(False)
    with Calls() as fixed:
        linear_cross_entropy(states, frozen, shift, targets)[0].backward()
    assert fixed.products == free.products * 2 / 3 and frozen.grad is None and weight.grad is not None


def test_extreme_logits_stay_finite():
    states = torch.tensor([[1e4], [1e4], [-1e4]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    targets = torch.tensor([0, 1, 0])
    loss, correct = linear_cross_entropy(states, weight, None, targets)
    loss.backward()
    assert loss.item() == 4e4 and correct == 1
    assert states.grad.flatten().tolist() == [0.0, 2.0, -2.0]


def test_the_backward_pass_may_run_again_but_has_no_derivative():
    states, weight, shift, targets, leaves = drawn(9)
    loss, _ = linear_cross_entropy(states, weight, shift, targets)
    once = torch.autograd.grad(loss, leaves, retain_graph=True)
    for first, second in zip(once, torch.autograd.grad(2 * loss, leaves, retain_graph=True), strict=True):
        torch.testing.assert_close(second, 2 * first)
    (grad,) = torch.autograd.grad(loss.square(), states, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_a_weight_that_is_also_the_embedding_gets_both_gradients():
    torch.manual_seed(0)
    embedding = nn.Embedding(CLASSES, DIM, dtype=torch.float64)
    tokens = torch.randint(CLASSES, (9,))

    def gradient(loss_of):
        (found,) = torch.autograd.grad(
            loss_of(embedding(tokens).tanh(), embedding.weight, None, tokens), embedding.weight
        )
        return found

    plain = gradient(lambda states, weight, bias, targets: classify(states @ weight.t(), targets).loss)
    torch.testing.assert_close(gradient(lambda *given: linear_cross_entropy(*given)[0]), plain, rtol=1e-6, atol=1e-6)


def test_under_autocast_products_are_in_bf16_and_sums_in_fp32():
    states, weight, shift, targets, leaves = drawn(37, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss, correct = linear_cross_entropy(states, weight, shift, targets)
        plain, hits, _ = classify(F.linear(states, weight, shift), targets)
    assert loss.dtype == torch.float32 and correct == hits
    torch.testing.assert_close(loss, plain, rtol=1e-6, atol=0)  # of the same bf16 logits
    exact = F.cross_entropy(F.linear(*(each.double() for each in (states, weight, shift))), targets, reduction="sum")
    for ours, theirs in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(exact, leaves), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02 * theirs.abs().max().item())


@pytest.mark.parametrize("autocast", [False, True])
def test_no_tensor_has_the_logits_of_all_rows(autocast):
    rows = 10 * DIM  # so that states and weight are smaller than the logits of two chunks
    states, weight, shift, targets, _ = drawn(rows, dtype=torch.float32)
    with Calls() as calls, CountedSyncs() as syncs, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        linear_cross_entropy(states, weight, shift, targets)[0].backward()
    assert calls.elements == max(rows * DIM, ROWS * CLASSES) < rows * CLASSES
    assert not syncs.found
    with Calls() as calls:
        classify(F.linear(states, weight, shift), targets).loss.backward()
    assert calls.elements == rows * CLASSES


def test_few_logits_and_passes_without_gradients_are_computed_whole():
    states, weight, shift, targets, leaves = drawn(ROWS, dtype=torch.float32)
    assert not needs_chunks(states, weight)
    found, plain = (
        classify_by_linear(states, weight, shift, targets),
        classify(F.linear(states, weight, shift), targets),
    )
    for ours, theirs in zip(found, plain, strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(*(torch.autograd.grad(each.loss, leaves) for each in (found, plain)), strict=True):
        assert torch.equal(ours, theirs)
    states = drawn(ROWS + 1)[0]
    assert needs_chunks(states, weight)
    with torch.no_grad():
        assert not needs_chunks(states, weight)


def test_an_objective_logs_the_same_either_way(monkeypatch):
    def step():
        torch.manual_seed(0)
        built = SpanMlm(build_context(DIM, CLASSES, torch.arange(CLASSES)), 1.0, Options())
        text = torch.randn(3, 10, DIM, requires_grad=True)
        targets = torch.randint(CLASSES, (3, 10))
        batch = {"token_mask_indices": torch.rand(3, 10) < 0.7, "token_targets": targets, "tokens": targets}
        loss, logs = built(masked_pass(batch, text=text))
        loss.backward()
        return loss, logs, [text.grad, built._embedding[0].weight.grad, *(p.grad for p in built.parameters())]

    chunked = step()
    monkeypatch.setattr(cross_entropy, "MAX_LOGITS", 10**6)
    whole = step()
    assert whole[1]["span_mlm_tokens"] > ROWS and chunked[1].keys() == whole[1].keys()
    torch.testing.assert_close(chunked, whole)
