"""Every form of a graph, asymmetric and (where it can be) rectangular, so that no two directions can be exchanged."""

import gc
import sys
import types
import weakref
from pathlib import Path

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.transforms import AddSelfLoops

from graphattn.graphs import BatchedGraph, CompleteGraph, EdgeListGraph, as_graph, causal
from graphattn.inputs import from_network
from graphattn.testing.cases import ASYMMETRIC, REPEATED, SQUARE

EDGE_INDEX = torch.tensor(ASYMMETRIC).t().contiguous()  # 6 queries, 8 keys
MASK = torch.zeros(6, 8, dtype=torch.bool)
for _key, _query in ASYMMETRIC:
    MASK[_query, _key] = True


def assert_is_asymmetric(graph):
    assert isinstance(graph, EdgeListGraph)
    assert graph.sizes == ((6, 8),)
    assert torch.equal(graph.mask(), MASK)
    assert graph.num_edges == len(ASYMMETRIC)


def test_graph_is_itself():
    graph = causal([3, 4])
    assert as_graph(graph) is graph
    assert as_graph(graph, 7) is graph and as_graph(graph, [3, 4], 7) is graph
    with pytest.raises(ValueError, match=r"joins 7 queries .* in 2 .*got num_queries=6.*graph.subgraph\(nodes\)"):
        as_graph(graph, 6)
    with pytest.raises(ValueError, match=r"got num_keys=8"):
        as_graph(graph, 7, 8)
    with pytest.raises(ValueError, match=r"got num_queries=\[4, 3\]"):
        as_graph(graph, [4, 3])


def test_edge_index():
    assert_is_asymmetric(as_graph(EDGE_INDEX, 6, 8))
    assert_is_asymmetric(as_graph(EDGE_INDEX.int(), 6, 8))
    assert_is_asymmetric(as_graph(EDGE_INDEX.numpy(), 6, 8))
    assert torch.equal(as_graph(EDGE_INDEX, 6, 8).edge_index(), EDGE_INDEX)
    assert as_graph(EDGE_INDEX, 8).sizes == ((8, 8),)
    assert as_graph(torch.tensor([[0, 4], [2, 3]]), [3, 2]).num_examples == 2


def test_edge_index_needs_sizes():
    with pytest.raises(
        ValueError, match=r"does not tell how many nodes.*; give it, or a graph, EdgeListGraph\(edge_index, num_nodes\)"
    ):
        as_graph(EDGE_INDEX)
    with pytest.raises(ValueError, match=r"'num_keys' needs 'num_queries' \(got num_keys=8 alone\)"):
        as_graph(EDGE_INDEX, num_keys=8)


@pytest.mark.parametrize("sort_order", [None, "row", "col"])
def test_edge_index_of_pyg(sort_order):
    edge_index = EdgeIndex(EDGE_INDEX, sparse_size=(8, 6))
    if sort_order is not None:
        edge_index = edge_index.sort_by(sort_order)[0]
    assert_is_asymmetric(as_graph(edge_index))
    assert_is_asymmetric(as_graph(edge_index, 6, 8))
    assert type(as_graph(edge_index).edge_index()) is torch.Tensor
    assert as_graph(EdgeIndex(EDGE_INDEX), 6, 8).sizes == ((6, 8),)
    with pytest.raises(ValueError, match="does not tell"):
        as_graph(EdgeIndex(EDGE_INDEX))


def test_edge_index_of_pyg_is_undirected():
    both_ways = EdgeIndex([[0, 1], [1, 0]], sparse_size=(2, 2), is_undirected=True)
    assert as_graph(both_ways).is_symmetric
    assert not as_graph(EdgeIndex([[0, 1], [1, 0]], sparse_size=(2, 2))).is_symmetric


def test_mask():
    assert_is_asymmetric(as_graph(MASK))
    assert_is_asymmetric(as_graph(MASK.numpy(), 6, 8))
    # Told from an edge_index by its type alone, even with two rows.
    assert as_graph(torch.tensor([[True, False], [True, True]])).mask().tolist() == [[True, False], [True, True]]
    with pytest.raises(ValueError, match=r"\[num_queries, num_keys\] \(got \[1, 6, 8\]\)"):
        as_graph(MASK[None])
    with pytest.raises(ValueError, match="got num_queries=8"):
        as_graph(MASK, 8, 6)


@pytest.mark.filterwarnings("ignore:Sparse CS")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_torch_sparse(layout):
    # Rows are queries, and stored zeros are edges.
    indices = EDGE_INDEX.flip(0)
    values = torch.arange(len(ASYMMETRIC)).float()
    coo = torch.sparse_coo_tensor(indices, values, (6, 8)).coalesce()
    if layout == torch.sparse_coo:
        assert_is_asymmetric(as_graph(torch.sparse_coo_tensor(indices, values, (6, 8))))
        assert_is_asymmetric(as_graph(coo))
        return
    csr = as_graph(MASK).csr()
    if layout == torch.sparse_csr:
        x = torch.sparse_csr_tensor(csr.rowptr, csr.col, values, (6, 8))
    else:
        csc = as_graph(MASK).csr_transposed()
        x = torch.sparse_csc_tensor(csc.rowptr, csc.col, values, (6, 8))
    assert_is_asymmetric(as_graph(x))
    assert_is_asymmetric(as_graph(x, 6, 8))


def test_torch_sparse_of_other_shapes():
    with pytest.raises(ValueError, match=r"got \[2, 6, 8\]"):
        as_graph(torch.ones(2, 6, 8).to_sparse_coo())
    with pytest.raises(TypeError, match="must be COO, CSR or CSC"):
        as_graph(torch.ones(6, 8).to_sparse_bsr((2, 2)))
    assert as_graph(torch.ones(6, 8, 3).to_sparse(2)).num_edges == 48  # features of edges are no edges


@pytest.mark.parametrize("form", ["coo_matrix", "csr_matrix", "csc_array", "coo_array", "lil_matrix"])
def test_scipy(form):
    # Rows are keys.
    key, query = EDGE_INDEX.numpy()
    matrix = scipy.sparse.coo_matrix((np.ones(len(key)), (key, query)), shape=(8, 6)).asformat(form[:3])
    assert_is_asymmetric(as_graph(getattr(scipy.sparse, form)(matrix)))
    assert_is_asymmetric(as_graph(matrix, 6, 8))


def test_scipy_and_back():
    graph = as_graph(EDGE_INDEX, 6, 8)
    assert torch.equal(as_graph(graph.to_scipy()).edge_index(), EDGE_INDEX)


def test_scipy_stored_zeros_are_edges():
    assert as_graph(scipy.sparse.coo_array((np.zeros(2), ([0, 1], [1, 2])), shape=(2, 3))).num_edges == 2


def test_torch_sparse_package(monkeypatch):
    class SparseTensor:  # the three methods that are used of the package, which is not always there
        def coo(self):
            return EDGE_INDEX[1], EDGE_INDEX[0], None

        def size(self, dim):
            return (6, 8)[dim]

    package = types.ModuleType("torch_sparse")
    package.SparseTensor = SparseTensor
    monkeypatch.setitem(sys.modules, "torch_sparse", package)
    assert_is_asymmetric(as_graph(SparseTensor()))


def test_networkx_directed():
    graph = networkx.DiGraph()
    graph.add_nodes_from("edcba")  # nodes in the order of G.nodes, not sorted
    graph.add_edges_from([("edcba"[key], "edcba"[query]) for key, query in SQUARE], weight=-1.0)
    result = as_graph(graph)
    assert sorted(map(tuple, result.edge_index().t().tolist())) == sorted(SQUARE)
    assert not result.is_symmetric
    assert as_graph(graph, 5) is not None
    with pytest.raises(ValueError, match="joins 5 queries"):
        as_graph(graph, 6)


def test_networkx_undirected():
    result = as_graph(networkx.Graph([(0, 1), (1, 2), (2, 2)]))
    assert sorted(map(tuple, result.edge_index().t().tolist())) == [(0, 1), (1, 0), (1, 2), (2, 1), (2, 2)]
    assert result.is_symmetric
    assert as_graph(networkx.empty_graph(3)).sizes == ((3, 3),)
    assert as_graph(networkx.Graph()).num_edges == 0


def test_networkx_multigraph_and_back():
    graph = networkx.MultiDiGraph()
    graph.add_nodes_from(range(5))
    graph.add_edges_from(REPEATED)
    result = as_graph(graph)
    assert sorted(map(tuple, result.edge_index().t().tolist())) == sorted(REPEATED)
    assert sorted(result.to_networkx().edges()) == sorted(REPEATED)
    assert as_graph(networkx.MultiGraph([(0, 1), (0, 1)])).num_edges == 4


def test_data():
    edge_index = torch.tensor([[0, 4, 1], [2, 1, 3]])
    assert as_graph(Data(edge_index=edge_index, num_nodes=6)).sizes == ((6, 6),)
    assert as_graph(Data(x=torch.ones(6, 1), edge_index=edge_index)).edge_index().equal(edge_index)
    assert as_graph(Data(x=torch.ones(6, 1), edge_index=edge_index, graph=causal(6))) == causal(6)
    with pytest.raises(ValueError, match="'graph' or 'edge_index'"):
        as_graph(Data(x=torch.ones(6, 1)))
    with pytest.raises(TypeError, match="no graph can be made of HeteroData"):
        as_graph(HeteroData())


def test_batch_of_data():
    one = Data(x=torch.ones(3, 1), edge_index=torch.tensor([[0], [2]]))
    other = Data(x=torch.ones(2, 1), edge_index=torch.tensor([[1, 0], [0, 0]]))
    graph = as_graph(Batch.from_data_list([one, other]))
    assert graph.sizes == ((3, 3), (2, 2))
    assert graph.edge_index().tolist() == [[0, 4, 3], [2, 3, 3]]
    one.graph, other.graph = causal(3), causal(2)
    assert as_graph(Batch.from_data_list([one, other])) == causal([3, 2])


def test_list_is_a_batch():
    assert as_graph([causal(3), causal(4)]) == causal([3, 4])
    assert as_graph((causal(3), causal(4)), 7) == causal([3, 4])
    assert isinstance(as_graph([causal(3), MASK]), BatchedGraph)
    graph = as_graph([EDGE_INDEX, torch.tensor([[1], [0]])], [6, 1], [8, 2])
    assert graph.sizes == ((6, 8), (1, 2)) and graph.edge_index()[:, -1].tolist() == [9, 6]
    with pytest.raises(ValueError, match="got num_queries=8"):
        as_graph([causal(3), causal(4)], 8)
    with pytest.raises(ValueError, match=r"one size per graph \(got 3 for 2 graphs\)"):
        as_graph([causal(3), causal(4)], [3, 4, 5])
    with pytest.raises(ValueError, match="at least one graph"):
        as_graph([])
    with pytest.raises(TypeError, match="no graph can be made of int"):
        as_graph([(0, 1), (1, 2)])


@pytest.mark.parametrize(
    "x, error, message",
    [
        (torch.ones(6, 8), TypeError, r"got torch.float32\); values are never a bias"),
        (np.ones((6, 8)), TypeError, r"got torch.float64\)"),
        (torch.ones(3, 3, dtype=torch.long), ValueError, "give an adjacency matrix as a bool mask"),
        (torch.ones(2, dtype=torch.long), ValueError, r"got shape \[2\]"),
        (torch.ones(2, 5), TypeError, r"got torch.float32\); write edge_index.long\(\)"),
        (torch.full((6, 8), -torch.inf).triu(1), TypeError, r"0 where a key is seen and -inf elsewhere, `x == 0`"),
        (torch.ones(5, 2, dtype=torch.long), ValueError, r"got shape \[5, 2\]\); write edge_index.t\(\)"),
        (
            torch.zeros(6, dtype=torch.long),
            ValueError,
            r"a batch vector.* is CompleteGraph\(batch.bincount\(\).tolist\(\)\)",
        ),
        ([[0, 1], [1, 2]], TypeError, r"a list is a batch of graphs: of edges make a tensor \[2, num_edges\] first"),
        (CompleteGraph, TypeError, r"made of a class \(got CompleteGraph\); make one, as CompleteGraph\(...\)"),
        ("graph", TypeError, "no graph can be made of str"),
        (None, TypeError, "no graph can be made of NoneType"),
        ({}, TypeError, "no graph can be made of dict"),
    ],
)
def test_no_graph(x, error, message):
    with pytest.raises(error, match=message):
        as_graph(x, 6, 8)


@pytest.mark.parametrize("size", [6.0, float("nan"), True, "6"])
def test_sizes_of_other_kinds(size):
    with pytest.raises(TypeError, match="must be an integer"):
        as_graph(EDGE_INDEX, size, 8)


def test_the_same_tensor_gives_the_same_graph():
    edge_index = EDGE_INDEX.clone()
    graph = as_graph(edge_index, 6, 8)
    assert as_graph(edge_index, 6, 8) is graph
    assert as_graph(edge_index, [6], [8]) is graph
    assert as_graph(edge_index, 8) is not graph
    assert as_graph(edge_index.clone(), 6, 8) is not graph
    edge_index[0, 0] = 7
    changed = as_graph(edge_index, 6, 8)
    assert changed is not graph and changed.mask()[3, 7]
    mask = MASK.clone()
    assert as_graph(mask) is as_graph(mask)


def test_the_same_list_gives_the_same_graph():
    graphs = [as_graph(EDGE_INDEX.clone(), 6, 8) for _ in range(2)]
    assert as_graph(graphs) is as_graph(list(graphs))
    assert as_graph(graphs) is not as_graph(graphs[::-1])


def test_the_cache_dies_with_the_tensor():
    edge_index = EDGE_INDEX.clone()
    alive = weakref.ref(as_graph(edge_index, 6, 8))
    assert alive() is not None
    del edge_index
    gc.collect()
    assert alive() is None


def test_inference_mode():
    with torch.inference_mode():
        assert_is_asymmetric(as_graph(EDGE_INDEX.clone(), 6, 8))
        assert as_graph(CompleteGraph(3)).mask().all()


@pytest.mark.parametrize("layout", ["to_sparse_coo", "to_sparse_csr", "to_sparse_csc"])
def test_a_sparse_matrix_is_sorted_once(layout):
    matrix = getattr(MASK.float(), layout)()
    graph = as_graph(matrix)
    assert as_graph(matrix) is graph and as_graph(matrix, 6, 8) is graph
    assert as_graph(matrix.clone()) is not graph
    alive = weakref.ref(graph)
    del matrix, graph
    gc.collect()
    assert alive() is None


def test_a_sparse_matrix_changed_in_place_is_another_graph():
    matrix = MASK.float().to_sparse_csr()
    before = as_graph(matrix)
    matrix.col_indices()[0] = 7
    assert as_graph(matrix) is not before and as_graph(matrix).edge_index()[0, 0] == 7
    matrix = MASK.float().to_sparse_coo()
    before = as_graph(matrix)
    matrix.add_(torch.eye(6, 8).to_sparse_coo())
    assert as_graph(matrix).num_edges > before.num_edges


CHANGES = {
    "sort": lambda data: data.sort(sort_by_row=False),
    "self loops": AddSelfLoops(),
    "edge_subgraph": lambda data: data.edge_subgraph(torch.tensor([0, 2])),
    "set": lambda data: data.update({"edge_index": data.edge_index.flip(0)}),
}


@pytest.mark.parametrize("batched", [False, True], ids=["one", "batch"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_edge_list_beside_other_edges_is_refused(change, batched):
    edges = torch.tensor([[2, 0, 1], [1, 3, 0]])
    data = Data(x=torch.rand(4, 1), edge_index=edges, graph=EdgeListGraph(edges, 4))
    data = Batch.from_data_list([data, data]) if batched else data
    assert torch.equal(as_graph(data).edge_index(), data.edge_index)
    with pytest.raises(ValueError, match="are not those of 'edge_index'.* delete 'graph'"):
        as_graph(change(data))
    data.graph = [causal(4), causal(4)] if batched else causal(4)  # a formula is another graph on purpose
    assert as_graph(change(data)).num_edges == 10 * (1 + batched)


class Table:
    """What a table of pandas shows of itself."""

    columns = ("source", "target")

    def to_numpy(self): ...


@pytest.mark.parametrize(
    "x, match",
    [
        ("edges.csv", r"of str \(got 'edges.csv'\): files are not read here, but by graphattn.datasets.from_tables"),
        (Path("edges.csv"), r"\(got 'edges.csv'\): files are not read here"),
        (Table(), r"of Table \(got the columns \['source', 'target'\]\): networkx.from_pandas_edgelist"),
        ({"a": ["b"]}, "of dict: networkx.from_dict_of_lists"),
    ],
)
def test_what_is_often_taken_for_a_graph(x, match):
    for read in (as_graph, from_network):
        with pytest.raises(TypeError, match=match):
            read(x)
