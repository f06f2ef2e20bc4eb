"""Logs that are fetched when they are read are those of a trainer that fetches them at each update."""

import inspect
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from fairseq.logging import metrics
from fairseq.trainer import Trainer

from slam_plugin import compat
from slam_plugin.compat import logs
from slam_plugin.criterions.pretraining import SlamPretrainingCriterion
from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.objectives.base import REGISTRY
from slam_plugin.tasks.base.bad_updates import GROWTH, UpdateGuard

compat.register()
NUMBERS = sorted({key for objective in REGISTRY.values() for pair in objective.schema().ratios.items() for key in pair})
UPDATES, EPOCH, STOP, BAD = 13, 7, 4, 10  # an epoch ends, and a checkpoint is saved, in the middle of intervals


@pytest.fixture(autouse=True)
def own_metrics() -> Iterator[None]:
    """Leave no meters to other tests of this process."""
    metrics.reset()
    yield
    metrics.reset()


def outputs_of(update: int) -> dict:
    """Return the logs of an update: sums of the objectives in fp32, counts, and some numbers of the host."""
    draws = torch.Generator().manual_seed(update)
    output = {key: torch.rand((), generator=draws) * 9 for key in NUMBERS}
    for name, objective in REGISTRY.items():
        output |= dict.fromkeys(objective.schema().ratios.values(), float(3 * update))
        active = name == "contrastive" or update % 2
        output[f"_{name}_weighted"] = torch.rand((), generator=draws) if active else 0.0
        output[f"_{name}_passes"] = float(active)
    return {**output, "tokens": 8.0, "frames": torch.tensor(40 * update)}


def trainer_of(task: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(
        task=task,
        device=torch.device("cpu"),
        cfg=SimpleNamespace(optimization=SimpleNamespace(clip_norm=1.0)),
        get_criterion=lambda: None,
        tpu=False,
        _warn_once=set(),
    )


def loop(log: Callable, interval: int, updates=range(1, UPDATES + 1)) -> tuple[list[dict[str, float]], dict]:
    """Log as fairseq's training loop does. Return what is logged at each interval, and at ends of epochs, and states.

    Update ``BAD`` is skipped. A state is kept after ``STOP`` updates and after the last one.
    """
    guard = UpdateGuard(limit=1)
    task = SimpleNamespace(guard=guard, reduce_metrics=lambda o, criterion: SlamPretrainingCriterion.reduce_metrics(o))
    trainer, read, states = trainer_of(task), [], {}
    for epoch in (updates[: EPOCH - updates[0] + 1], updates[max(EPOCH - updates[0] + 1, 0) :]):
        with metrics.aggregate("train"):
            for update in epoch:
                with metrics.aggregate("train_inner"):
                    metrics.log_scalar("lr", 0.1 * update, weight=0)
                    norm = torch.tensor(math.nan if update == BAD else 0.3 * update)
                    if update == BAD:
                        logs.read_logs()  # as the check of the norm does
                    guard.skips(norm)
                    log(trainer, [outputs_of(update)], 1.0, torch.nan_to_num(norm))
                if update % interval == 0:
                    read.append(dict(metrics.get_smoothed_values("train_inner")))
                    metrics.reset_meters("train_inner")
                if update in (STOP, UPDATES):
                    states[update] = metrics.state_dict()
            read.append(dict(metrics.get_smoothed_values("train")))
            metrics.reset_meters("train")
    return [timeless(values) for values in read], states


def timeless(values: dict) -> dict:
    return {key: value for key, value in values.items() if key not in ("ups", "audio_seconds_per_second")}


def counted(states: dict) -> dict:
    """Return the states without what depends on the clock. What a speed divides by the time is kept."""
    found = {}
    for update, state in states.items():
        for name, meters in state.items():
            found[update, name] = [
                (key, kind, values["n"] if kind == "TimeMeter" else values) for _, key, kind, values in meters
            ]
    return found


at_once = inspect.unwrap(Trainer._reduce_and_log_stats, stop=lambda f: f.__code__.co_filename.endswith("training.py"))


@pytest.mark.parametrize("interval", [1, 2, 5])
def test_what_is_logged_and_saved_has_the_same_bits_as_if_it_was_read_at_each_update(interval):
    found, states = loop(Trainer._reduce_and_log_stats, interval)
    metrics.reset()
    expected, other_states = loop(at_once, interval)
    assert found == expected and len(found) == UPDATES // interval + 2
    assert counted(states) == counted(other_states)


@pytest.mark.parametrize("interval", [1, 2, 5])
def test_logs_are_the_means_of_plain_sums(interval):
    found, _ = loop(Trainer._reduce_and_log_stats, interval)
    intervals = [range(first, first + interval) for first in range(1, UPDATES - interval + 2, interval)]
    ends = {len([i for i in intervals if i[-1] <= EPOCH]): range(1, EPOCH + 1)}
    for place, epoch in ends.items():
        intervals.insert(place, epoch)
    for values, members in zip(found[:-1], intervals, strict=True):
        outputs = [outputs_of(update) for update in members if update != BAD]
        if not outputs:
            continue
        for objective in REGISTRY.values():
            for key, count in objective.schema().ratios.items():
                sums = [sum(float(output[name]) for output in outputs) for name in (key, count)]
                assert values[key] == pytest.approx(sums[0] / sums[1], abs=1e-4)
        norms = [0.3 * update for update in members if update != BAD]
        assert values["gnorm"] == pytest.approx(sum(norms) / len(norms), abs=1e-3)
        assert values["clip"] == pytest.approx(100 * sum(norm > 1 for norm in norms) / len(norms), abs=0.1)
        frames = [40 * update for update in members if update != BAD]
        assert values["frames"] == pytest.approx(sum(frames) / len(frames), abs=1)


def test_nothing_is_fetched_before_it_is_read(monkeypatch):
    fetch, fetched = logs.fetch, []
    monkeypatch.setattr(logs, "fetch", lambda packed: fetched.append(len(packed)) or fetch(packed))
    loop(Trainer._reduce_and_log_stats, 5)
    # The first alone, for the clocks. Then to save, at the interval, at the end of the epoch, before the bad update,
    # and at the end: after 4, 5, 7, 9 and 13.
    assert fetched == [1, 3, 1, 2, 2, 3]


def test_speeds_count_from_the_first_update():
    _, states = loop(Trainer._reduce_and_log_stats, 50)
    kept = {key: values["n"] for _, key, kind, values in states[STOP]["train"] if kind == "TimeMeter"}
    seconds = [40 * update / FRAMES_PER_SECOND for update in range(1, STOP + 1)]
    assert kept == {"ups": STOP - 1, "audio_seconds_per_second": pytest.approx(sum(seconds[1:]))}


def test_a_run_that_resumes_in_an_interval_logs_what_the_other_one_does():
    found, states = loop(Trainer._reduce_and_log_stats, 5)
    metrics.reset()
    metrics.load_state_dict(states[STOP])
    again, other_states = loop(Trainer._reduce_and_log_stats, 5, range(STOP + 1, UPDATES + 1))
    assert again == found
    del states[STOP]
    # fairseq restores the aggregator of all values, but goes on with a new one
    kept = [{key: value for key, value in counted(s).items() if key[1] != "default"} for s in (states, other_states)]
    assert strip_speeds(kept[0]) == strip_speeds(kept[1])


def strip_speeds(states: dict) -> dict:
    """A resumed run has another first update, which no speed counts."""
    return {key: [meter for meter in meters if meter[1] != "TimeMeter"] for key, meters in states.items()}


def test_outside_the_training_loop_logs_are_returned_at_once():
    task = SimpleNamespace(
        guard=UpdateGuard(0), reduce_metrics=lambda o, criterion: SlamPretrainingCriterion.reduce_metrics(o)
    )
    trainer = trainer_of(task)
    for update in (1, 2):
        logged = Trainer._reduce_and_log_stats(trainer, [outputs_of(update)], 1.0, torch.tensor(1.0))
        assert logged["frames"] == 40 * update


def test_a_diverging_loss_is_warned_of_before_the_error_it_leads_to(caplog):
    guard, losses = UpdateGuard(limit=0), iter([1.0, 1.0, 2 * GROWTH])
    task = SimpleNamespace(guard=guard, reduce_metrics=lambda o, criterion: metrics.log_scalar("loss", next(losses)))
    trainer = trainer_of(task)
    trainer._grad_norm_buf, trainer.is_fsdp = None, False
    trainer.optimizer = SimpleNamespace(clip_grad_norm=lambda *a, **b: torch.tensor(math.inf))
    with metrics.aggregate("train"), metrics.aggregate("train_inner"):
        for _ in range(3):
            Trainer._reduce_and_log_stats(trainer, [{}], 1.0, torch.tensor(1.0))
        assert "a thousand times its minimum" not in caplog.text
        with pytest.raises(RuntimeError, match="found 1 such updates"):
            Trainer.clip_grad_norm(trainer, 1.0)
    assert "a thousand times its minimum" in caplog.text


# ---- packing


def test_packed_logs_have_the_same_types_shapes_and_bits():
    draws = torch.Generator().manual_seed(0)
    output = {
        "single": torch.rand((), generator=draws),
        "half": torch.rand(3, generator=draws).bfloat16(),
        "double": torch.rand(2, 2, generator=draws).double(),
        "count": torch.tensor(2**52 + 1),
        "flag": torch.tensor([True, False]),
        "empty": torch.zeros(0),
        "special": torch.tensor([math.nan, math.inf, -0.0]),
        "number": 3.5,
    }
    others = [{"single": torch.tensor(1 / 3)}, {"number": 1}]
    found = logs.fetch(
        [logs.PackedLogs([output, others[0]], torch.device("cpu")), logs.PackedLogs([others[1]], torch.device("cpu"))]
    )
    assert [len(outputs) for outputs in found] == [2, 1] and found[1] == [{"number": 1}]
    for one, other in zip(found[0], (output, others[0]), strict=True):
        assert one.keys() == other.keys()
        for key, value in other.items():
            if torch.is_tensor(value):
                assert one[key].dtype == value.dtype and one[key].shape == value.shape
                torch.testing.assert_close(one[key], value, rtol=0, atol=0, equal_nan=True)
            else:
                assert one[key] == value
    assert math.copysign(1, found[0][0]["special"][2]) == -1


def test_packed_logs_are_a_copy():
    value = torch.ones(())
    packed = logs.PackedLogs([{"value": value}], torch.device("cpu"))
    value.add_(1)
    assert logs.fetch([packed]) == [[{"value": torch.tensor(1.0)}]]


def test_numbers_and_tensors_of_two_steps_are_added_up_and_sent():
    steps = [{"a": 1.5, "b": torch.tensor(0.1)}, {"a": 2, "b": 0.25}]
    outputs, stats = logs.send_numbers(steps, [2.0, 0], torch.device("cpu"))
    assert outputs == [{"a": torch.tensor(3.5).double(), "b": torch.tensor(0.1) + 0.25}]
    assert outputs[0]["b"].dtype == torch.float32
    assert stats == [torch.tensor(2.0).double(), torch.tensor(0.0).double()]
    assert logs.send_numbers([], [1.0], torch.device("cpu")) == ([], [torch.tensor(1.0).double()])
