"""What every graph must do, against edges written by plain loops."""

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch

from graphattn import attend
from graphattn.graphs import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    Graph,
    GridGraph,
    PrefixGraph,
    RuleGraph,
    batch_graphs,
    causal,
)
from graphattn.kernels.cuda.flex import block_mask
from graphattn.testing.cases import GRAPHS, KnightMoves, is_near_or_even, side_by_side

every_graph = pytest.mark.parametrize("graph, edges", [case[1:] for case in GRAPHS], ids=[case[0] for case in GRAPHS])
SYMBOLIC = [case for case in GRAPHS if case[1].device is None]


def trust_of_a_user():
    """What torch.load needs for classes and functions that are not of this package."""
    return torch.serialization.safe_globals([KnightMoves, is_near_or_even, max])


def as_tensor(edges):
    return torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()


def mask_of(edges, shape):
    mask = torch.zeros(shape, dtype=torch.bool)
    for key, query in edges:
        mask[query, key] = True
    return mask


def assert_same_edges(graph, edges):
    assert torch.equal(graph.edge_index(), as_tensor(edges))
    assert graph.num_edges == len(edges)
    assert torch.equal(graph.mask(), mask_of(edges, graph.shape))


def assert_csr(csr, num_rows, row_and_col):
    """`row_and_col`: the (row, column) of every edge, in the order of edge_index()."""
    entries = sorted(range(len(row_and_col)), key=lambda number: row_and_col[number])  # stable
    rowptr = [sum(row < stop for row, _ in row_and_col) for stop in range(num_rows + 1)]
    assert csr.rowptr.tolist() == rowptr
    assert csr.col.tolist() == [row_and_col[number][1] for number in entries]
    edge_id = list(range(len(entries))) if csr.edge_id is None else csr.edge_id.tolist()
    assert edge_id == entries
    assert {array.dtype for array in csr if array is not None} == {torch.int32}


@every_graph
def test_edges_and_mask(graph, edges):
    assert_same_edges(graph, edges)
    assert graph.edge_index().dtype == torch.int64


@every_graph
def test_allows_is_the_mask(graph, edges):
    query, key = torch.arange(graph.num_queries), torch.arange(graph.num_keys)
    allowed = graph.allows(query[:, None], key)
    assert allowed.dtype == torch.bool
    assert torch.equal(allowed, mask_of(edges, graph.shape))
    assert torch.equal(graph.allows(query, key[:, None]), mask_of(edges, graph.shape).t())
    for number in range(0, len(edges), 5):
        assert bool(graph.allows(edges[number][1], edges[number][0]))


@every_graph
def test_csr(graph, edges):
    assert_csr(graph.csr(), graph.num_queries, [(query, key) for key, query in edges])
    assert graph.by_query() is graph.by_query()


@every_graph
def test_csr_transposed(graph, edges):
    assert_csr(graph.csr_transposed(), graph.num_keys, list(edges))
    assert graph.by_key() is graph.by_key()


@every_graph
def test_what_methods_return_may_be_written(graph, edges):
    graph = copy.deepcopy(graph)
    for _ in range(2):
        given = [graph.edge_index(), *graph.csr(), *graph.csr_transposed(), graph.degrees(), graph.batch()]
        given += [
            graph.edge_index("cpu"),
            *graph.csr("cpu"),
            graph.degrees("cpu"),
            graph.T.edge_index(),
            *graph.T.csr(),
        ]
        for x in given:
            if x is not None:
                x.fill_(10**6)
        graph.mask().fill_(True)
    test_csr(graph, edges)
    test_csr_transposed(graph, edges)
    test_degrees(graph, edges)
    test_sizes(graph, edges)
    test_edges_and_mask(graph, edges)
    query, key, value = (torch.randn(count, 1, 4) for count in (graph.num_queries, graph.num_keys, graph.num_keys))
    expected = attend(query, key, value, EdgeListGraph(as_tensor(edges), *zip(*graph.sizes)))
    torch.testing.assert_close(attend(query, key, value, graph), expected)


@every_graph
def test_degrees(graph, edges):
    degrees = [sum(query == i for _, query in edges) for i in range(graph.num_queries)]
    assert graph.degrees().tolist() == degrees
    assert graph.degrees().dtype == torch.int64


@every_graph
def test_transposed_keeps_the_places_of_edges(graph, edges):
    flipped = [(query, key) for key, query in edges]
    assert graph.T.shape == graph.shape[::-1]
    assert_same_edges(graph.T, flipped)
    assert_csr(graph.T.csr(), graph.num_keys, list(edges))
    assert_csr(graph.T.csr_transposed(), graph.num_queries, [(query, key) for key, query in edges])
    assert graph.T.degrees().tolist() == [sum(key == j for key, _ in edges) for j in range(graph.num_keys)]
    assert graph.T.T is graph


@every_graph
def test_transposed_on_its_own(graph, edges):
    # Without the caches shared with the graph that it comes from.
    alone = pickle.loads(pickle.dumps(graph.T))
    assert_same_edges(alone, [(query, key) for key, query in edges])
    assert_same_edges(alone.T, edges)


@every_graph
def test_normal_form_has_the_same_edges_in_the_same_order(graph, edges):
    assert_same_edges(graph.normal_form(), edges)
    assert_same_edges(graph.T.normal_form(), [(query, key) for key, query in edges])
    assert graph.normal_form() == graph.normal_form().normal_form()


@every_graph
def test_sizes(graph, edges):
    assert graph.shape == (graph.num_queries, graph.num_keys)
    assert graph.num_queries == sum(queries for queries, _ in graph.sizes) == graph.query_ptr[-1]
    assert graph.num_keys == sum(keys for _, keys in graph.sizes) == graph.key_ptr[-1]
    assert len(graph.query_ptr) == len(graph.key_ptr) == graph.num_examples + 1
    example_of = [number for number, (queries, _) in enumerate(graph.sizes) for _ in range(queries)]
    assert graph.batch().tolist() == example_of


@every_graph
def test_examples_and_back(graph, edges):
    examples = graph.examples()
    assert [example.sizes for example in examples] == [(size,) for size in graph.sizes]
    split = [[tuple(edge) for edge in example.edge_index().t().tolist()] for example in examples]
    joined = side_by_side(*((*size, own) for size, own in zip(graph.sizes, split)))
    if graph.has_own_order:
        assert sorted(joined) == sorted(edges)
    else:
        assert joined == edges
        assert_same_edges(batch_graphs(examples), edges)


@every_graph
def test_batched_with_another(graph, edges):
    batch = batch_graphs([CompleteGraph(2, 1), graph, graph])
    own = (graph.num_queries, graph.num_keys, edges)
    assert_same_edges(batch, side_by_side((2, 1, [(0, 0), (0, 1)]), own, own))
    assert batch.sizes == ((2, 1), *graph.sizes, *graph.sizes)
    assert_csr(batch.T.csr(), batch.num_keys, [tuple(edge) for edge in batch.edge_index().t().tolist()])


@every_graph
def test_batched_with_itself(graph, edges):
    own = (graph.num_queries, graph.num_keys, edges)
    batch = batch_graphs([graph, graph])
    assert_same_edges(batch, side_by_side(own, own))
    assert batch.sizes == graph.sizes * 2


@every_graph
def test_symmetric_is_true(graph, edges):
    if graph.is_symmetric:
        assert sorted(edges) == sorted((query, key) for key, query in edges)


@every_graph
def test_has_repeats(graph, edges):
    assert graph.has_repeats == (len(set(edges)) < len(edges))


@every_graph
def test_repr_is_one_line(graph, edges):
    assert "\n" not in repr(graph) and len(repr(graph)) < 250
    assert repr(graph.T.T) == repr(graph)


@every_graph
def test_pickle_and_copy_drop_caches(graph, edges):
    graph.csr()
    for twin in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph), copy.copy(graph)):
        assert twin._cache is not graph._cache
        assert set(twin._cache) <= {"checked", "is_sorted", "query_ptr", "key_ptr"}
        assert_same_edges(twin, edges)
        if graph.device is None:
            assert twin == graph and hash(twin) == hash(graph)


@every_graph
def test_torch_save_and_load_of_weights_only(graph, edges):
    file = io.BytesIO()
    torch.save({"graph": graph}, file)
    file.seek(0)
    with trust_of_a_user():
        assert_same_edges(torch.load(file, weights_only=True)["graph"], edges)


@every_graph
def test_moves(graph, edges):
    for moved in (graph.to("cpu"), graph.to(torch.device("cpu"), non_blocking=True), graph.cpu(), graph.clone()):
        assert_same_edges(moved, edges)
        assert moved.sizes == graph.sizes
    assert_same_edges(graph.to(torch.float16), edges)  # indices keep their dtype, as Data.to does it to all
    assert graph.to("cpu") is graph
    if graph.device is None:
        assert graph.to("meta") is graph and graph.device is None
    else:
        assert graph.to("meta").device.type == "meta"


@every_graph
def test_subgraph(graph, edges):
    if any(queries != keys for queries, keys in graph.sizes):
        with pytest.raises(ValueError, match="as many keys as queries"):
            graph.subgraph([0])
        return
    # Every third node left out, and the order within each example turned round.
    nodes = [
        node
        for start, stop in zip(graph.query_ptr, graph.query_ptr[1:])
        for node in reversed(range(start, stop))
        if node % 3 != 1
    ]
    kept = [(nodes.index(key), nodes.index(query)) for key, query in edges if key in nodes and query in nodes]
    for given in (nodes, torch.tensor(nodes, dtype=torch.int32)):
        assert_same_edges(graph.subgraph(given), kept)
    assert graph.subgraph(nodes).num_examples == graph.num_examples


@every_graph
def test_networkx(graph, edges):
    result = graph.to_networkx()
    square = all(queries == keys for queries, keys in graph.sizes)
    expected = edges if square else [(("key", key), ("query", query)) for key, query in edges]
    assert sorted(result.edges()) == sorted(expected)
    assert result.is_directed() and result.is_multigraph() == graph.has_repeats
    assert len(result) == (graph.num_queries if square else graph.num_queries + graph.num_keys)


@every_graph
def test_scipy(graph, edges):
    matrix = graph.to_scipy()
    assert matrix.shape == (graph.num_keys, graph.num_queries)
    assert list(zip(matrix.row.tolist(), matrix.col.tolist())) == edges


@pytest.mark.parametrize("graph", [case[1] for case in SYMBOLIC], ids=[case[0] for case in SYMBOLIC])
def test_symbolic_graphs_are_values(graph):
    assert graph == pickle.loads(pickle.dumps(graph))
    assert len({graph, copy.deepcopy(graph), graph.T}) == 2
    with pytest.raises(AttributeError):
        graph.sizes = ()


def test_graphs_differ_unless_equal():
    graphs = [case[1] for case in GRAPHS]
    for one in range(len(graphs)):
        for other in range(one):
            assert graphs[one] != graphs[other]


def test_nothing_is_written_out():
    million_squared = CompleteGraph(10**9)
    assert million_squared.num_edges == 10**18
    assert million_squared.T.num_edges == 10**18
    assert repr(million_squared.T) == "CompleteGraph(1000000000).T"
    assert million_squared & million_squared is million_squared
    assert (million_squared & causal(10**9)).num_edges == 10**9 * (10**9 + 1) // 2
    assert (~causal(10**9)).num_edges == 10**9 * (10**9 - 1) // 2
    assert batch_graphs([million_squared, CompleteGraph(10**8, 7)]) == CompleteGraph([10**9, 10**8], [10**9, 7])
    assert BandedGraph(10**9, 10**8, 3, dilation=7).num_edges > 10**16
    assert million_squared.allows(torch.tensor([5]), torch.tensor([10**8])).tolist() == [True]
    assert causal(10**9).subgraph([10**8, 5, 10**9 - 1]).edge_index().tolist() == [
        [1, 1, 0, 1, 0, 2],
        [1, 0, 0, 2, 2, 2],
    ]


def test_device_of_symbolic_graphs_is_free():
    assert causal(3).device is None
    assert causal(3).mask(device="meta").device.type == "meta"


def test_is_abstract_and_no_sequence():
    with pytest.raises(TypeError):
        Graph()
    for method in ("__len__", "__iter__", "__getitem__"):
        assert not hasattr(Graph, method)


@every_graph
def test_caches_do_not_keep_graphs_alive(graph, edges):
    graph = graph.twin()
    for one in (graph, graph.T):
        one.csr(), one.csr_transposed(), one.degrees(), one.batch(), one.normal_form()
    query, key = (torch.randn(count, 2, 16, requires_grad=True) for count in graph.shape)
    attend(query, key, key, graph).sum().backward()
    attend(query, key, key, graph, dropout=0.5).sum().backward()
    if 0 not in graph.shape:
        block_mask(graph, "cpu")
    alive, one = weakref.ref(graph), None
    gc.disable()
    try:
        del graph
        assert alive() is None  # freed at once, not by the garbage collector
    finally:
        gc.enable()


def test_edges_that_do_not_fit_into_memory_are_refused():
    graph = CompleteGraph(10**7)
    assert graph.num_edges == 10**14
    with pytest.raises(ValueError, match="the 100000000000000 edges of CompleteGraph.*do not fit into memory"):
        graph.csr()


# Files ----------------------------------------------------------------------------------------------------------------

FIELDS = {
    "CompleteGraph": ["edges_by_key", "sizes"],
    "BandedGraph": ["after", "before", "dilation", "edges_by_key", "first_positions", "offsets", "sizes"],
    "PrefixGraph": ["edges_by_key", "prefix", "sizes"],
    "GridGraph": [
        *("after", "before", "border", "dilation", "edges_by_key", "group", "is_causal", "key_sides", "query_sides"),
        *("sizes", "stride"),
    ],
    "GlobalGraph": ["edges_by_key", "nodes", "sizes"],
    "EdgeListGraph": ["edges", "edges_by_key", "is_undirected", "sizes"],
    "UnionGraph": ["edges_by_key", "graphs", "sizes"],
    "IntersectionGraph": ["edges_by_key", "graphs", "sizes"],
    "ComplementGraph": ["edges_by_key", "graph", "sizes"],
    "BatchedGraph": ["edges_by_key", "graphs", "sizes"],
    "TransposedGraph": ["edges_by_key", "graph", "sizes"],
    "RuleGraph": ["edges_by_key", "rule", "sizes"],
    "KnightMoves": ["edges_by_key", "side", "sizes"],  # a user's
}


@every_graph
def test_what_files_hold_stays(graph, edges):
    assert sorted(graph.__getstate__()) == FIELDS[type(graph).__name__]


def ragged():
    return BandedGraph([3, 4], 1, 0)


def edge_list():
    return EdgeListGraph(torch.tensor([[0, 2], [1, 0]]), 3)


FORGED = [
    (CompleteGraph(3), {"sizes": ((3, -3),)}),
    (CompleteGraph(3), {"sizes": ()}),
    (CompleteGraph(3), {"sizes": ((3, 3.0),)}),
    (CompleteGraph(3), {"sizes": [[3, 3]]}),
    (CompleteGraph(3), {"sizes": ((True, 3),)}),
    (CompleteGraph(3), {"edges_by_key": 1}),
    (ragged(), {"sizes": ((100, 100), (-50, -50))}),
    (ragged(), {"first_positions": ((0, 0),)}),
    (ragged(), {"first_positions": ((0, 0), (0, 0.5))}),
    (ragged(), {"first_positions": ((0, 0), (2**70, 0))}),
    (PrefixGraph([3, 4], 2), {"prefix": (2,)}),
    (PrefixGraph([3, 4], 2), {"prefix": (2, -1)}),
    (PrefixGraph([3, 4], 2), {"sizes": ((3, 2), (4, 4))}),
    (RuleGraph(3, 4, is_near_or_even), {"rule": "is_near_or_even"}),
    (RuleGraph(3, 4, is_near_or_even), {"rule": max}),
    (RuleGraph(3, 4, is_near_or_even), {"sizes": ((3, -4),)}),
    (KnightMoves(3), {"sizes": ((9, -9),)}),
    (ragged(), {"before": -1}),
    (ragged(), {"after": 0.5}),
    (ragged(), {"dilation": 0}),
    (ragged(), {"offsets": (0,)}),
    (ragged(), {"offsets": (0, 2**63)}),
    (ragged(), {"offsets": (0, None)}),
    (GridGraph((2, 3), 1), {"query_sides": ((2, 4),)}),
    (GridGraph((2, 3), 1), {"key_sides": ((2, -3),)}),
    (GridGraph((2, 3), 1), {"before": (1,)}),
    (GridGraph((2, 3), 1), {"after": (1, -1)}),
    (GridGraph((2, 3), 1), {"dilation": (0, 1)}),
    (GridGraph((2, 3), 1), {"stride": (2**62, 1)}),
    (GridGraph((2, 3), 1), {"border": "wrap"}),
    (GridGraph((2, 3), 1), {"border": "shift"}),
    (GridGraph((2, 3), 1), {"border": ("clip",)}),
    (GridGraph((2, 3), 1), {"border": ("shift", "clip")}),
    (GridGraph((2, 3), 1), {"border": 3}),
    (GridGraph((2, 3), 1), {"group": (1, 0)}),
    (GridGraph((2, 3), 1), {"group": (2,)}),
    (GridGraph((2, 3), 1), {"group": 2}),
    (GridGraph((2, 3), 1), {"is_causal": (True, False)}),
    (GridGraph((2, 3), 1), {"is_causal": (0, 0)}),
    (GridGraph((2, 3), 1), {"is_causal": (False,)}),
    (GridGraph((2, 3), 1), {"sizes": ((6, 7),)}),
    (GlobalGraph(3, [1]), {"nodes": (3,)}),
    (GlobalGraph(3, [1]), {"nodes": (-1,)}),
    (GlobalGraph(3, [1]), {"sizes": ((3, 4),)}),
    (edge_list(), {"edges": torch.tensor([[0, 3], [1, 0]])}),
    (edge_list(), {"edges": torch.tensor([[0, 2], [-1, 0]])}),
    (edge_list(), {"edges": torch.zeros(3, 2, dtype=torch.int64)}),
    (edge_list(), {"edges": torch.zeros(2, 2)}),
    (edge_list(), {"edges": torch.zeros(2, 2, dtype=torch.int64).to_sparse()}),
    (edge_list(), {"edges": [[0, 2], [1, 0]]}),
    (edge_list(), {"edges_by_key": True}),
    (edge_list(), {"is_undirected": None}),
    (edge_list(), {"sizes": ((2, 2),)}),
    (causal(3) | edge_list(), {"graphs": (causal(3), CompleteGraph(4))}),
    (causal(3) | edge_list(), {"graphs": (causal(3), None)}),
    (causal(3) | edge_list(), {"graphs": ()}),
    (causal(3) | edge_list(), {"graphs": (causal(3), EdgeListGraph(torch.tensor([[0, 0], [1, 1]]), 3))}),
    (causal(3) & edge_list(), {"sizes": ((3, 4),)}),
    (~edge_list(), {"graph": CompleteGraph(4)}),
    (~edge_list(), {"graph": 5}),
    (batch_graphs([causal(3), edge_list()]), {"graphs": (causal(3),)}),
    (batch_graphs([causal(3), edge_list()]), {"edges_by_key": True}),
    (GridGraph((2,), 1, stride=2).T, {"graph": CompleteGraph(2)}),
    (GridGraph((2,), 1, stride=2).T, {"sizes": ((2, 4),)}),
]


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("graph, change", FORGED)
def test_files_that_say_what_no_constructor_makes_are_refused(graph, change, weights_only):
    forged = graph.twin()
    forged.__dict__.update(change if "edges" not in change else {"_edges": change["edges"]})
    for given in (forged, [CompleteGraph(2), {"graph": forged}]):
        file = io.BytesIO()
        torch.save(given, file)
        file.seek(0)
        with trust_of_a_user(), pytest.raises(ValueError, match=f"what was read is no {type(graph).__name__}: "):
            torch.load(file, weights_only=weights_only)
    with pytest.raises(ValueError, match=f"what was read is no {type(graph).__name__}: "):
        pickle.loads(pickle.dumps(forged))


@pytest.mark.parametrize("inner", [{"sizes": ((3, -1),)}, {"offsets": ()}])
def test_graphs_inside_of_graphs_are_checked(inner):
    forged = causal(3).twin(**inner)
    for outer in (~edge_list(), GridGraph((3,), 1, stride=1, border="shift").T):
        with pytest.raises(ValueError, match="what was read is no BandedGraph: "):
            pickle.loads(pickle.dumps(outer.twin(graph=forged)))
    outer = batch_graphs([causal(3), edge_list()]).twin(graphs=(edge_list(), forged))
    with pytest.raises(ValueError, match="what was read is no BandedGraph: "):
        copy.deepcopy(pickle.loads(pickle.dumps(outer)))


@every_graph
def test_files_of_other_fields_are_refused(graph, edges):
    state = graph.__getstate__()
    newer = {"first_positions", "group", "is_causal"}  # which older files do not have
    for name in set(state) - newer - {"side"}:  # a field of a user's class
        new = object.__new__(type(graph))
        with pytest.raises(ValueError, match=rf"its fields are .*got none of \['{name}'\], and also \[\]"):
            new.__setstate__({field: value for field, value in state.items() if field != name})
    with pytest.raises(ValueError, match=r"and also \['_cache'(, 'speed')?\]"):
        object.__new__(type(graph)).__setstate__(state | {"speed": 3, "_cache": {}})
    with pytest.raises(ValueError, match="its state must be a dict"):
        object.__new__(type(graph)).__setstate__(None)
    with pytest.raises(ValueError, match="a graph never changes"):
        graph.__setstate__(state)


def test_bands_of_older_files_start_at_zero():
    graph = BandedGraph([3, 4], 2, 0)
    state = graph.__getstate__()
    del state["first_positions"]
    new = object.__new__(BandedGraph)
    new.__setstate__(state)
    assert new == graph and new.starts == ((0, 0), (0, 0))


def test_a_graph_that_was_not_read_to_its_end():
    new = object.__new__(type(~causal(3)))
    with pytest.raises(ValueError, match="that is not finished"):
        new.__setstate__({"sizes": ((3, 3),), "edges_by_key": False, "graph": new})


def test_what_was_read_shares_no_memory_with_the_file():
    edges = torch.tensor([[0, 2], [1, 0]])
    new = object.__new__(EdgeListGraph)
    new.__setstate__({"sizes": ((3, 3),), "edges_by_key": False, "edges": edges, "is_undirected": False})
    edges.fill_(10**6)
    assert new.edge_index().tolist() == [[0, 2], [1, 0]]


def test_subclasses_keep_fields_of_their_own():
    twin = pickle.loads(pickle.dumps(Diagonal(3)))
    assert twin.colour == "red" and twin.edge_index().tolist() == [[0, 1, 2], [0, 1, 2]]
    assert copy.deepcopy(twin).colour == "red"


class Diagonal(Graph):
    def __init__(self, num_nodes):
        self._freeze(sizes=((num_nodes, num_nodes),), edges_by_key=False, colour="red")

    def allows(self, query, key):
        return torch.as_tensor(query == key)

    def _rows(self, device):
        return torch.ones(self.num_queries, dtype=torch.int64), torch.arange(self.num_queries)

    def _transposed(self):
        return self

    def _split(self):
        return [self]

    def _describe(self):
        return "Diagonal"
