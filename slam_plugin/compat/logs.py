"""Workarounds for fairseq's logs: the host does not wait for the device to log an update."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from torch import Tensor

from slam_plugin.compat.workaround import Workaround

_LOOP = ("train", "train_inner")  # the aggregators of fairseq's training loop: of an epoch and of a log interval


class PackedLogs:
    """A copy of logging outputs, with all tensors of a device in one vector there.

    ``torch.double`` holds each value of fp32 and bf16, and each count below 2**53, as it is.

    Example::

        packed = [PackedLogs(outputs, device) for outputs in updates]
        fetch(packed)[0] == updates[0]  # with tensors on the host

    Attributes:
        vector: (n,) in fp64 on the device, None if no value is a tensor there.
    """

    def __init__(self, logging_outputs: Sequence[Mapping[str, Any]], device: torch.device) -> None:
        self._outputs = [dict(output) for output in logging_outputs]
        self._of_type: dict[torch.dtype, list[tuple[dict[str, Any], str]]] = {}
        for output in self._outputs:
            for key, value in output.items():
                if torch.is_tensor(value) and value.device.type == device.type:
                    self._of_type.setdefault(value.dtype, []).append((output, key))
        parts = [torch.cat([o[key].detach().reshape(-1) for o, key in found]) for found in self._of_type.values()]
        self.vector = torch.cat([part.double() for part in parts]) if parts else None
        for output, key in [place for found in self._of_type.values() for place in found]:
            output[key] = output[key].shape  # frees the tensor

    def unpack(self, values: Tensor) -> list[dict[str, Any]]:
        """Return the logging outputs with the tensors that ``values`` (n,), the vector on the host, holds."""
        outputs, start = {id(output): dict(output) for output in self._outputs}, 0
        for dtype, found in self._of_type.items():
            sizes = [output[key].numel() for output, key in found]
            parts = values[start : start + sum(sizes)].to(dtype).split(sizes)
            for (output, key), part in zip(found, parts, strict=True):
                outputs[id(output)][key] = part.view(output[key])
            start += sum(sizes)
        return list(outputs.values())


def fetch(packed: Sequence[PackedLogs]) -> list[list[dict[str, Any]]]:
    """Return the logging outputs of each of ``packed``, fetched from the device in one transfer."""
    vectors = [logs.vector if logs.vector is not None else torch.empty(0) for logs in packed]
    full = [vector for vector in vectors if len(vector)]
    values = torch.cat(full).cpu() if full else torch.empty(0)
    parts = values.split([len(vector) for vector in vectors])
    return [logs.unpack(part) for logs, part in zip(packed, parts, strict=True)]


# ---- logs that are read when they are needed


class _Update(NamedTuple):
    logs: PackedLogs
    log: Callable[[Sequence[Mapping[str, Any]]], Any]


_unread: list[_Update] = []


def read_logs() -> None:
    """Fetch the logs of the updates since the last call, and log them as fairseq would have done at each of them."""
    updates = _unread.copy()
    _unread.clear()
    if updates:
        with metrics.aggregate(_LOOP[0]), metrics.aggregate(_LOOP[1]):
            for update, outputs in zip(updates, fetch([update.logs for update in updates]), strict=True):
                update.log(outputs)


def _may_wait() -> bool:
    """Return whether an update's logs may wait: the training loop reads them, and its clocks run.

    fairseq starts the clock of a speed when it is first logged. It has logged all of them, and ``ups``, at the first
    update.
    """
    loop = [metrics.get_meters(name) for name in _LOOP]
    active = metrics.get_active_aggregators()
    in_loop = len(active) == 3 and all(found is meters for found, meters in zip(active[1:], loop, strict=True))
    return in_loop and all("ups" in meters for meters in active)


def _read_logs_late() -> None:
    log = Trainer._reduce_and_log_stats

    @functools.wraps(log)
    def _reduce_and_log_stats(self, logging_outputs, sample_size, grad_norm=None):
        guard = getattr(self.task, "guard", None)
        if guard is None or guard.skipped or grad_norm is None:  # None in validation, which has its own meters
            return log(self, logging_outputs, sample_size, grad_norm)
        packed = PackedLogs(logging_outputs, self.device)
        if _may_wait():
            _unread.append(_Update(packed, functools.partial(log, self, sample_size=sample_size, grad_norm=grad_norm)))
            return {}  # fairseq's loop only asks whether it is None
        read_logs()
        return log(self, fetch([packed])[0], sample_size, grad_norm)

    Trainer._reduce_and_log_stats = _reduce_and_log_stats
    # fairseq reads its meters at each --log-interval, at the end of an epoch, and to save.
    for name in ("get_smoothed_values", "state_dict"):
        setattr(metrics, name, _after(read_logs, getattr(metrics, name)))
    metrics.reset = _after(_unread.clear, metrics.reset)


def _after(first: Callable[[], Any], function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args, **kwargs):
        first()
        return function(*args, **kwargs)

    return call


# ---- sums over ranks


def _add_ranks_on_the_device() -> None:
    add = Trainer._fast_stat_sync_sum

    @functools.wraps(add)
    def _fast_stat_sync_sum(self, logging_outputs, *extra_stats_to_sum, ignore=False):
        if getattr(self.task, "guard", None) is None:
            return add(self, logging_outputs, *extra_stats_to_sum, ignore=ignore)
        outputs, stats = send_numbers(logging_outputs, extra_stats_to_sum, self.device)
        outputs, sums = add(self, outputs, *stats, ignore=ignore)
        if getattr(self.task, "even_sample_sizes", False):
            # fairseq compares the sum with 0, and the optimizer its inverse with 1.
            sums[0] = extra_stats_to_sum[0] * self.data_parallel_world_size
        return outputs, sums

    Trainer._fast_stat_sync_sum = _fast_stat_sync_sum


def send_numbers(
    logging_outputs: Sequence[Mapping[str, Any]], stats: Sequence[Any], device: torch.device
) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return the sum of the logging outputs and ``stats``, with all numbers as fp64 tensors () on the device.

    They are sent in one copy from pinned memory, which nothing waits for.
    """
    keys = logging_outputs[0] if logging_outputs else ()
    sums = {key: sum(output[key] for output in logging_outputs if key in output) for key in keys}
    values = [*sums.values(), *stats]
    numbers = torch.tensor([value for value in values if not torch.is_tensor(value)], dtype=torch.double)
    if device.type == "cuda":
        numbers = numbers.pin_memory().to(device, non_blocking=True)
    sent = iter(numbers.unbind())
    values = [value if torch.is_tensor(value) else next(sent) for value in values]
    outputs = [dict(zip(sums, values[: len(sums)], strict=True))] if logging_outputs else []
    return outputs, values[len(sums) :]


WORKAROUNDS = (
    Workaround(
        "late logs",
        "the logs of each update are fetched from the device, also if only one update in --log-interval is logged: the "
        "host waits until the device has done all that was asked of it, and the device then waits for the host",
        _read_logs_late,
    ),
    Workaround(
        "sums on the device",
        "on several ranks, numbers of the host are sent to the device at each update in a copy that the host waits "
        "for, and the sum of the sample sizes is fetched twice",
        _add_ranks_on_the_device,
    ),
)
