"""Write the encoder's states of each sound file or text as ``.npy``: (states of 40 ms or pieces, dimensions).

    slam encode --checkpoint checkpoint_last.pt --out states recordings/

``states/NAME.npy`` has the name of its sound file, or the number of its text, from 0. ``-`` reads paths, or with
``--text`` lines, from standard input.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slam_plugin.commands.inputs import Command, Input, Printed, model_program
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the .npy files go")
    parser.add_argument(
        "--layer", type=int, default=-1, help="multimodal layer, 0 the first, -1 the last (%(default)s)"
    )
    parser.add_argument("--pool", action="store_true", help="write the mean over time, (dimensions,)")


def _encode(slam: Any, options: argparse.Namespace, sources: list[Any]) -> Iterator[Any]:
    return slam.states("text" if options.text else "speech", sources, options.layer, options.pool)


def _store(options: argparse.Namespace, each: Input, states: Any) -> Printed:
    """Write (T, D), or (D,) if pooled, as a ``.npy`` file of its own."""
    import numpy as np

    path = options.out / f"{each.name}.npy"
    with atomic_write(path, "wb") as file:
        np.save(file, states.numpy())
    return Printed(str(path), {"states": str(path), "shape": list(states.shape)})


def _refuse_same_names(options: argparse.Namespace, inputs: list[Input]) -> None:
    """Raise :class:`DataError` if two inputs would be written to one file."""
    first: dict[str, str | int] = {}
    for each in inputs:
        other = first.setdefault(each.name, each.id)
        if other != each.id:
            raise DataError(f"{other} and {each.id} would both be written to {each.name}.npy: encode them in two runs")


main = model_program(Command("encode", "either", _encode, _store, check=_refuse_same_names), __doc__, add_arguments)
