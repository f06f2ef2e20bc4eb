"""The measure of a long training: what it counts, and that it would see a leak."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.torture import flatness
from tests.torture.flatness import Sample, measure, slope


def test_a_line_with_noise_has_its_slope_within_the_interval():
    rng = np.random.default_rng(0)
    seconds = np.arange(0, 7200, 5.0)
    hits = 0
    for _ in range(100):
        found = slope(seconds, 500 + 3.0 * seconds / 3600 + rng.normal(0, 2, len(seconds)))
        assert found.low < found.change < found.high and abs(found.change - 3) < 1
        hits += found.low < 3 < found.high
    assert 88 <= hits <= 100
    exact = slope(seconds, 500 - 7 * seconds / 3600)
    assert exact == pytest.approx((-7, -7, -7))


def test_the_interval_is_not_fooled_by_neighbors_that_are_alike():
    """A quantity that stays at a level for minutes and drifts nowhere. Single samples would call it a leak."""
    rng = np.random.default_rng(1)
    seconds = np.arange(0, 7200, 5.0)
    levels = [np.repeat(rng.normal(0, 1, len(seconds) // 72), 72) for _ in range(100)]
    assert sum(found.low < 0 < found.high for found in (slope(seconds, values) for values in levels)) >= 88


def test_too_few_samples():
    with pytest.raises(ValueError, match="found 39 samples after the warm-up, expected at least 40"):
        slope(range(39), range(39))


def test_a_leak_is_in_the_report():
    samples = [Sample(5.0 * i, 10**9 + 10**4 * i, 10**9, 20 + i // 40, 20, 5, 5, 2) for i in range(1000)]
    head, rss, main_rss, files, *_ = flatness.report(samples)
    assert head.startswith("800 samples from 0.28 h to 1.39 h")
    assert "+7.200 (+7.200 to +7.200)" in rss and "+0.000" in main_rss  # 720 samples an hour
    assert float(files.split()[3]) == pytest.approx(18, abs=0.5)


def test_processes_below_count_with_their_files_and_threads():
    before = measure(os.getpid(), 1.0)
    script = "import subprocess, sys; print(flush=True); sys.stdin.read()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        during = measure(os.getpid(), 2.0)
        child.stdin.close()
    assert during.processes == before.processes + 2 and during.threads >= before.threads + 2
    assert during.rss > before.rss + 2 * 4_000_000 and during.files >= before.files + 6
    assert during.main_rss == pytest.approx(before.main_rss, rel=0.02)
    with pytest.raises(ProcessLookupError):
        measure(child.pid, 3.0)
