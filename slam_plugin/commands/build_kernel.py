"""Build fairseq's CUDA kernel for ``--no-repeat-ngram-size``.

    slam build-kernel --fairseq-source DIR

fairseq's wheels bring neither the kernel nor its source. This compiles it from a checkout of fairseq with nvcc and puts
it beside the installed fairseq, whose generator then takes it by itself on a GPU.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from slam_plugin.kernels.ngrams import MODULE
from slam_plugin.program import ProgramError, program

SOURCES = ("fairseq/clib/cuda/ngram_repeat_block_cuda.cpp", "fairseq/clib/cuda/ngram_repeat_block_cuda_kernel.cu")
# What torch compiles for where it sees no device: Turing, Ampere and Ada, Hopper, and by PTX all that came later.
DEFAULT_ARCHITECTURES = "7.5;8.0;9.0+PTX"


class BuildError(ProgramError):
    """Why the kernel cannot be built or used, and the cure."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "--fairseq-source", required=True, type=Path, help="a checkout of github.com/facebookresearch/fairseq"
    )


def run(options: argparse.Namespace) -> None:
    """Build the kernel and install it beside fairseq."""
    print(f"installed {build(options.fairseq_source)}")
    print("fairseq's generator takes it on a GPU; `slam doctor` says whether it works there")


def build(source: Path) -> Path:
    """Compile the kernel of the checkout ``source`` and install it; returns where. Takes minutes.

    Everything is checked before the compiler starts; raises :class:`BuildError`.
    """
    sources = find_sources(source)
    check_toolkit()
    target = fairseq_folder()
    with tempfile.TemporaryDirectory() as folder, architectures() as named:
        print(f"compiling {MODULE} for compute capability {named or 'of the devices here'}: this takes minutes")
        library = compile_extension(sources, Path(folder))
        check_import(library)
        return install(library, target)


def find_sources(source: Path) -> list[Path]:
    """The kernel's files in a checkout of fairseq."""
    missing = [name for name in SOURCES if not (source / name).is_file()]
    if missing:
        raise BuildError(
            f"{source}: found no {' and no '.join(missing)}, expected a checkout of github.com/facebookresearch/fairseq"
        )
    return [(source / name).resolve() for name in SOURCES]


def check_toolkit() -> None:
    """Whether torch is built with CUDA, and nvcc with its headers is where torch looks for it."""
    if torch.version.cuda is None:
        raise BuildError(f"torch {torch.__version__}: built without CUDA, expected a build with it")
    from torch.utils.cpp_extension import CUDA_HOME  # found when this module is imported

    if CUDA_HOME is None:
        raise BuildError(
            f"found no nvcc on the PATH, and CUDA_HOME is not set; expected a CUDA {torch.version.cuda} toolkit"
        )
    for needed in ("bin/nvcc", "include/cuda_runtime.h"):
        if not Path(CUDA_HOME, needed).is_file():
            raise BuildError(f"{CUDA_HOME}: found no {needed}; set CUDA_HOME to the folder of a CUDA toolkit")


def fairseq_folder() -> Path:
    """The folder of the fairseq that Python imports."""
    spec = importlib.util.find_spec("fairseq")
    if spec is None or not spec.submodule_search_locations:
        raise BuildError("found no installed fairseq, beside which the kernel goes")
    folder = Path(spec.submodule_search_locations[0])
    if not os.access(folder, os.W_OK):
        raise BuildError(f"{folder}: not writable, and the kernel goes there")
    return folder


@contextmanager
def architectures() -> Iterator[str]:
    """Sets ``TORCH_CUDA_ARCH_LIST`` where it is not set and there is no device to ask, for which torch has no default.

    Gives its value; empty where torch asks the devices.
    """
    named = os.environ.get("TORCH_CUDA_ARCH_LIST", "")
    if named or torch.cuda.is_available():
        yield named
        return
    os.environ["TORCH_CUDA_ARCH_LIST"] = DEFAULT_ARCHITECTURES
    try:
        yield DEFAULT_ARCHITECTURES
    finally:
        del os.environ["TORCH_CUDA_ARCH_LIST"]


def compile_extension(sources: Sequence[Path], folder: Path) -> Path:
    """The compiled module, under ``folder``, by setuptools and torch's rules for CUDA; the compilers' words show."""
    from setuptools import Distribution, errors
    from torch.utils.cpp_extension import BuildExtension, CUDAExtension

    quiet = ["-O3", "-w"]
    extension = CUDAExtension(MODULE, [str(path) for path in sources], extra_compile_args={"cxx": quiet, "nvcc": quiet})
    # Two files: ninja, which torch would otherwise ask for, gains nothing.
    commands = {"build_ext": BuildExtension.with_options(use_ninja=False)}
    command = Distribution({"name": MODULE, "ext_modules": [extension], "cmdclass": commands}).get_command_obj(
        "build_ext"
    )
    command.build_lib, command.build_temp = str(folder / "built"), str(folder / "objects")
    try:
        command.ensure_finalized()
        command.run()
    # torch raises RuntimeError for an nvcc of another release than its own, ValueError for an unknown architecture.
    except (errors.CCompilerError, errors.BaseError, RuntimeError, ValueError) as error:
        raise BuildError(f"compiling failed: {error}") from error
    return Path(command.get_outputs()[0])


def check_import(library: Path) -> None:
    """Import the module in a fresh process: what does not import must not lie beside fairseq, which would be silent."""
    code = f"import sys; sys.path.insert(0, {str(library.parent)!r}); import torch, {MODULE}; {MODULE}.forward"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"it compiled, but does not import: {done.stderr.strip().splitlines()[-1]}")


def install(library: Path, folder: Path) -> Path:
    """Copy the module into ``folder``, where it appears whole or not at all."""
    target = folder / library.name
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{library.name}.")
    os.close(handle)
    try:
        shutil.copy(library, temporary)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    return target


main = program("slam build-kernel", __doc__, add_arguments, run)
