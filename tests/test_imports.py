"""Imports go one way: a room imports from the rooms listed for it, and from no other."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# package -> its rooms (folders and files), each with what it may import of the package, beside itself
ROOMS = {
    "slam_plugin": {
        "allocator": set(),
        "fairseq_logging": set(),
        "machine": set(),
        "program": {"data"},
        "kernels": set(),
        "optim": set(),
        "modules": {"kernels"},
        "decoding": {"kernels", "data"},
        "objectives": {"modules"},
        "data": {"modules"},
        "saved": {"data", "modules"},
        "compat": {"data", "kernels", "program", "saved"},
        "launch": {"compat"},
        "checkpoints": {"compat", "saved"},
        "scoring": {"data"},
        "models": {"checkpoints", "compat", "kernels", "modules", "objectives", "data", "optim", "decoding"},
        "criterions": {"modules", "objectives", "data"},
        "instruments": {"kernels", "models", "modules", "objectives", "data", "decoding", "scoring"},
        "tasks": {
            *("allocator", "compat", "data", "kernels", "modules", "optim", "decoding", "objectives", "models"),
            *("criterions", "instruments", "saved", "scoring"),
        },
        "interchange": {"checkpoints", "compat", "data", "fairseq_logging", "inference", "models", "modules", "saved"},
        "recordings": {"data"},
        "inference": {
            *("checkpoints", "compat", "data", "decoding", "fairseq_logging", "models", "modules", "tasks"),
            "recordings",
        },
        "hub": {"data", "decoding", "inference", "recordings"},
        "reporting": {"data", "instruments", "machine", "scoring"},
        "serving": {"data", "decoding", "hub", "reporting"},
        "commands": {
            *("machine", "program", "checkpoints", "compat", "data", "kernels", "modules", "objectives", "models"),
            *("decoding", "instruments", "scoring", "tasks"),
            *("inference", "interchange", "hub", "recordings", "reporting", "serving"),
        },
    },
    "slam_plugin.data": {
        **dict.fromkeys(
            ("constants", "errors", "files", "folders", "masks", "options", "parallel", "randomness", "specaugment"),
            set(),
        ),
        "extras": {"errors"},
        "locations": {"constants", "errors"},
        "lines": {"errors"},
        "sound": {"errors", "extras", "locations"},
        "npy": {"constants", "errors"},
        "lengths": {"constants", "errors", "locations", "npy", "sound"},
        "padding": set(),
        "resampling": {"constants", "lengths"},
        "json_files": {"errors"},
        "shapes": {"errors"},
        "log_mel": {"constants", "errors"},
        "audio": {"errors", "lengths", "locations", "log_mel", "resampling", "sound"},
        "streaming": {"errors", "locations", "resampling", "sound"},
        "perturbation": {"constants", "log_mel", "randomness"},
        "state_masks": {"masks", "padding"},
        "augmentation": {"audio", "perturbation", "randomness", "specaugment", "state_masks"},
        "manifests": {"lengths", "constants", "errors", "files", "locations", "parallel"},
        "text": {"errors", "files", "lines", "manifests"},
        "datasets": {"audio", "augmentation", "errors", "manifests", "padding", "randomness", "state_masks", "text"},
        "shards": {
            *("audio", "augmentation", "datasets", "errors", "manifests", "masks", "options", "padding", "randomness"),
            *("specaugment", "text"),
        },
        "workers": {"errors"},
        "plan": {"errors", "files", "options", "randomness", "shards", "workers"},
    },
    "data_prep": {
        "engine": set(),
        "formats": {"engine"},
        "text": {"engine", "formats"},
        "manifests": {"engine", "text"},
        "corpora": {"engine", "formats", "text"},
        "own": {"engine", "formats", "text"},
        "packages": {"engine", "formats", "text", "manifests"},
    },
}
# what a room of data preparation may import of the plugin, beside data and program
OF_PREPARATION = {
    "manifests": {"slam_plugin.objectives", "slam_plugin.reporting"},
    "own": {"slam_plugin.recordings"},
}


def imported(path: Path) -> set[str]:
    """Full names of all that a file imports, inside functions as well."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_of(package: str) -> dict[str, list[Path]]:
    """The files of each room of ``package``."""
    folder = ROOT / package.replace(".", "/")
    rooms = {
        path.stem: sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for path in folder.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    return {name: files for name, files in rooms.items() if not name.startswith("__")}


@pytest.mark.parametrize("package", ROOMS)
def test_each_room_imports_what_is_listed_for_it(package):
    rooms = rooms_of(package)
    assert rooms.keys() == ROOMS[package].keys()
    for room, files in rooms.items():
        found = {name for path in files for name in imported(path) if name.startswith(f"{package}.")}
        names = {name.removeprefix(f"{package}.").partition(".")[0] for name in found} & rooms.keys() - {room}
        assert names <= ROOMS[package][room], f"{package}.{room}"


def test_the_rooms_stand_in_an_order():
    """No room imports, directly or through others, a room that imports it."""
    for rooms in ROOMS.values():
        TopologicalSorter(rooms).prepare()


def test_modules_import_torch_and_the_kernels_that_run_them_alone():
    files = rooms_of("slam_plugin")["modules"]
    assert len(files) > 5
    for path in files:
        for name in imported(path):
            top = name.split(".")[0]
            assert top in {"torch", "slam_plugin"} or top in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_nothing_imports_preparation_examples_or_benchmarks():
    for path in (ROOT / "slam_plugin").rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)}
        assert not tops & {"data_prep", "examples", "benchmarks", "tests"}, path


def test_preparation_imports_little_of_the_plugin():
    for path in (ROOT / "data_prep").rglob("*.py"):
        names = {name for name in imported(path) if name.startswith("slam_plugin")}
        rooms = {".".join(name.split(".")[:2]) for name in names}
        assert rooms <= {"slam_plugin.data", "slam_plugin.program"} | OF_PREPARATION.get(path.parent.name, set()), path


def test_training_does_without_the_report():
    code = "import sys, slam_plugin.tasks.pretraining, slam_plugin.tasks.speech_to_text; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "slam_plugin.instruments.verdicts" in loaded
    assert "slam_plugin.reporting" not in loaded and "matplotlib" not in loaded
