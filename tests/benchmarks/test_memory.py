"""Memory slopes of real processes at ``tiny`` change with the settings as expected."""

import torch

from benchmarks import memory
from benchmarks.figures import SCALES


def test_the_slope_leaves_out_what_every_batch_has(monkeypatch):
    asked = []

    def peaks(requests):
        asked.extend(requests)
        return [10**9 * len(request.size) + 7000 * request.utterances * 300 for request in requests]

    monkeypatch.setattr(memory, "peaks", peaks)
    assert memory.slopes([("base", "bf16", True), ("small", "none", False)], 8) == [7000, 7000]
    assert asked == [("base", "bf16", True, 2), ("base", "bf16", True, 8)] + [
        ("small", "none", False, 2),
        ("small", "none", False, 8),
    ]


def test_the_peak_is_what_was_there_not_what_is():
    with open("/proc/self/status", encoding="ascii") as lines:
        (now,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
    more = memory.peak_resident() - now + 100_000_000
    torch.ones(more, dtype=torch.uint8)
    assert now + more - 50_000_000 < memory.peak_resident() < now + more + 50_000_000


def test_a_token_takes_what_its_layers_keep():
    kept, checkpointed = memory.slopes([("tiny", "none", False), ("tiny", "none", True)], SCALES["smoke"].batch)
    # Each of six layers keeps at least the inputs of its products, eleven to nineteen of its width; else one input.
    state, layers = 4 * 160, 6
    assert kept > layers * 19 * state
    assert kept > 3 * checkpointed > 3 * layers * state


def test_every_configuration_is_a_figure(monkeypatch):
    monkeypatch.setattr(memory, "peaks", lambda requests: [request.utterances * 300 * 2e6 for request in requests])
    found = memory.figures(SCALES["full"])
    assert len({figure.name for figure in found}) == len(found) == 2 * 2 * 2
    assert all((figure.value, figure.unit) == (2.0, "MB") and "25 a second" in figure.meaning for figure in found)
    assert {figure.name.split(", ")[1] for figure in memory.figures(SCALES["smoke"])} == {"tiny"}
