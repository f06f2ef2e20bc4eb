"""The build of fairseq's kernel: what it refuses, how it calls the compilers, and how the module is installed.

A toolkit of shell scripts stands for CUDA's. The real one compiles fairseq's real source where FAIRSEQ_SOURCE names a
checkout (minutes).
"""

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from slam_plugin.commands import build_kernel

ROOT = Path(__file__).resolve().parent.parent.parent
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
WITH_CUDA = pytest.mark.skipif(torch.version.cuda is None, reason="this torch is built without CUDA")

# A module of that name with a function of that name, in C++ that needs no torch.
MODULE_SOURCE = """
#include <Python.h>
static PyObject* forward(PyObject*, PyObject*) { return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"forward", forward, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "ngram_repeat_block_cuda", nullptr, -1, methods};
PyMODINIT_FUNC PyInit_ngram_repeat_block_cuda() { return PyModule_Create(&definition); }
"""
# Prints its version, logs its arguments, and compiles an empty file instead.
NVCC = """#!/bin/sh
if [ "$1" = --version ]; then echo "Cuda compilation tools, release {version}, V{version}.0"; exit 0; fi
echo "$@" >> {log}
while [ $# -gt 0 ]; do if [ "$1" = -o ]; then out=$2; fi; shift; done
exec {gxx} -x c++ -fPIC -c /dev/null -o "$out"
"""


def checkout(folder: Path, module_source: str = "") -> Path:
    for name, text in zip(build_kernel.SOURCES, (module_source, ""), strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def toolkit(folder: Path, version: str) -> Path:
    """A ``CUDA_HOME`` with a fake compiler, whose log is ``folder``/log."""
    for part in ("bin", "include", "lib64"):
        (folder / part).mkdir(parents=True)
    (folder / "include/cuda_runtime.h").touch()
    gxx = shutil.which("g++")
    nvcc = folder / "bin/nvcc"
    nvcc.write_text(NVCC.format(version=version, log=folder / "log", gxx=gxx))
    nvcc.chmod(nvcc.stat().st_mode | stat.S_IXUSR)
    subprocess.run([gxx, "-shared", "-x", "c++", "/dev/null", "-o", folder / "lib64/libcudart.so"], check=True)
    return folder


def run(source: Path, cuda: Path, packages: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run the command with the empty package fairseq in ``packages`` on Python's path."""
    (packages / "fairseq").mkdir(parents=True, exist_ok=True)
    (packages / "fairseq/__init__.py").touch()
    inherited = {name: value for name, value in os.environ.items() if name != "TORCH_CUDA_ARCH_LIST"}
    paths = {"CUDA_HOME": str(cuda), "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)])}
    command = [sys.executable, "-m", "slam_plugin.commands.cli", "build-kernel", "--fairseq-source", str(source)]
    env = {**inherited, **paths, "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True)


needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="no C++ compiler, or no headers of Python",
)


@WITH_CUDA
@needs_compiler
def test_it_compiles_and_installs_beside_fairseq(tmp_path):
    source, cuda = checkout(tmp_path / "source", MODULE_SOURCE), toolkit(tmp_path / "cuda", torch.version.cuda)
    done = run(source, cuda, tmp_path / "packages")
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (cuda / "log").read_text().splitlines()
    told = line.split()
    assert str(source / build_kernel.SOURCES[1]) in told
    assert f"-DTORCH_EXTENSION_NAME={build_kernel.MODULE}" in told
    codes = {word.rpartition("code=")[2] for word in told if word.startswith("-gencode")}
    assert codes == {"sm_75", "sm_80", "sm_90", "compute_90"}

    folder = tmp_path / "packages/fairseq"
    names = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert names == {"__init__.py", build_kernel.MODULE + SUFFIX}
    assert f"installed {folder / build_kernel.MODULE}" in done.stdout
    code = f"import torch; from fairseq import {build_kernel.MODULE} as m; print(m.forward())"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "packages")}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "42\n"


@WITH_CUDA
@needs_compiler
@pytest.mark.parametrize(
    ("module_source", "message"),
    [
        ("this is no C++", "compiling failed: command "),
        (
            "",
            "the kernel compiled, but cannot be imported: ImportError: dynamic module does not define module export",
        ),
    ],
)
def test_what_does_not_compile_or_import_is_not_installed(tmp_path, module_source, message):
    source = checkout(tmp_path / "source", module_source)
    done = run(source, toolkit(tmp_path / "cuda", torch.version.cuda), tmp_path / "packages")
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "packages/fairseq").glob("*ngram*"))


def test_a_folder_that_is_no_checkout_is_named_with_what_is_missing(tmp_path, capsys):
    source = checkout(tmp_path)
    (source / build_kernel.SOURCES[1]).unlink()
    assert build_kernel.main(["--fairseq-source", str(source)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"slam build-kernel: {source}: found no {build_kernel.SOURCES[1]}, expected a checkout")
    with pytest.raises(build_kernel.BuildError) as refusal:
        build_kernel.find_sources(tmp_path / "none")
    assert all(name in str(refusal.value) for name in build_kernel.SOURCES)


def test_a_torch_without_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(build_kernel.BuildError, match="built without CUDA"):
        build_kernel.check_toolkit()


def test_a_toolkit_that_is_absent_or_lacks_a_part_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", None)
    with pytest.raises(build_kernel.BuildError, match="no nvcc on the PATH.*expected a CUDA 13.0 toolkit"):
        build_kernel.check_toolkit()
    monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", str(tmp_path))
    for part in ("bin/nvcc", "include/cuda_runtime.h"):
        with pytest.raises(build_kernel.BuildError, match=f"{tmp_path}: found no {part}"):
            build_kernel.check_toolkit()
        (tmp_path / part).parent.mkdir()
        (tmp_path / part).touch()
    build_kernel.check_toolkit()


def test_a_fairseq_that_is_absent_or_read_only_is_refused(monkeypatch):
    folder = build_kernel.fairseq_folder()
    assert (folder / "ngram_repeat_block.py").exists()
    monkeypatch.setattr(os, "access", lambda path, mode: not (Path(path) == folder and mode == os.W_OK))
    with pytest.raises(build_kernel.BuildError, match=f"{folder}: not writable"):
        build_kernel.fairseq_folder()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(build_kernel.BuildError, match="no installed fairseq"):
        build_kernel.fairseq_folder()


@pytest.mark.parametrize(
    ("asked", "device", "named"),
    [(None, False, build_kernel.DEFAULT_ARCHITECTURES), (None, True, ""), ("8.6", False, "8.6"), ("8.6", True, "8.6")],
)
def test_architectures_are_those_asked_for_else_the_devices_else_the_default(monkeypatch, asked, device, named):
    variable = "TORCH_CUDA_ARCH_LIST"
    monkeypatch.delenv(variable, raising=False)
    if asked is not None:
        monkeypatch.setenv(variable, asked)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device)
    with build_kernel.architectures() as found:
        assert found == named
        assert os.environ.get(variable, "") == named
    assert os.environ.get(variable) == asked


def test_the_module_takes_the_place_of_an_earlier_one_whole_or_not_at_all(monkeypatch, tmp_path):
    library, folder = tmp_path / "module.so", tmp_path / "package"
    library.write_text("new")
    folder.mkdir()
    (folder / "module.so").write_text("old")
    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            build_kernel.install(library, folder)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("module.so", "old")]
    assert build_kernel.install(library, folder) == folder / "module.so"
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("module.so", "new")]


# ---- with CUDA


@pytest.mark.skipif(
    "FAIRSEQ_SOURCE" not in os.environ or shutil.which("nvcc") is None,
    reason="no nvcc, or FAIRSEQ_SOURCE names no checkout of fairseq",
)
def test_fairseqs_source_compiles_and_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(build_kernel, "fairseq_folder", lambda: tmp_path)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0")
    installed = build_kernel.build(Path(os.environ["FAIRSEQ_SOURCE"]))
    build_kernel.check_import(installed)
    assert installed == tmp_path / (build_kernel.MODULE + SUFFIX)
