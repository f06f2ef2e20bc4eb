"""Order, laziness and errors of the threaded map."""

import threading
import time

import pytest

from slam_plugin.data.parallel import ordered_map


@pytest.mark.parametrize("jobs", [1, 4])
def test_results_keep_the_order_of_the_items(jobs):
    def slow_for_even(item):
        time.sleep(0.002 * (item % 2 == 0))
        return item * item

    assert list(ordered_map(slow_for_even, range(300), jobs)) == [item * item for item in range(300)]


def test_only_a_few_items_are_taken_ahead():
    taken = []

    def items():
        for item in range(100_000):
            taken.append(item)
            yield item

    results = ordered_map(lambda item: item, items(), 2)
    assert next(results) == 0
    assert len(taken) < 200
    results.close()


def test_jobs_are_threads_that_overlap():
    meeting = threading.Barrier(3, timeout=10)
    assert len(list(ordered_map(lambda _: meeting.wait(), range(3), 3))) == 3


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_error_reaches_the_caller(jobs):
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda item: 1 // (item - 5), range(50), jobs))


def test_no_job_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        list(ordered_map(str, [1], 0))
