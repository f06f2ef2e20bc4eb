"""A frozen trunk under torch's own DDP, fairseq's default if no --ddp-backend is given."""

import contextlib
import datetime
import multiprocessing
import shutil
import socket
from pathlib import Path

import fairseq.tasks
import pytest
import torch

from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, MODEL_FILE
from tests.support import training
from tests.support.commands import PRELOADED

FROZEN = 2  # updates
FLAGS = {
    "task": "slam_speech_to_text",
    "arch": "slam_ctc",
    "criterion": "slam_ctc",
    "pretrained": Path(__file__).parents[1] / "fixtures/checkpoints_209b7f0/pretraining.pt",
    "freeze_encoder_updates": FROZEN,
    **dict.fromkeys(("steps_per_epoch", *training.MODEL)),  # the checkpoint has the sizes
}


@pytest.fixture
def flags(toy: Path, tmp_path: Path) -> dict:
    for source in ("pairs/train.tsv", DICTIONARY_FILE, MODEL_FILE):
        shutil.copy(toy / source, tmp_path)
    return {**FLAGS, "data": tmp_path, "audio_root": toy}


def build(**flags) -> tuple:
    """Task and model of the command."""
    whole = training.configuration(**flags)
    task = fairseq.tasks.setup_task(whole.task)
    return task, task.build_model(whole.model)


def rank_of_two(rank: int, port: int, flags: dict, told) -> None:
    """Put the results of :func:`updates` without and with ``find_unused_parameters`` into the queue."""
    torch.set_num_threads(1)
    address, patience = f"tcp://127.0.0.1:{port}", datetime.timedelta(seconds=60)
    torch.distributed.init_process_group("gloo", address, rank=rank, world_size=2, timeout=patience)
    told.put([updates(find_unused, **flags) for find_unused in (False, True)])
    torch.distributed.destroy_process_group()


def updates(find_unused: bool, **flags) -> list[bool] | str:
    """Return which updates gave the trunk gradients, of twice as many as it is frozen for, or torch's error."""
    task, model = build(**flags)
    task.load_dataset("train")
    data = task.dataset("train")
    batch = data.collater([data[0], data[1]])["net_input"]
    wrapped = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=find_unused)
    moved = []
    try:
        for update in range(2 * FROZEN):
            model.set_num_updates(update)
            model.zero_grad()
            wrapped(batch["features"], batch["padding_mask"])["logits"].square().sum().backward()
            moved.append(all(p.grad is not None for p in model.encoder.trunk.parameters()))
    except RuntimeError as error:
        return str(error)
    return moved


def test_ddp_waits_for_a_frozen_trunk_unless_it_looks_for_unused_parameters(flags):
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)  # the server may serve the trainings of later tests
    told = context.Queue()
    ranks = [context.Process(target=rank_of_two, args=(rank, port, flags, told)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    try:
        for plain, looking in (told.get(timeout=120) for _ in ranks):
            assert "Expected to have finished reduction" in plain
            assert looking == [False] * FROZEN + [True] * FROZEN
    finally:
        for rank in ranks:
            rank.join(timeout=20)
            rank.kill()


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"ddp_backend": "pytorch_ddp"}, True),
        ({}, True),  # fairseq's default is the same
        ({"ddp_backend": "pytorch_ddp", "find_unused_parameters": True}, False),
        ({"ddp_backend": "legacy_ddp"}, False),
        ({"freeze_encoder_updates": 0}, False),
        ({"distributed_world_size": 1}, False),
    ],
)
def test_so_it_is_refused_before_data_is_read(flags, change, refused):
    flags = {**flags, "distributed_world_size": 2, **change}
    if refused:
        with pytest.raises(ValueError, match="--ddp-backend pytorch_ddp: found with 2 ranks.*--freeze-encoder-updates"):
            build(**flags)
    else:
        build(**flags)


def test_a_new_trunk_is_not_frozen(flags):
    with pytest.raises(ValueError, match="--freeze-encoder-updates 2: found without --pretrained"):
        build(**{**flags, "pretrained": None})
