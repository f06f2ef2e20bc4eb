"""Build fairseq's CUDA kernel for ``--no-repeat-ngram-size``.

    slam build-kernel --fairseq-source DIR

fairseq's wheels contain neither the kernel nor its source. This command compiles it with nvcc from a checkout of
fairseq and installs it next to the installed fairseq, whose generator then uses it on a GPU.
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
from slam_plugin.program import Program, ProgramError

SOURCES = ("fairseq/clib/cuda/ngram_repeat_block_cuda.cpp", "fairseq/clib/cuda/ngram_repeat_block_cuda_kernel.cu")
# Compiled for if torch sees no GPU: Turing, Ampere and Ada, Hopper, and through PTX all later ones.
DEFAULT_ARCHITECTURES = "7.5;8.0;9.0+PTX"


class BuildError(ProgramError):
    """The kernel cannot be built or used. The message says why, and what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "--fairseq-source", required=True, type=Path, help="a checkout of github.com/facebookresearch/fairseq"
    )


def run(options: argparse.Namespace) -> None:
    """Build the kernel and install it beside fairseq."""
    print(f"installed {build(options.fairseq_source)}")
    print("fairseq's generator uses it on a GPU; `slam doctor` checks whether it works there")


def build(source: Path) -> Path:
    """Compile the kernel of the checkout ``source``, install it, and return its path. Takes minutes.

    Raises :class:`BuildError`; everything is checked before the compiler starts.
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
    """Return the paths of the kernel's source files in a checkout of fairseq."""
    missing = [name for name in SOURCES if not (source / name).is_file()]
    if missing:
        raise BuildError(
            f"{source}: found no {' and no '.join(missing)}, expected a checkout of github.com/facebookresearch/fairseq"
        )
    return [(source / name).resolve() for name in SOURCES]


def check_toolkit() -> None:
    """Raise :class:`BuildError` unless torch is built with CUDA and finds nvcc with its headers."""
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
    """Return the folder of the fairseq that Python imports."""
    spec = importlib.util.find_spec("fairseq")
    if spec is None or not spec.submodule_search_locations:
        raise BuildError("found no installed fairseq, expected one to install the kernel into")
    folder = Path(spec.submodule_search_locations[0])
    if not os.access(folder, os.W_OK):
        raise BuildError(f"{folder}: not writable; the kernel must be installed there")
    return folder


@contextmanager
def architectures() -> Iterator[str]:
    """Set ``TORCH_CUDA_ARCH_LIST`` within the block if it is not set and there is no GPU. Torch has no default then.

    Yields its value; empty if torch asks the GPUs.
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
    """Compile the module below ``folder`` with setuptools and torch's CUDA rules. Return its path.

    The compilers' output is shown.
    """
    from setuptools import Distribution, errors
    from torch.utils.cpp_extension import BuildExtension, CUDAExtension

    quiet = ["-O3", "-w"]
    extension = CUDAExtension(MODULE, [str(path) for path in sources], extra_compile_args={"cxx": quiet, "nvcc": quiet})
    # Without ninja, which torch would otherwise require: with two files it saves no time.
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
    """Import the module in a new process: fairseq would silently ignore an installed module that does not import."""
    code = f"import sys; sys.path.insert(0, {str(library.parent)!r}); import torch, {MODULE}; {MODULE}.forward"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"the kernel compiled, but cannot be imported: {done.stderr.strip().splitlines()[-1]}")


def install(library: Path, folder: Path) -> Path:
    """Copy the module into ``folder`` by an atomic rename. Return its path."""
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


main = Program("slam build-kernel", __doc__, add_arguments, run)
