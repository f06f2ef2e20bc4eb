"""The plugin as fairseq loads it: by a relative path, by an absolute one, installed, twice, and as a bare import."""

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent

LOAD = """
import json, sys
from argparse import Namespace
from fairseq import models, tasks, utils
for _ in range(2):  # as every command of fairseq does: for its flags, and when it starts
    utils.import_user_module(Namespace(user_dir=sys.argv[1]))
import slam_plugin, slam_plugin.tasks
from fairseq.criterions import CRITERION_REGISTRY
names = {"tasks": tasks.TASK_REGISTRY, "models": models.MODEL_REGISTRY, "criterions": CRITERION_REGISTRY}
own = {kind: sorted(k for k, v in registry.items() if v.__module__.startswith("slam_plugin."))
       for kind, registry in names.items()}
modules = sorted(name for name in sys.modules if name.startswith("slam_plugin."))
print("REPORT" + json.dumps({"own": own, "modules": modules, "file": slam_plugin.__file__}))
"""


def run(arguments: list[str], cwd: Path, path: str = "") -> str:
    """Return the output of this Python with ``arguments``, with PYTHONPATH set to ``path`` alone."""
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def load(user_dir: str, cwd: Path, path: str = "") -> dict:
    lines = run(["-c", LOAD, user_dir], cwd, path).splitlines()
    return json.loads(next(line for line in lines if line.startswith("REPORT")).removeprefix("REPORT"))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder like site-packages after `pip install`: the plugin's files and, beside them, fairseq."""
    work = tmp_path_factory.mktemp("install")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("slam_plugin", "data_prep"):
        shutil.copytree(ROOT / name, work / "source" / name, ignore=ignore)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, work / "source" / name)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    run([*install, "--no-index", "--target", str(work / "site"), str(work / "source")], cwd=work)
    # A real folder whose contents are links: `fairseq/..` is then this site, where fairseq looks for a user directory.
    fairseq = Path(metadata.distribution("ve-fairseq").locate_file("fairseq"))
    (work / "site/fairseq").mkdir()
    for entry in fairseq.iterdir():
        (work / "site/fairseq" / entry.name).symlink_to(entry)
    return work / "site"


def check_registered(report: dict, plugin: Path) -> None:
    """Check that the plugin was loaded from ``plugin``, with every file of its tasks and models."""
    assert Path(report["file"]).resolve() == plugin / "__init__.py"
    for kind in ("tasks", "models", "criterions"):
        assert "slam_pretraining" in report["own"][kind]
    files = [path for room in ("tasks", "models") for path in (plugin / room).glob("[!_]*.py")]
    assert {f"slam_plugin.{path.parent.name}.{path.stem}" for path in files} <= set(report["modules"])


def test_relative_path_from_the_checkout():
    check_registered(load("slam_plugin", cwd=ROOT), ROOT / "slam_plugin")


def test_installed_from_any_folder(site, tmp_path):
    check_registered(load("slam_plugin", cwd=tmp_path, path=str(site)), site / "slam_plugin")


def test_absolute_path_from_any_folder_wins_over_the_installed_plugin(site, tmp_path):
    check_registered(load(str(ROOT / "slam_plugin"), cwd=tmp_path, path=str(site)), ROOT / "slam_plugin")


def test_every_file_is_installed(site):
    source = site.parent / "source"
    for package in ("slam_plugin", "data_prep"):
        for ending in ("*.py", "*.j2", "py.typed"):
            files = {path.relative_to(source) for path in (source / package).rglob(ending)}
            assert files <= {path.relative_to(site) for path in (site / package).rglob(ending)}
    assert (site / "slam_plugin/reporting/templates/instruments.html.j2").is_file()


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (("3.11", "linux", "x86_64", "CPython"), "ve-fairseq"),
        (("3.12", "linux", "x86_64", "CPython"), "ve-fairseq"),
        (("3.13", "linux", "x86_64", "CPython"), "fairseq-fixed"),
        (("3.12", "linux", "aarch64", "CPython"), "fairseq-fixed"),
        (("3.12", "darwin", "arm64", "CPython"), "fairseq-fixed"),
        (("3.11", "win32", "AMD64", "CPython"), "fairseq-fixed"),
        (("3.11", "linux", "x86_64", "PyPy"), "fairseq-fixed"),
    ],
)
def test_one_fairseq_for_each_machine(site, machine, expected):
    keys = ("python_version", "sys_platform", "platform_machine", "platform_python_implementation")
    environment = {**dict(zip(keys, machine, strict=True)), "extra": ""}
    (installed,) = [item for item in metadata.distributions(path=[str(site)]) if item.name == "slam-fairseq"]
    wanted = [Requirement(line) for line in installed.requires]
    chosen = [item.name for item in wanted if item.marker is not None and item.marker.evaluate(environment)]
    assert chosen == [expected]


@pytest.mark.parametrize("module", ["slam_plugin", "slam_plugin.commands.doctor"])
def test_a_bare_import_needs_neither_torch_nor_fairseq(module, tmp_path):
    script = f"import sys, {module}; print([m for m in ('torch', 'fairseq', 'numpy', 'hydra') if m in sys.modules])"
    assert run(["-c", script], cwd=tmp_path, path=str(ROOT)).strip() == "[]"
