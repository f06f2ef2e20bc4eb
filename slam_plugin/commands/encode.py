"""Write encoder states of each sound file or text as ``.npy``: (states or pieces, dimensions).

    slam encode --checkpoint checkpoint_last.pt --out states recordings/

``states/NAME.npy`` is named after its sound file, or by the number of its text, from 0. ``-`` reads paths (with
``--text``: texts, one per line) from standard input. ``--layer all`` writes those of all layers: (layers, states or
pieces, dimensions).
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
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write the .npy files to")
    parser.add_argument(
        "--layer",
        type=_layer,
        default=-1,
        help="shared layer, from 0; -1 is the last (%(default)s); or all. slam cluster counts the speech encoder's too",
    )
    parser.add_argument("--pool", action="store_true", help="write the mean over time, of shape (dimensions,)")


def _layer(given: str) -> int | str:
    if given == "all":
        return given
    try:
        return int(given)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {given!r}, expected a number or all") from None


def _encode(slam: Any, options: argparse.Namespace, sources: list[Any]) -> Iterator[Any]:
    return slam.encode_stream("text" if options.text else "speech", sources, options.layer, options.pool)


def _store(options: argparse.Namespace, item: Input, states: Any) -> Printed:
    """Write the states of one input, as :meth:`Slam.encode` returns them, to its ``.npy`` file."""
    import numpy as np

    path = options.out / f"{item.name}.npy"
    with atomic_write(path, "wb") as file:
        np.save(file, states.numpy())
    return Printed(str(path), {"states": str(path), "shape": list(states.shape)})


def _refuse_same_names(options: argparse.Namespace, inputs: list[Input]) -> None:
    """Raise :class:`DataError` if two inputs would be written to the same file."""
    first: dict[str, str | int] = {}
    for item in inputs:
        other = first.setdefault(item.name, item.id)
        if other != item.id:
            raise DataError(f"{other} and {item.id} would both be written to {item.name}.npy; encode them in two runs")


main = model_program(Command("encode", "either", _encode, _store, check=_refuse_same_names), __doc__, add_arguments)
