"""What several tests share: the toy corpus, and runs on it that are looked at from several sides."""

import os

# Before torch is imported: the tests and the runs they start share few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Before Triton is imported: without a GPU its interpreter runs our kernels, in the tests that ask for them.
if not os.path.exists("/proc/driver/nvidia/version"):
    os.environ.setdefault("TRITON_INTERPRET", "1")

import fcntl
import gc
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import checkpoints, composing, training  # noqa: F401  (composing saves time)

# The longest files. If they started last, one worker would run them alone while the others have nothing to do.
LONGEST = (
    "tests/interchange/test_programs.py",
    "tests/end_to_end/test_overfit.py",
    "tests/tasks/test_variants.py",
    "tests/test_compat.py",
    "tests/instruments/test_memory.py",
    "tests/documents/test_finetuning.py",
    "tests/tasks/test_speech_to_text.py",
    "tests/tasks/test_joint_translation.py",
    "tests/end_to_end/test_shapes.py",
    "tests/end_to_end/test_recipes.py",
    "tests/end_to_end/test_demo.py",
    "tests/end_to_end/test_cluster.py",
    "tests/tasks/test_pretraining_resume.py",
    "tests/tasks/test_stopping.py",
    "tests/fuzz/test_fuzz.py",
    "tests/documents/test_interchange.py",
    "tests/kernels/gpu/test_kernels.py",
    "tests/tasks/test_transducer.py",
    "tests/benchmarks/test_gpu.py",
    "tests/kernels/gpu/test_fused_layer.py",
    "tests/tasks/test_bad_input.py",
    "tests/interchange/test_custom.py",
    "tests/benchmarks/test_scale.py",
)


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers of ``-n auto``: one more than cores, because tests of several processes wait."""
    return min(4, (os.cpu_count() or 1) + 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first. A worker takes whole files, in this order."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(LONGEST)))


def pytest_collection_finish() -> None:
    """Let the garbage collector leave all imported objects alone: each visit to torch and fairseq takes 0.3 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def log_level() -> None:
    """Commands of data preparation that a fixture or an earlier test ran in this process lower the level for good."""
    logging.getLogger("slam_plugin").setLevel(logging.NOTSET)


def of_all_workers(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that one of pytest's workers makes, while those that need it wait. It is not to be changed."""
    shared = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder, made = shared / name, shared / f"{name}.made"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the toy corpus, not to be changed (see ``own_toy``). Runs put notes there: one for each worker."""
    made = of_all_workers(tmp_path_factory, "toy", training.build_toy)
    return shutil.copytree(made, tmp_path_factory.mktemp("toy") / "copy")


@pytest.fixture
def own_toy(toy: Path, tmp_path: Path) -> Path:
    """A copy of the toy corpus whose audio nobody has checked."""
    return shutil.copytree(toy, tmp_path / "toy", ignore=shutil.ignore_patterns("*.checked", "*.arrow"))


@pytest.fixture(scope="session")
def reference(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    """A run of one rank without workers that was not stopped, and has a checkpoint after every update."""
    return _reference(toy, tmp_path_factory, ranks=1)


@pytest.fixture(scope="session")
def reference_of_two(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    """The same on two ranks."""
    return _reference(toy, tmp_path_factory, ranks=2)


def _reference(toy: Path, factory: pytest.TempPathFactory, ranks: int) -> training.Run:
    def make(folder: Path) -> None:
        run = training.train(toy, folder, ranks, save_interval_updates=1, valid_subset="valid,valid_told")
        assert run.code == 0, run.output[-3000:]

    folder = of_all_workers(factory, f"reference-{ranks}", make)
    return training.Run(0, training.log_of(folder), folder)


# ---- micro checkpoints of untrained models; none is to be changed


@pytest.fixture(scope="session")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> checkpoints.Saved:
    """A recogniser."""
    return checkpoints.save(tmp_path_factory.mktemp("ctc"), *checkpoints.CTC)


@pytest.fixture(scope="session")
def translation(tmp_path_factory: pytest.TempPathFactory) -> checkpoints.Saved:
    """A translator of speech into one language."""
    return checkpoints.save(tmp_path_factory.mktemp("translation"), *checkpoints.TRANSLATION, "--eval-bleu")


@pytest.fixture(scope="session")
def pretraining(tmp_path_factory: pytest.TempPathFactory) -> checkpoints.Saved:
    """A trunk with rotary positions, for speech and text."""
    return checkpoints.save(tmp_path_factory.mktemp("pretraining"), *checkpoints.PRETRAINING, fill=checkpoints.plan)


@pytest.fixture(scope="session")
def joint(tmp_path_factory: pytest.TempPathFactory) -> checkpoints.Saved:
    """A translator of speech and text into two languages, that reads by another vocabulary than it writes."""
    return checkpoints.save(tmp_path_factory.mktemp("joint"), *checkpoints.JOINT, fill=checkpoints.joint_plan)


@pytest.fixture(scope="session")
def normalizer(tmp_path_factory: pytest.TempPathFactory) -> checkpoints.Saved:
    """A model from text to text."""
    return checkpoints.save(tmp_path_factory.mktemp("normalizer"), *checkpoints.TEXT, "--eval-accuracy")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> checkpoints.Saved:
    """A classifier of text into three classes."""
    return checkpoints.save(tmp_path_factory.mktemp("classifier"), *checkpoints.CLASSIFIER, fill=checkpoints.labels)


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Sound files of lengths that differ and are not sorted."""
    return checkpoints.write_sounds(tmp_path_factory.mktemp("sounds"))
