"""Times are the minima of interleaved visits. No test uses a real clock."""

from benchmarks import timing


def test_minima_are_the_least_of_interleaved_visits():
    now, calls = 0.0, []
    costs = {"a": iter([0.5, 4.0, 3.0, 2.0, 5.0]), "b": iter([0.5, 1.0, 4.0, 6.0, 7.0])}

    def candidate(name):
        def call():
            nonlocal now
            calls.append(name)
            now += next(costs[name])

        return call

    found = timing.minima({name: candidate(name) for name in costs}, rounds=3, shortest=0.5, clock=lambda: now)
    assert found == {"a": 2.0, "b": 1.0}  # the first call does not count
    assert calls == ["a", "a", "b", "b"] + ["a", "b"] + ["b", "a"] + ["a", "b"]


def test_a_quick_candidate_is_repeated_and_its_time_is_that_of_one_call():
    now, calls = 0.0, 0

    def call():
        nonlocal now, calls
        now, calls = now + 0.25, calls + 1

    assert timing.minima({"quick": call}, rounds=2, shortest=1.0, clock=lambda: now) == {"quick": 0.25}
    assert calls == 2 + 2 * 4


def test_a_median_is_that_of_all_visits_after_the_first():
    now, costs = 0.0, iter([9.0, 1.0, 5.0, 2.0])

    def call():
        nonlocal now
        now += next(costs)

    assert timing.medians({"a": call}, rounds=2, shortest=0.5, clock=lambda: now) == {"a": 2.0}
