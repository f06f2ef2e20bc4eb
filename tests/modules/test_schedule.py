import math

import numpy as np
import pytest

from slam_plugin.modules.schedule import Schedule

POINTS = {200: 1.0, 0: 0.3, 800: 0.1}


@pytest.mark.parametrize("points", [POINTS, {5: 2.0}, {3: 0.0, 4: 1.0}])
def test_it_is_numpys_interpolation(points):
    updates = range(0, 1000, 7)
    expected = np.interp(updates, sorted(points), [points[update] for update in sorted(points)])
    assert [Schedule.of(points)(update) for update in updates] == pytest.approx(expected.tolist(), abs=1e-12)


def test_the_values_at_its_points_are_exact():
    assert [Schedule.of(POINTS)(update) for update in (0, 200, 800, 10**9)] == [0.3, 1.0, 0.1, 0.1]


def test_a_number_is_constant():
    constant = Schedule.of(2)
    assert (constant(0), constant(10**6), constant.moves, constant.peak) == (2.0, 2.0, False, 2.0)
    assert constant == Schedule.of(2.0) == Schedule.of(constant)


def test_what_it_comes_to():
    assert Schedule.of(POINTS).moves and Schedule.of(POINTS).peak == 1.0
    assert not Schedule.of({0: 0.0, 9: 0.0}).moves and Schedule.of({0: 0.0, 9: 0.0}).peak == 0.0


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf, {0: -0.5}, {-1: 0.5}, {}])
def test_what_is_no_schedule_is_refused(wrong):
    with pytest.raises(ValueError, match="a schedule: found .*expected"):
        Schedule.of(wrong)
