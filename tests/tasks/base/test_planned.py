"""Micro-batches of a plan step: which of them exchange gradients, and what running out of memory says."""

import contextlib

import pytest
import torch

from tests.support import training


class Sum:
    """Stands in for criterion and optimizer: the sum of a weight, without a pass of the model."""

    def __init__(self, fails_on: str | None = None) -> None:
        self.fails_on = fails_on
        self.events: list[str] = []

    def __call__(self, model, batch):
        if batch["kind"] == self.fails_on:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.events.append(batch["kind"])
        return model.trunk.multimodal_layers[0].final_norm.weight.sum(), 1, {}

    def backward(self, loss):
        loss.backward()

    @contextlib.contextmanager
    def no_sync(self):
        self.events.append("(")
        yield
        self.events.append(")")


@pytest.fixture
def step(toy):
    """Task, model, and a plan step of speech, two of text, and pairs."""
    task = training.make_task(toy)
    model = training.build_model(task)
    task.load_dataset("train")
    sample = list(task.get_batch_iterator(task.datasets["train"]).next_epoch_itr())[5]
    assert [batch["kind"] for batch in sample["batches"]] == ["speech", "text", "text", "pairs"]
    return task, model, sample


def test_one_rank_takes_the_order_of_the_plan(step):
    task, model, sample = step
    passes = Sum()
    task.train_step(sample, model, passes, passes, 0)
    assert passes.events == ["speech", "text", "text", "pairs"]


def test_several_ranks_exchange_gradients_in_the_last_micro_batch_alone(step):
    task, model, sample = step
    passes = Sum()
    model.no_sync = passes.no_sync
    task.train_step(sample, model, passes, passes, 0)
    assert "".join(passes.events) == "(text)(text)(pairs)speech"


@pytest.mark.parametrize("ranks", [1, 2])
def test_running_out_of_memory_names_the_batch(step, ranks):
    task, model, sample = step
    passes = Sum(fails_on="text")
    if ranks > 1:
        model.no_sync = passes.no_sync
    tokens = sample["batches"][1]["n_tokens"]
    said = f"plan step 5: out of memory in a batch of text with 0 frames and {tokens} tokens; lower its corpus's"
    with pytest.raises(MemoryError, match=said) as caught:
        task.train_step(sample, model, passes, passes, 0)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
