import pickle
import subprocess
import sys

import pytest
import torch

from graphattn.graphs import CSR, EdgeListGraph, as_graph, batch_graphs, causal
from graphattn.graphs.snapshots import MANY
from graphattn.kernels.native.library import why_not_native
from graphattn.testing.cases import ASYMMETRIC, RAGGED, REPEATED, edge_list


def random_edges(num_edges, num_queries, num_keys, seed=0):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randint(num_queries, (num_edges,), generator=generator)
    key = torch.randint(num_keys, (num_edges,), generator=generator)
    return torch.stack([key, query])


def test_edges_are_copied_in_and_out():
    edge_index = random_edges(9, 4, 6)
    graph = EdgeListGraph(edge_index, 4, 6)
    memory = {
        x.data_ptr() for x in (edge_index, graph.edge_index(), graph.edges, graph.edge_index("cpu"), graph._edges)
    }
    assert len(memory) == 5
    assert EdgeListGraph.owning(edge_index, 4, 6)._edges is edge_index


def test_one_copy_of_the_edges_is_held():
    graph = EdgeListGraph(random_edges(900, 40, 60), 40, 60)
    kept = [x for x in (graph.edge_index(), graph.csr(), graph.T) if x is not None]
    del kept
    held = [graph._edges, *graph.by_query()]
    assert sum(x.numel() * x.element_size() for x in held) == 900 * 16 + 41 * 4 + 900 * 4 * 2
    arrays = [x for value in graph._cache.values() if isinstance(value, CSR) for x in value]
    assert {id(x) for x in arrays} == {id(x) for x in held[1:]}


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint8])
def test_integers_of_any_width(dtype):
    graph = EdgeListGraph(random_edges(9, 4, 6).to(dtype), 4, 6)
    assert graph.edge_index().dtype == torch.int64
    assert graph.csr().rowptr.tolist()[-1] == 9


def forms_of(graph):
    """All that a graph says of its edges, as tensors."""
    forms = [graph.edge_index(), *graph.csr(), *graph.csr_transposed(), graph.degrees(), graph.T.edge_index()]
    forms += [graph.coalesce().edge_index()]
    return [x for x in forms if x is not None]


@pytest.mark.parametrize("num_edges", [0, 5, MANY], ids=["none", "few", "many"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8, torch.uint8], ids=str)
@pytest.mark.parametrize("is_sorted", [False, True], ids=["in any order", "sorted"])
@pytest.mark.parametrize("has_loops", [True, False], ids=["loops", "no loops"])
def test_narrow_integers_make_the_same_graph(num_edges, dtype, is_sorted, has_loops, monkeypatch):
    if not has_loops:
        for module in ("copied", "csr", "edge_list", "snapshots"):
            monkeypatch.setattr(f"graphattn.graphs.{module}.loops_for", lambda *_: None)
    wide = random_edges(num_edges, 100, 120)
    wide = wide[:, (wide[1] * 120 + wide[0]).argsort()] if is_sorted else wide
    steps = torch.stack([wide, wide], 2).to(dtype)[..., 0]  # columns with gaps
    wanted = EdgeListGraph(wide, 100, 120)
    for given in (wide.to(dtype), steps, wide.t().contiguous().to(dtype).t()):
        for graph in (EdgeListGraph(given, 100, 120), as_graph(given, 100, 120)):
            assert graph.edge_index().dtype == torch.int64
            for found, same in zip(forms_of(graph), forms_of(wanted), strict=True):
                assert torch.equal(found, same) and found.dtype == same.dtype
            assert torch.equal(pickle.loads(pickle.dumps(graph)).edge_index(), wide)
        assert as_graph(given, 100, 120) is as_graph(given, 100, 120)
        if num_edges:
            before = as_graph(given, 100, 120)
            given[0, 0] = (given[0, 0] + 1) % 120
            assert as_graph(given, 100, 120) is not before
            assert as_graph(given, 100, 120).edge_index()[0, 0] == given[0, 0]


@pytest.mark.parametrize("num_edges", [0, 1, 2, 3, 5])
def test_repeats_are_found(num_edges):
    for seed in range(40):
        edges = random_edges(num_edges, 3, 3, seed)
        repeats = len(set(map(tuple, edges.t().tolist()))) < num_edges
        graph = EdgeListGraph(edges, 3, 3)
        assert graph.has_repeats == repeats
        assert "places" not in graph._cache  # eight bytes of each edge


def test_narrow_integers_in_batches():
    wide = [random_edges(9, 4, 6, seed) for seed in range(3)]
    narrow = [x.int() if place != 1 else x for place, x in enumerate(wide)]
    of_wide, of_narrow = (batch_graphs([EdgeListGraph(x, 4, 6) for x in each]) for each in (wide, narrow))
    assert torch.equal(of_wide.edge_index(), of_narrow.edge_index())
    assert [x.edge_index().tolist() for x in of_narrow.examples()] == [x.tolist() for x in wide]
    # Numbers of nodes that int32 does not hold, though those of each example do.
    far = batch_graphs([EdgeListGraph(narrow[0], 4, 2**31 - 1), EdgeListGraph(narrow[2], 4, 2**31 - 1)])
    assert torch.equal(far.edge_index()[:, 9:], wide[2] + torch.tensor([[2**31 - 1], [4]]))
    assert [x.edge_index().tolist() for x in far.examples()] == [wide[0].tolist(), wide[2].tolist()]


def test_places_of_narrow_integers_do_not_overflow(monkeypatch):
    monkeypatch.setattr("graphattn.graphs.csr.loops_for", lambda *_: None)
    edge_index = torch.tensor([[70_000, 3, 99_999], [30_000, 30_000, 1]])
    wide, narrow = (EdgeListGraph(x, 100_000).csr() for x in (edge_index, edge_index.int()))
    assert all(torch.equal(x, y) for x, y in zip(wide, narrow))


MEMORY = """
import sys, torch
from graphattn.graphs import EdgeListGraph, as_graph

def peak(call):
    open("/proc/self/clear_refs", "w").write("5")
    before = resident("VmRSS")
    kept = call()
    return resident("VmHWM") - before, kept

def resident(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))

def edges(count):
    return torch.randint(2**17, (2, count), dtype=torch.int64).to(getattr(torch, sys.argv[1]))

count = 2**22
small, large = edges(2**15), edges(count)
for x in (small, large):
    making, graph = peak(lambda: as_graph(x, 2**17))
    sorting, csr = peak(lambda: graph.by_query())
    again, _ = peak(lambda: as_graph(x, 2**17))
    alone, _ = peak(lambda: EdgeListGraph(x, 2**17))
print(making / count, alone / count, sorting / count, again / count)
"""


@pytest.mark.skipif(why_not_native() is not None or sys.platform != "linux", reason="needs loops, and Linux to measure")
@pytest.mark.parametrize("dtype, most_to_make", [("int32", 8), ("int64", 24)])
def test_bytes_of_an_edge(dtype, most_to_make):
    """int32: the graph's own copy, then what sorting makes and needs for a while; no int64 of any of it."""
    done = subprocess.run([sys.executable, "-c", MEMORY, dtype], capture_output=True, text=True, check=True)
    making, alone, sorting, again = map(float, done.stdout.split())
    assert max(making, alone) < most_to_make + 2 and sorting < 16 + 2 and again < 1


def test_sorting_is_stable_in_every_way(monkeypatch):
    edge_index = random_edges(500, 11, 7)
    by_counting = EdgeListGraph(edge_index, 11, 7).csr()
    monkeypatch.setattr("graphattn.graphs.csr.loops_for", lambda *_: None)
    by_sorting = EdgeListGraph(edge_index, 11, 7).csr()
    for one, other in zip(by_counting, by_sorting):
        assert torch.equal(one, other) and one.dtype == other.dtype == torch.int32


def test_wide_graphs_have_wide_indices(monkeypatch):
    edge_index = torch.tensor([[2**31 + 5, 0], [1, 0]])
    csr = EdgeListGraph(edge_index, 2, 2**31 + 6).csr()
    assert csr.rowptr.dtype == csr.col.dtype == csr.edge_id.dtype == torch.int64
    assert csr.col.tolist() == [0, 2**31 + 5]


def test_sorted_edges_need_no_permutation():
    graph = causal(5)
    assert EdgeListGraph(graph.edge_index(), 5).csr().edge_id is None
    assert EdgeListGraph(graph.edge_index().flip(1), 5).csr().edge_id is not None


def test_from_csr():
    csr = edge_list(ASYMMETRIC, 6, 8).csr()
    graph = EdgeListGraph.from_csr(csr.rowptr, csr.col, num_keys=8)
    assert graph.sizes == ((6, 8),)
    assert isinstance(graph.csr(), CSR)
    assert graph.csr().edge_id is None
    assert graph.edge_index().t().tolist() == sorted(map(list, ASYMMETRIC), key=lambda edge: edge[::-1])
    with pytest.raises(ValueError, match="must rise from 0 to num_edges = 2"):
        EdgeListGraph.from_csr(torch.tensor([0, 3]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"\[num_queries \+ 1\]"):
        EdgeListGraph.from_csr(torch.tensor([]), torch.tensor([0, 1]))


def test_coalesce():
    graph = edge_list(REPEATED, 5)
    assert graph.has_repeats and graph.num_edges == 8
    assert not graph.coalesce().has_repeats
    unique = sorted(set(REPEATED), key=lambda edge: edge[::-1])
    assert graph.coalesce().edge_index().t().tolist() == [list(edge) for edge in unique]
    assert edge_list(RAGGED, [3, 0, 4]).coalesce().sizes == ((3, 3), (0, 0), (4, 4))
    assert edge_list([], 0).coalesce().num_edges == 0


def test_hint_of_symmetry():
    both_ways = torch.tensor([[0, 1], [1, 0]])
    assert not EdgeListGraph(both_ways, 2).is_symmetric
    graph = EdgeListGraph(both_ways, 2, is_undirected=True)
    assert graph.is_symmetric and graph.T.is_symmetric and batch_graphs([graph, graph]).is_symmetric
    assert not batch_graphs([graph, EdgeListGraph(both_ways, 2)]).is_symmetric


def test_equal_only_if_the_same():
    edge_index = random_edges(9, 4, 6)
    graph = EdgeListGraph(edge_index, 4, 6)
    assert graph == graph and graph != EdgeListGraph(edge_index, 4, 6)
    assert len({graph, graph}) == 1


def test_batch_is_one_edge_list():
    graph = batch_graphs([edge_list(ASYMMETRIC, 6, 8), edge_list([], 0, 2), edge_list(REPEATED, 5)])
    assert isinstance(graph, EdgeListGraph)
    assert graph.sizes == ((6, 8), (0, 2), (5, 5))
    first, empty, last = graph.examples()
    assert first.edge_index().t().tolist() == [list(edge) for edge in ASYMMETRIC]
    assert empty.num_edges == 0
    assert last.edge_index().t().tolist() == [list(edge) for edge in REPEATED]


def test_edges_keep_their_place_in_a_shuffled_batch():
    shuffled = [RAGGED[place] for place in (3, 0, 5, 1, 6, 2, 4)]
    first, _, last = edge_list(shuffled, [3, 0, 4]).examples()
    assert first.edge_index().t().tolist() == [[0, 1], [2, 1], [1, 0]]
    assert last.edge_index().t().tolist() == [[3, 0], [1, 1], [0, 1], [2, 0]]


@pytest.mark.parametrize(
    "edges, sizes, message",
    [
        ([(0, 1), (6, 0)], (4, 6), r"names key 6, but there are 6 keys \(indices 0 to 5\)"),
        ([(0, 4), (5, 0)], (4, 6), r"names query 4, but there are 4 queries"),
        ([(-1, 0)], (4, 6), "names key -1"),
        ([(0, -3)], (4, 6), "names query -3"),
        ([(0, 0)], (0,), "there are 0 keys"),
    ],
)
def test_indices_out_of_range(edges, sizes, message):
    with pytest.raises(ValueError, match=message):
        edge_list(edges, *sizes)


def test_edges_between_examples():
    graph = edge_list([(0, 1), (2, 4)], [3, 4])
    with pytest.raises(ValueError, match=r"got key 2 for query 4 of example 1, whose keys are 3 to 6"):
        graph.csr()


@pytest.mark.parametrize(
    "edge_index, error, message",
    [
        ([[0], [1]], TypeError, r"must be a tensor \(got list\).*as_graph"),
        (torch.tensor([[0.0], [1.0]]), TypeError, r"must hold integers \(got torch.float32\)"),
        (torch.tensor([[True], [False]]), TypeError, r"got torch.bool"),
        (torch.zeros(3, 2, dtype=torch.long), ValueError, r"\[2, num_edges\] \(got \[3, 2\]\)"),
        (torch.zeros(2, dtype=torch.long), ValueError, r"got \[2\]"),
    ],
)
def test_bad_edge_index(edge_index, error, message):
    with pytest.raises(error, match=message):
        EdgeListGraph(edge_index, 4)


def test_repr():
    assert repr(edge_list(ASYMMETRIC, 6, 8)) == "EdgeListGraph(num_queries=6, num_keys=8, num_edges=9)"
    assert "(500 examples)" in repr(edge_list([], [1] * 500))


def test_pairs_that_64_bits_cannot_tell_apart_are_refused():
    edge_index = torch.tensor([[0, 2**32], [1, 5]])
    with pytest.raises(ValueError, match="fewer than 2\\^63 pairs of nodes"):
        EdgeListGraph(edge_index, [2**31, 2**30], [2**31, 2**31])
    graph = EdgeListGraph(edge_index, 6, 2**32 + 1)
    assert graph.allows(5, 2**32) and not graph.allows(5, 0)
    assert graph.csr().col.dtype == torch.int64 and graph.csr().col.tolist() == [0, 2**32]
