"""Places in a whole update of fairseq's trainer where the host waits for a GPU, counted on a processor."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.trainer import Trainer

from slam_plugin.tasks.base.bad_updates import UpdateGuard
from tests.support import counted, training
from tests.support.syncs import ListedSyncs

INTERVAL, UPDATES = 3, 7
FLAGS = {
    **{"optimizer": "slam_adamw", "warmup_init_lr": None, "max_update": UPDATES, "log_interval": INTERVAL},
    **{"no_save": True, "disable_validation": True},
}
LOGS = ("cpu", "fetch")


@pytest.mark.parametrize(("ranks", "fetcher"), [(1, "_fetch_norm"), (2, "fetched_with_request")])
def test_an_update_fetches_a_norm_and_an_interval_its_logs(toy, tmp_path, ranks, fetcher):
    """The updates are of speech, then of speech and text, then of all kinds. The first one starts the clocks."""
    run = training.train(toy, tmp_path / "run", ranks, user_dir=counted.user_dir(tmp_path), **FLAGS)
    assert run.code == 0, run.output[-3000:]
    norm = ("cpu", fetcher)
    assert counted.found(run.output, "update") == [[norm, LOGS]] + [[norm]] * (UPDATES - 1)
    # Whether to stop came with the norm. The last update ends the run anyway.
    assert counted.found(run.output, "end") == [[]] * (UPDATES - 1)
    epochs = -(-UPDATES * training.UPDATE_FREQ // training.STEPS_PER_EPOCH)
    readings = counted.found(run.output, "reading")
    assert len(readings) == UPDATES // INTERVAL + epochs  # some find nothing new: an epoch ends with an interval
    assert all(reading in ([], [LOGS]) for reading in readings) and [LOGS] in readings


# ---- the norms of all ranks


def trainer_of(others: float, task) -> SimpleNamespace:
    """Return what a trainer's checks of the norm need, on the first of two ranks. The other's norm is ``others``."""
    return SimpleNamespace(
        task=task,
        _grad_norm_buf=torch.zeros(2).double(),
        data_parallel_rank=0,
        data_parallel_process_group=None,
        is_fsdp=False,
        optimizer=SimpleNamespace(clip_grad_norm=lambda max_norm, aggregate_norm_fn: torch.tensor(0.1)),
        cfg=SimpleNamespace(common=SimpleNamespace(amp=False)),
        zero_grad=lambda: None,
        others=others,
    )


@pytest.mark.parametrize(
    ("others", "fails"), [(0.1, False), (0.1 * (1 + 1e-7), False), (0.2, True), (float("nan"), True)]
)
def test_ranks_whose_norms_differ_are_found_as_fairseq_finds_them(monkeypatch, others, fails):
    trainer = trainer_of(float(torch.tensor(others)), SimpleNamespace(guard=UpdateGuard(limit=0)))
    monkeypatch.setattr(
        distributed_utils, "all_reduce", lambda buffer, group: buffer[1].copy_(torch.tensor(trainer.others))
    )
    norm = Trainer.clip_grad_norm(trainer, 1.0)
    assert norm == torch.tensor(0.1) and norm.dtype == torch.float32
    for task in (trainer.task, SimpleNamespace()):  # with our check before fairseq's, and fairseq's alone
        trainer.task = task
        if fails:
            with pytest.raises(FloatingPointError, match="gradients are inconsistent between workers"):
                Trainer._check_grad_norms(trainer, norm)
        else:
            Trainer._check_grad_norms(trainer, norm)


# ---- the list itself


def test_the_list_sees_what_waits_and_nothing_else():
    device = torch.device("cpu")
    values, mask = torch.randn(3), torch.tensor([True, False, True])
    waiting = {
        "item": lambda: values.sum().item(),
        "__bool__": lambda: bool(values.isfinite().all()) or 1,
        "__float__": lambda: float(values[0]),
        "tolist": lambda: values.tolist(),
        "cpu": lambda: values.cpu(),
        "new_tensor": lambda: values.new_tensor(1.0),
        "tensor": lambda: torch.tensor(1.0, device=device),
        "to": lambda: torch.tensor(1.0).to(device=device),
        "__getitem__": lambda: values[mask],
        "__setitem__": lambda: values.__setitem__(0, torch.tensor(1.0)),
        "nonzero": lambda: values.nonzero(),
    }
    for name, wait in waiting.items():
        with ListedSyncs() as syncs:
            wait()
        assert [operation for operation, _ in syncs.found] == [name]
    with ListedSyncs() as syncs:
        fetched = values.cpu()
        assert syncs.found.pop() == ("cpu", "test_the_list_sees_what_waits_and_nothing_else")
        bool((fetched * 2 + torch.ones(3)).sum() > 0)  # the host's own
        values.mul_(torch.full((), 2.0, device=device)).sum()
        torch.tensor(1.0).to(device=device, non_blocking=True)
    assert not syncs.found
