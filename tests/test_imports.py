"""Imports go one way, and the layers know nothing but torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "slam_plugin"
# package -> the packages of the plugin that it may import, beside itself
ALLOWED = {
    "modules": {"kernels"},
    "kernels": set(),
    "objectives": {"modules"},
    "data": {"modules"},
    "optim": set(),
    "decoding": {"kernels"},
    "instruments": {"models", "data", "decoding"},
    "models": {"modules", "objectives", "data", "optim", "decoding"},
    "criterions": {"objectives", "data"},
}


def imported(path: Path) -> set[str]:
    """Full names of all that a file imports, inside functions as well."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {node.module} if node.module != PACKAGE else {f"{PACKAGE}.{alias.name}" for alias in node.names}
    return names


def files(package: str) -> list[Path]:
    return sorted((ROOT / PACKAGE / package).rglob("*.py"))


def test_modules_import_torch_and_the_kernels_that_run_them_alone():
    assert len(files("modules")) > 5
    for path in files("modules"):
        for name in imported(path):
            top = name.split(".")[0]
            assert top in {"torch", PACKAGE} or top in sys.stdlib_module_names, f"{path.name} imports {name}"


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    for path in files(package):
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == PACKAGE and len(parts) > 1 and (ROOT / PACKAGE / parts[1]).is_dir():
                assert parts[1] in ALLOWED[package] | {package}, f"{package}/{path.name} imports {name}"


def test_nothing_imports_preparation_examples_or_benchmarks():
    for path in (ROOT / PACKAGE).rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)}
        assert not tops & {"data_prep", "examples", "benchmarks", "tests"}, path


def test_training_does_without_the_report():
    code = "import sys, slam_plugin.tasks.pretraining, slam_plugin.tasks.speech_to_text; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "slam_plugin.instruments.verdicts" in loaded
    assert "slam_plugin.reporting" not in loaded and "matplotlib" not in loaded
