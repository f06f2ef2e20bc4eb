"""Weights are cast once in a plan step, with the gradients of a cast in each micro-batch."""

import contextlib
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from slam_plugin.criterions.pretraining import SlamPretrainingCriterion
from slam_plugin.tasks.base import planned
from tests.support import training


class Casts(TorchDispatchMode):
    """Counts the casts of each parameter to bf16."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.names = {p.data_ptr(): name for name, p in model.named_parameters()}
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and result.dtype is torch.bfloat16:
            name = self.names.get(args[0].data_ptr())
            if name is not None:
                self.counts[name] += 1
        return result


def step(toy, checkpoint_activations: bool, counted: bool) -> tuple[dict, Counter]:
    """Return gradients by name and casts by name of a plan step of speech, two of text, and pairs."""
    flags = {"dropout": 0.0, "autocast": "bf16", "checkpoint_activations": checkpoint_activations or None}
    task = training.make_task(toy)
    model = training.build_model(task, **flags)
    task.load_dataset("train")
    steps = list(task.get_batch_iterator(task.datasets["train"]).next_epoch_itr())
    kinds = [batch["kind"] for batch in steps[5]["batches"]]
    assert kinds == ["speech", "text", "text", "pairs"]
    criterion = SlamPretrainingCriterion(task)
    casts = Casts(model)
    with casts if counted else contextlib.nullcontext():
        task.train_step(steps[5], model, criterion, Plain(), 0)
    assert torch.is_autocast_cache_enabled() and not torch.is_autocast_enabled("cpu")
    return {name: p.grad for name, p in model.named_parameters()}, casts.counts


def events_of_the_last_pass(toy) -> list[str]:
    """Return the order of two gradients in the last micro-batch: states of the first layer, a weight of the last."""
    task = training.make_task(toy)
    model = training.build_model(task, dropout=0.0, autocast="bf16")
    model.no_sync = contextlib.nullcontext  # as several ranks
    task.load_dataset("train")
    steps = list(task.get_batch_iterator(task.datasets["train"]).next_epoch_itr())
    events: list[str] = []

    def watch(module, inputs, output):
        output.register_hook(lambda gradient: events.append("states"))

    model.trunk.speech_layers[0].register_forward_hook(watch)
    weight = model.trunk.multimodal_layers[-1].first_ffn.expand.weight
    weight.register_post_accumulate_grad_hook(lambda weight: events.append("weight"))
    task.train_step(steps[5], model, SlamPretrainingCriterion(task), Plain(), 0)
    return events[-2:]


class Plain:
    """Stands in for an optimizer."""

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


@pytest.mark.parametrize("checkpoint_activations", [False, True])
def test_gradients_have_the_bits_of_a_cast_in_each_micro_batch(toy, monkeypatch, checkpoint_activations):
    kept, _ = step(toy, checkpoint_activations, counted=False)
    monkeypatch.setattr(planned, "kept_casts", contextlib.nullcontext)
    anew, _ = step(toy, checkpoint_activations, counted=False)
    assert [name for name in kept if (kept[name] is None) != (anew[name] is None)] == []
    assert [name for name in kept if kept[name] is not None and not torch.equal(kept[name], anew[name])] == []
    assert sum(grad is not None for grad in kept.values()) > 40


def test_each_weight_is_cast_once_in_a_step(toy, monkeypatch):
    _, once = step(toy, False, counted=True)
    assert once.pop("speech_mask") == 2  # a vector that the code itself casts, for speech and for pairs
    assert len(once) > 20 and set(once.values()) == {1}, once.most_common(5)
    monkeypatch.setattr(planned, "kept_casts", contextlib.nullcontext)
    _, often = step(toy, False, counted=True)
    assert once.keys() < often.keys() and max(often.values()) == 4


def test_gradients_of_the_last_pass_come_as_it_goes(toy, monkeypatch):
    """So that several ranks can exchange them beside it."""
    assert events_of_the_last_pass(toy) == ["weight", "states"]
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: None)
    assert events_of_the_last_pass(toy) == ["states", "weight"]
