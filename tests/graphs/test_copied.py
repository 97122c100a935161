"""Edges that are copied and looked through at once are what torch's operations make of them, one after the other."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric import EdgeIndex

from graphattn.graphs import EdgeListGraph, as_graph
from graphattn.graphs.copied import copied
from graphattn.graphs.snapshots import MANY, plain
from graphattn.graphs.sorting import FEWEST
from graphattn.kernels.native import sorting
from graphattn.kernels.native.library import why_not_native

LAYOUTS = {
    "as it is": lambda x: x,
    "pairs": lambda x: x.t().contiguous().t(),
    "columns": lambda x: torch.stack([x, x], -1).flatten(1)[:, ::2],
    "backwards": lambda x: x.flip(0, 1).contiguous().flip(0, 1),
    "one node": lambda x: x[:, :1].expand(2, x.size(1)) if x.size(1) else x,
    "int32": lambda x: x.int(),
    "columns of int32": lambda x: torch.stack([x, x], -1).flatten(1)[:, ::2].int(),
    "int16": lambda x: x.short(),
    "parameter": lambda x: torch.nn.Parameter(x, requires_grad=False),
    "EdgeIndex": lambda x: EdgeIndex(x.clone()),
}
COUNTS = [0, 1, FEWEST // 2 - 1, FEWEST // 2, 100, MANY // 2 - 1, MANY // 2, MANY // 2 + 7]
WRONG = [-1, 9, 2**31 - 1, 2**31, 2**32, -(2**31), -(2**31) - 1, 2**63 - 1, -(2**63)]


def edges(count, seed, order):
    x = torch.randint(9, (2, count), generator=torch.Generator().manual_seed(seed))
    if order == "any":
        return x
    places = (x[1] * 9 + x[0]).argsort()
    return x[:, places if order == "sorted" else places.flip(0)]


def outcome(make, x, *sizes):
    """All that a graph is known by, or what it is refused with."""
    try:
        graph = make(x, *sizes)
        csr = graph.by_query()
    except ValueError as error:
        return str(error)
    return graph._edges.dtype, graph.sizes, *(None if array is None else (array.dtype, array.tolist()) for array in csr)


@pytest.mark.parametrize("make", [EdgeListGraph, as_graph])
@given(
    count=st.sampled_from(COUNTS),
    seed=st.integers(0, 99),
    order=st.sampled_from(["any", "sorted", "falling"]),
    layout=st.sampled_from(sorted(LAYOUTS)),
    wrong=st.none() | st.tuples(st.integers(0, 1), st.integers(0, 10**6), st.sampled_from(WRONG)),
    sizes=st.sampled_from([(9, 9), (12, 9), (9, 2**40), (20, 2**33), ([4, 5], [9, 0]), (0, 9), (2**32, 2**32)]),
)
def test_at_once_and_one_after_the_other(make, count, seed, order, layout, wrong, sizes):
    x = edges(count, seed, order)
    if wrong is not None and count:
        side, place, number = wrong
        x[side, place % count] = number
    x = LAYOUTS[layout](x)
    found = outcome(make, x, *sizes)
    with patch("graphattn.graphs.copied._copied_by_loops", lambda *_: None):
        assert found == outcome(make, plain(x).clone(), *sizes)


@pytest.mark.skipif(why_not_native() is not None, reason=str(why_not_native()))
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_numbers_are_read_once(count, dtype, monkeypatch):
    """By one loop, before anything else; whoever sorts them then knows their order."""
    ran, run = [], sorting.run
    monkeypatch.setattr(sorting, "run", lambda name, *rest: ran.append(name) or run(name, *rest))
    for order in ("any", "sorted", "falling"):
        ran.clear()
        x = edges(count, 3, order).to(dtype)
        graph = as_graph(x, 9)
        graph.by_query()
        assert ran == (["pairs_copied"] if 2 * count >= FEWEST else [])
        assert as_graph(x, 9) is graph


def test_a_copy_has_memory_of_its_own():
    for layout in LAYOUTS.values():
        x = layout(edges(100, 0, "any"))
        copy = copied(x, ((9, 9),))
        before = copy.edges.clone()
        assert copy.edges.is_contiguous() and type(copy.edges) is type(copy.numbers) is torch.Tensor
        plain(x).contiguous() if plain(x).stride(1) == 0 else plain(x).zero_()
        assert torch.equal(copy.edges, before)


def test_a_fake_tensor_and_recorded_code_are_read_by_torch():
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode() as mode:
        fake = copied(torch.zeros(2, 100, dtype=torch.int64), ((9, 9),))
    assert fake.is_sorted is None and fake.edges.fake_mode is mode
