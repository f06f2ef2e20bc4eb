"""Five kills of the toy training change no number. `make torture` does the same with hundreds."""

import multiprocessing
import random
import shutil
from pathlib import Path

import pytest
import torch

from tests.support.commands import PRELOADED
from tests.torture import disturbance, states
from tests.torture.disturbance import MANNERS, PHASES, Disturbance

UPDATES = {1: 4, 2: 3}  # by ranks; a shard changes after the third
KILLS = {
    1: ["SIGKILL writing 2 300000 0 self", "SIGKILL changing-shard 1 700 0 self", "SIGKILL ending 1 0 0 self"],
    2: ["SIGKILL stepping 3 2000 1 self", "SIGKILL renaming 2 0 0 both"],
}


def _torture(corpora: Path, folder: Path, ranks: int) -> None:
    """Runs in a fork of a process that has imported fairseq."""
    from tests.torture.chain import run_chain, undisturbed
    from tests.torture.toy import Training

    of, planned = Training(ranks, UPDATES[ranks]), [Disturbance.parse(text) for text in KILLS[ranks]]
    reference = undisturbed(corpora, folder / "undisturbed", of, fresh=False)
    chain = run_chain(corpora, folder / "chain", reference, of, planned)
    torch.save({**vars(chain), "planned": None, "fired": [str(kill) for kill in chain.fired]}, folder / "result")


@pytest.fixture(scope="module")
def corpora(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.torture.toy import build

    folder = tmp_path_factory.mktemp("torture") / "corpora"
    build(folder, toy)
    return folder


@pytest.mark.parametrize("ranks", [1, 2])
def test_kills_change_nothing(corpora, tmp_path, ranks):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, "tests.support.training"])
    process = context.Process(target=_torture, args=(corpora, tmp_path, ranks))
    process.start()
    process.join(timeout=1800)
    process.kill()
    assert process.exitcode == 0
    with torch.serialization.safe_globals([states.Compared]):
        result = torch.load(tmp_path / "result")
    assert result["faults"] == [] and result["fired"] == KILLS[ranks] and result["starts"] == len(KILLS[ranks]) + 1
    assert result["compared"].numbers > 200_000
    assert result["compared"].differences == 0, result["compared"].places


# ---- the comparison can fail


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with the same checkpoint."""
    state = {
        "model": {"weight": torch.arange(10.0), "mask": torch.tensor([True, False])},
        "optimizer_history": [{"num_updates": 3, "lr_scheduler_state": {"best": 2.0}}],
        "last_optimizer_state": {"state": {0: {"step": 3, "exp_avg": torch.zeros(4, dtype=torch.bfloat16)}}},
        "extra_state": {
            "train_iterator": {"iterations_in_epoch": 4},
            "metrics": {"train": [(0, "loss", "AverageMeter", {"sum": 1.5}), (1, "ups", "TimeMeter", {"n": 3})]},
            "previous_training_time": 1.0,
        },
    }
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        torch.save(state, tmp_path / name / "checkpoint_last.pt")
    return tmp_path / "one", tmp_path / "other"


def change(folder: Path, path: str, value: object) -> None:
    """Replace a value of the checkpoint, or remove it (None)."""
    whole = torch.load(folder / "checkpoint_last.pt")
    *parents, key = [int(part) if part.isdigit() else part for part in path.split("/")]
    state = whole
    for parent in parents:
        state = state[parent]
    if value is None:
        del state[key]
    else:
        state[key] = value
    torch.save(whole, folder / "checkpoint_last.pt")


PLANTED = [
    ("model/weight", torch.arange(10.0).where(torch.arange(10) != 7, -0.0), 1),
    ("model/mask", torch.tensor([True, True]), 1),
    ("model/weight", torch.arange(10), 10),  # of another type
    ("model/weight", None, 10),
    ("last_optimizer_state/state/0/exp_avg", torch.full((4,), -0.0, dtype=torch.bfloat16), 4),
    ("last_optimizer_state/state/0/step", 4, 1),
    ("extra_state/train_iterator/iterations_in_epoch", 5, 1),
    ("extra_state/metrics/train/0", (0, "loss", "AverageMeter", {"sum": 1.25}), 1),
    ("optimizer_history/0/num_updates", 4, 1),
    # what is left out
    ("extra_state/previous_training_time", 9.0, 0),
    ("extra_state/metrics/train/1", (1, "ups", "TimeMeter", {"n": 4}), 0),
]


@pytest.mark.parametrize(("path", "value", "differences"), PLANTED)
def test_a_planted_difference_is_counted(folders, path, value, differences):
    assert states.compare(*folders)[1:] == (0, [])
    numbers = states.compare(*folders).numbers
    change(folders[1], path, value)
    found = states.compare(*folders)
    assert found.differences == differences and len(found.places) == (differences > 0)
    assert all(path.split("/")[0] in place for place in found.places) and found.numbers == numbers > 20


def test_a_checkpoint_that_only_one_run_has(folders):
    shutil.copy(folders[1] / "checkpoint_last.pt", folders[1] / "checkpoint9.pt")
    found = states.compare(*folders)
    assert found.differences == 1 and found.places == [f"checkpoint9.pt: only in {folders[1]}"]


def test_a_planted_half_of_a_checkpoint_is_found(folders):
    folder = folders[0]
    whole = (folder / "checkpoint_last.pt").read_bytes()
    assert list(states.faults(folder)) == [] == states.unfinished(folder)
    (folder / "checkpoint1.pt").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[whole.index(torch.arange(10.0).numpy().tobytes()) + 13] ^= 4
    (folder / "checkpoint2.pt").write_bytes(flipped)
    torch.save({}, folder / "checkpoint3.pt")
    (folder / "checkpoint4.pt.tmp").write_bytes(b"")
    half, bit, empty = states.faults(folder)
    assert half.startswith("checkpoint1.pt: cannot be read") and bit.startswith("checkpoint2.pt: the checksum of ")
    assert empty == "checkpoint3.pt: holds no model"
    assert [path.name for path in states.unfinished(folder)] == ["checkpoint4.pt.tmp"]


# ---- disturbances


def test_a_disturbance_is_repeated_from_what_is_printed():
    rng = random.Random(3)
    for phase in PHASES:
        for ranks in (1, 2):
            kill = disturbance.draw(phase, ranks, rng)
            assert Disturbance.parse(str(kill)) == kill
            assert kill.rank < ranks and kill.moment < PHASES[phase].size and (ranks > 1 or kill.victims == "self")
    for manner in MANNERS:
        if MANNERS[manner].signal is None:
            full = disturbance.draw_full_disk(manner, 1, rng)
            assert Disturbance.parse(str(full)) == full
    for text in ("", "SIGKILL stepping 1 2 3", "SIGHUP stepping 1 2 0 self", "SIGKILL napping 1 2 0 self"):
        with pytest.raises(ValueError, match="expected"):
            Disturbance.parse(text)
