"""The counted traffic of a layer: the count itself, and the goals for our kernels."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import traffic


def test_an_operation_counts_what_it_reads_and_writes_once():
    with FakeTensorMode():
        x, weight = torch.empty(4, 8, dtype=torch.bfloat16), torch.empty(16, 8, dtype=torch.bfloat16)
        row = torch.empty(8, dtype=torch.bfloat16)
        with traffic.Traffic() as found:
            (x + row.expand(4, 8)) @ weight.t()
            x.view(2, 16)
            torch.zeros(5)
    assert found.moved == {"add": 2 * (32 + 8 + 32), "zeros": 4 * 5}
    assert found.products == 2 * (32 + 128 + 64)
    assert found.launches == 3


def test_an_operation_with_an_index_counts_what_it_takes():
    with FakeTensorMode():
        x, rows = torch.empty(100, 8), torch.empty(5, dtype=torch.long)
        place, values, out = rows[:, None].expand(5, 8), torch.empty(5, 8), torch.empty(100, 8)
        with traffic.Traffic() as found:
            x.index_select(0, rows)
            x.gather(0, place)
            x.scatter_(0, place, values)
            torch.exp(x, out=out)
    taken = 2 * 5 * 8 * 4 + 5 * 8
    assert found.moved == {"index_select": taken, "gather": taken, "scatter_": 2 * (taken - 5 * 8 * 4), "exp": 6400}


def test_our_kernels_move_a_third_of_the_bytes():
    pytest.importorskip("triton")
    elements = traffic.BATCH * traffic.TIME * traffic.DIM
    plain, fused = (sum(traffic.of_layer(way).moved.values()) / elements for way in (False, True))
    assert plain > 500
    assert fused <= 200
