"""Tensors of a file against those of a model."""

import pytest

from slam_plugin.data.errors import DataError
from slam_plugin.data.shapes import check_shapes


def test_fitting_tensors_pass():
    check_shapes("a.pt: bad", {"w": (2, 3), "more": (1,)}, {"w": [2, 3]})
    check_shapes("a.pt: bad", {"w": (2, 3), "more": (1,)}, {"w": (2, 3)}, optional=["more", "absent"])


@pytest.mark.parametrize(
    ("found", "optional", "message"),
    [
        ({"w": (2, 3)}, None, "a.pt: bad: missing b"),
        ({"w": (3, 2), "b": (3,)}, None, "a.pt: bad: of another shape w (3, 2), expected (2, 3)"),
        ({"w": (2, 3), "b": (3,), "z": (1,), "a": ()}, ["z"], "a.pt: bad: unknown a"),
        ({"b": ()}, [], "a.pt: bad: missing w; of another shape b (), expected (3,)"),
        ({"w": (2, 3), "b": (3,), **dict.fromkeys("ABCDEFG", ())}, [], "a.pt: bad: unknown A, B, C, D, E and 2 more"),
    ],
)
def test_faults_are_listed(found, optional, message):
    with pytest.raises(DataError) as error:
        check_shapes("a.pt: bad", found, {"w": (2, 3), "b": (3,)}, optional)
    assert str(error.value) == message
