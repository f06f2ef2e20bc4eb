import pytest

from slam_plugin.recordings.margins import with_margins


def test_margins_end_in_the_middle_of_a_pause():
    times = [time for both in with_margins([(0.1, 1.0), (1.2, 2.0), (4.0, 5.0)], 5.1) for time in both]
    assert times == pytest.approx([0.0, 1.1, 1.1, 2.2, 3.8, 5.1])


def test_utterances_that_overlap_or_pass_the_end_keep_their_times():
    assert with_margins([(0.0, 2.0), (1.5, 3.0)], 2.5) == [(0.0, 2.0), (1.5, 3.0)]
    assert with_margins([], 1.0) == []
