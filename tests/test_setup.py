"""``setup.py`` names each package that is imported. What it builds holds the recipes and works where it is unpacked."""

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from slam_plugin.data.extras import EXTRAS

ROOT = Path(__file__).resolve().parent.parent
OWN = {"slam_plugin", "data_prep"}


def given() -> dict[str, ast.expr]:
    """Return the arguments of ``setup``."""
    (call,) = [
        node.value
        for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    return {keyword.arg: keyword.value for keyword in call.keywords}


def required() -> set[str]:
    """Return the names in ``install_requires`` and in ``extras_require``."""
    keywords = given()
    lists = [keywords["install_requires"], *keywords["extras_require"].values]
    # An f-string begins with its name as well.
    texts = [getattr(entry, "values", [entry])[0].value for each in lists for entry in each.elts]
    return {normalized(re.match(r"[\w.-]+", text)[0]) for text in texts}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(package: str) -> set[str]:
    """Return the top-level names that the files of a package import, inside functions as well."""
    names = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    return names - OWN - sys.stdlib_module_names


@pytest.mark.parametrize("package", sorted(OWN))
def test_every_import_is_of_a_package_that_setup_names(package):
    named, providers = required(), packages_distributions()
    found = imported(package)
    assert {"numpy", "torch", "fairseq"} <= found
    if "triton" in {normalized(re.match(r"[\w.-]+", text)[0]) for text in requires("torch")}:
        found -= {"triton"}  # torch's builds for GPUs require it, and only files that run there import it
    missing = {name for name in found if not named & {normalized(each) for each in providers.get(name, ())}}
    assert not missing, f"setup.py does not name the packages of {sorted(missing)}"


def test_extras_that_errors_name_are_those_of_setup():
    extras = ast.literal_eval(given()["extras_require"])
    assert {name: list(modules.values()) for name, modules in EXTRAS.items()} == {name: extras[name] for name in EXTRAS}
    assert extras.keys() - EXTRAS.keys() == {"tensorboard", "wandb", "test"}  # imported by fairseq, and by tests


def test_the_manual_lists_every_extra():
    extras = {key.value for key in given()["extras_require"].keys}
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", (ROOT / "docs/install.md").read_text(encoding="utf-8"), re.M)
    assert {name for name, _ in rows} == extras


# ---- what is built


def run(arguments: list[str], cwd: Path, path: Path | str = "") -> str:
    """Run this Python with ``path`` as PYTHONPATH and return its output."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Return a copy of what is built and of ``examples``, its links as they are: building writes into the folder."""
    folder = tmp_path_factory.mktemp("setup") / "source"
    for name in ("slam_plugin", "data_prep", "examples"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    assert (folder / "slam_plugin/recipes").is_symlink()
    return folder


@pytest.fixture(scope="module")
def wheel(source) -> Path:
    pip = ["-m", "pip", "wheel", ".", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    run([*pip, "--no-index", "--wheel-dir", str(source.parent / "wheels")], cwd=source)
    (path,) = (source.parent / "wheels").iterdir()
    return path


@pytest.fixture(scope="module")
def unpacked(wheel) -> Path:
    """Return a folder with what the wheel holds and nothing else."""
    folder = wheel.parent.parent / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def recipes() -> dict[str, bytes]:
    """Return the recipes' bytes by their paths under the folder of recipes."""
    folder = ROOT / "examples/slam/config"
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.yaml")}
    assert {"paper/bert.yaml", "finetune/asr_ctc.yaml", "downstream_corpora.yaml"} <= found.keys()
    return found


def test_a_wheel_holds_the_recipes_as_files_and_two_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        members = {info.filename: info for info in archive.infolist()}
        for name, content in recipes().items():
            info = members[f"slam_plugin/recipes/{name}"]
            assert stat.S_ISREG(info.external_attr >> 16) and archive.read(info) == content
    tops = {name.partition("/")[0] for name in members}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"slam_plugin", "data_prep"}


def test_an_sdist_holds_the_recipes_as_files(source, tmp_path):
    run(["-c", f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"], cwd=source)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
        for name, content in recipes().items():
            member = members[f"slam_plugin/recipes/{name}"]
            assert member.isreg() and archive.extractfile(member).read() == content


def test_an_unpacked_wheel_lists_recipes_and_corpora(unpacked, tmp_path):
    def slam(*words: str) -> str:
        return run(["-c", f"from slam_plugin.commands.cli import main; main({list(words)})"], tmp_path, unpacked)

    listed = [line.split()[0] for line in slam("recipes").splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(recipes())
    path = Path(slam("recipes", "paper/bert.yaml").strip())
    assert path.resolve() == (unpacked / "slam_plugin/recipes/paper/bert.yaml").resolve()
    assert path.read_bytes() == recipes()["paper/bert.yaml"]
    corpora = slam("prepare")
    assert {"own", "librilight", "covost2"} <= set(re.findall(r"^  (\S+)", corpora, re.M))
