import numpy as np
import pytest

from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd

FRONT_ENDS = [FrontEnd("conv", 4), FrontEnd("conv", 2), FrontEnd("stacked", 2)]


def counted(front_end, frames):
    """Count states by going over the frames: a convolution begins one at every nth, stacking ends one at every nth."""
    begins = front_end.kind == "conv"
    return sum((frame + (not begins)) % front_end.frames_per_state == 0 for frame in range(frames))


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=str)
def test_states_are_counted_by_whole_or_begun_ones(front_end):
    expected = [counted(front_end, frames) for frames in range(40)]
    assert [front_end.states_of(frames) for frames in range(40)] == expected
    assert front_end.states_of(np.arange(40)).tolist() == expected


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=str)
def test_the_fewest_frames_of_states(front_end):
    for states in range(1, 20):
        fewest = front_end.fewest_frames(states)
        assert front_end.states_of(fewest) == states and front_end.states_of(fewest - 1) == states - 1


def test_a_front_end_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="--frames-per-state 4: found with the front end stacked, expected 2"):
        FrontEnd("stacked", 4)
    with pytest.raises(ValueError, match="--frames-per-state 3: found with the front end conv, expected 4 or 2"):
        FrontEnd.of_kind("conv", 3)
    with pytest.raises(ValueError, match="front end: found 'wide', expected one of conv, stacked"):
        FrontEnd.of_kind("wide", None)


def test_defaults_are_those_of_the_kind():
    assert FrontEnd.of_kind("conv", None) == FrontEnd() == DEFAULT_FRONT_END == FrontEnd("conv", 4)
    assert FrontEnd.of_kind("stacked", None) == FrontEnd("stacked", 2)
