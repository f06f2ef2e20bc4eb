"""Comparison of the tensors of a file with those of a model, by name and shape."""

from collections.abc import Collection, Mapping, Sequence

from slam_plugin.data.errors import DataError

_SHOWN, _LISTED = 200, 5  # characters of a name, and names, in an error

Shapes = Mapping[str, Sequence[int]]  # shape of each tensor, by name


def check_shapes(fault: str, found: Shapes, expected: Shapes, optional: Collection[str] | None = None) -> None:
    """Raise :class:`DataError` that names the tensors which are missing, unknown or of another shape.

    Example::

        check_shapes("a.pt: its weights do not fit", {"w": (2, 3)}, {"w": (3, 2), "b": (3,)})
        # DataError: a.pt: its weights do not fit: missing b; of another shape w (2, 3), expected (3, 2)

    Args:
        fault: beginning of the message: the file, and what its tensors do not fit.
        optional: names of tensors that may be there beside the expected ones; None for any.
    """
    missing = [name for name in expected if name not in found]
    unknown = [] if optional is None else sorted(found.keys() - expected.keys() - {*optional})
    unequal = [
        f"{name[:_SHOWN]} {tuple(found[name])}, expected {tuple(shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    faults = {"missing": missing, "unknown": unknown, "of another shape": unequal}
    if any(faults.values()):
        listed = "; ".join(f"{kind} {_listed(names)}" for kind, names in faults.items() if names)
        raise DataError(f"{fault}: {listed}")


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(name[: 2 * _SHOWN] for name in names[:_LISTED])}{rest}"
