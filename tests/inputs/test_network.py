"""Networks in every form give the same edges, asymmetric ones in the right direction."""

import warnings

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import AddSelfLoops

from graphattn import as_graph
from graphattn.inputs import from_network

PAIRS = [(0, 1), (2, 1), (1, 3), (3, 0)]  # source, target; node 4 has no edges


def directed():
    network = networkx.DiGraph()
    network.add_nodes_from(range(5))
    network.add_edges_from(PAIRS)
    return network


def matrix():
    dense = np.zeros((5, 5))
    for source, target in PAIRS:
        dense[source, target] = 0.5  # stored values are no bias
    return scipy.sparse.csr_matrix(dense)


@pytest.mark.parametrize(
    "network, num_nodes",
    [
        (directed(), None),
        (matrix(), None),
        (PAIRS, 5),
        ([list(pair) for pair in PAIRS], 5),
        (torch.tensor(PAIRS).T, 5),
    ],
    ids=["networkx", "scipy", "pairs", "lists", "edge_index"],
)
def test_every_form_gives_the_same_edges(network, num_nodes):
    data = from_network(network, num_nodes=num_nodes, edge_features=())
    assert sorted(map(tuple, data.edge_index.T.tolist())) == sorted(PAIRS)
    assert torch.equal(data.edge_index, data.graph.edge_index())
    incoming = [sum(target == node for _, target in PAIRS) for node in range(5)]
    assert data.x.tolist() == [[float(count)] for count in incoming]  # [1, 2, 0, 1, 0]
    for query in range(5):
        assert data.graph.mask()[query].tolist() == [(key, query) in PAIRS for key in range(5)]


def test_undirected_networkx_has_both_directions():
    network = networkx.path_graph(4)
    assert sorted(map(tuple, from_network(network).edge_index.T.tolist())) == [
        (0, 1),
        (1, 0),
        (1, 2),
        (2, 1),
        (2, 3),
        (3, 2),
    ]


def test_nodes_are_in_the_order_of_networkx():
    network = networkx.DiGraph([("c", "a"), ("a", "b")])  # c, a, b
    assert from_network(network).edge_index.tolist() == [[0, 1], [1, 2]]


def test_made_features():
    assert from_network(PAIRS, features="constant", num_nodes=5).x.tolist() == [[1.0]] * 5
    assert torch.equal(from_network(PAIRS, features="identity", num_nodes=5).x, torch.eye(5))
    x = torch.rand(5, 3)
    assert from_network(PAIRS, x=x, num_nodes=5).x is x


def test_node_attributes():
    network = directed()
    for node in network:
        network.nodes[node].update(age=10 * node, place=(node, -node), name=f"node {node}")
    for names in (dict(features=["place", "age"]), dict(node_features=("place", "age"))):
        assert from_network(network, **names).x.tolist() == [[n, -n, 10 * n] for n in map(float, range(5))]
    with pytest.raises(ValueError, match=r"node 0 has no attribute \['height'\] \(it has \['age', 'place', 'name'\]\)"):
        from_network(network, features=["age", "height"])
    with pytest.raises(ValueError, match=r"the attributes \['name'\] of node 0 need to be numbers"):
        from_network(network, features=["name"])
    network.nodes[4]["place"] = 4
    with pytest.raises(ValueError, match=r"need one length on all nodes \(got lengths \[1, 2\]\)"):
        from_network(network, features=["place"])


def described():
    """Undirected, with nodes and edges that say something; nodes 2, 0, 1 in this order."""
    network = networkx.Graph()
    for node in (2, 0, 1):
        network.add_node(node, age=10.0 * node, place=np.array([node, -node], dtype=">i2")[::-1], name=f"node {node}")
    network.add_edge(2, 0, weight=5, kind=[1, 0])
    network.add_edge(0, 1, weight=7, kind=[0, 1])
    network.add_edge(1, 1, weight=9, kind=[1, 1])
    return network


def test_node_and_edge_features():
    data = from_network(described(), node_features=["place", "age"], edge_features=("kind", "weight"))
    assert data.x.tolist() == [[-2, 2, 20], [0, 0, 0], [-1, 1, 10]] and data.x.dtype == torch.float
    found = {tuple(pair): row for pair, row in zip(data.edge_index.T.tolist(), data.edge_attr.tolist())}
    assert found == {(0, 1): [1, 0, 5], (1, 0): [1, 0, 5], (1, 2): [0, 1, 7], (2, 1): [0, 1, 7], (2, 2): [1, 1, 9]}
    one = from_network(described(), node_features="age", edge_features="weight")
    assert one.x.tolist() == [[20], [0], [10]] and one.edge_attr.shape == (5, 1)


def test_edges_of_a_directed_multigraph_keep_their_own():
    network = networkx.MultiDiGraph()
    network.add_weighted_edges_from([(0, 1, 3.0), (0, 1, 4.0), (1, 0, 5.0)])
    data = from_network(network, edge_features=["weight"])
    assert sorted(zip(*data.edge_index.tolist(), data.edge_attr.flatten().tolist())) == [
        (0, 1, 3),
        (0, 1, 4),
        (1, 0, 5),
    ]
    assert data.graph.num_edges == 3 and data.graph.has_repeats
    undirected = networkx.MultiGraph()
    undirected.add_weighted_edges_from([(0, 1, 3.0), (0, 1, 4.0), (1, 0, 5.0)])
    undirected = from_network(undirected, edge_features="weight")
    assert sorted(undirected.edge_attr.flatten().tolist()) == [3, 3, 4, 4, 5, 5]


def sparse_forms():
    dense = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [5.0, 0.0, 0.0]])  # scipy: rows are sources
    yield scipy.sparse.csr_matrix(dense.numpy())
    yield scipy.sparse.coo_array(dense.numpy().astype("i4"))
    yield scipy.sparse.csc_matrix(dense.numpy())
    for layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc):  # torch: rows are targets
        yield dense.T.contiguous().to_sparse(layout=layout)


@pytest.mark.parametrize(
    "matrix", list(sparse_forms()), ids=lambda matrix: str(getattr(matrix, "layout", type(matrix).__name__))
)
def test_values_of_a_sparse_matrix_are_weights(matrix):
    data = from_network(matrix, edge_features="weight")
    found = sorted(zip(*data.edge_index.tolist(), data.edge_attr.flatten().tolist()))
    assert found == [(0, 1, 2), (1, 2, 3), (2, 0, 5)]
    with pytest.warns(UserWarning, match=r"leaves out the edge attributes \['weight'\]; pass edge_features="):
        from_network(matrix)


def test_attributes_of_a_data():
    given = Data(
        x=torch.rand(3, 2), age=torch.arange(3), edge_index=torch.tensor([[0, 1], [1, 2]]), edge_attr=torch.rand(2, 4)
    )
    data = from_network(given, node_features=["x", "age"], edge_features="edge_attr")
    assert torch.equal(data.x, torch.cat([given.x, torch.arange(3.0)[:, None]], 1))
    assert torch.equal(data.edge_attr, given.edge_attr)
    with pytest.warns(UserWarning, match=r"node attributes \['x', 'age'\] and the edge attributes \['edge_attr'\]"):
        from_network(given)


@pytest.mark.parametrize(
    "options, lost",
    [
        (
            {},
            r"the node attributes \['age', 'place', 'name'\] and the edge attributes \['weight', 'kind'\]; pass node_features=",
        ),
        (dict(features="identity"), "the node attributes .* and the edge attributes"),
        (dict(node_features=()), r"out the edge attributes \['weight', 'kind'\]; pass edge_features="),
        (dict(features=["age"]), "out the edge attributes"),
        (dict(x=torch.rand(3, 1)), "out the edge attributes"),
        (dict(edge_features="weight"), "out the node attributes"),
    ],
)
def test_attributes_that_are_lost_are_said_once(options, lost):
    with pytest.warns(UserWarning, match=lost) as said:
        from_network(described(), **options)
    assert len(said) == 1 and said[0].filename == __file__


def test_keys_of_a_multigraph_are_said():
    network = networkx.MultiDiGraph()
    network.add_edge(0, 1, key="likes")
    with pytest.warns(UserWarning, match=r"edge attributes \['key'\]"):
        from_network(network)


@pytest.mark.parametrize(
    "network, options",
    [
        (described(), dict(node_features=(), edge_features=())),
        (described(), dict(node_features="age", edge_features="weight")),
        (networkx.path_graph(3), {}),
        (networkx.MultiGraph([(0, 1), (0, 1)]), {}),
        (scipy.sparse.csr_matrix(np.eye(3)), {}),
        (scipy.sparse.csr_matrix(np.eye(3)), dict(edge_features="weight")),
        (torch.eye(3).to_sparse(), {}),
        (networkx.DiGraph(), {}),
    ],
)
def test_where_nothing_is_lost_nothing_is_said(network, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        from_network(network, **options)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(edge_features=["weight", "length"]), r"edge \(0, 1\) has no attribute \['length'\]"),
        (dict(edge_features="name"), r"edge .* need to be numbers .*'name': 'a'"),
        (dict(edge_features="weight"), r"edge \(1, 2\) need to be finite \(got {'weight': nan"),
        (dict(edge_features="size"), r"need one length on all edges \(got lengths \[1, 2\]\)"),
        (dict(x=torch.rand(3, 1), node_features="age"), "'x' and attributes of nodes cannot both be the features"),
    ],
)
def test_bad_attributes(options, message):
    network = networkx.DiGraph()
    network.add_edge(0, 1, weight=1.0, name="a", size=[1, 2])
    network.add_edge(1, 2, weight=float("nan"), name="b", size=3)
    with pytest.raises(ValueError, match=message):
        from_network(network, **options)


def test_features_that_a_list_cannot_have():
    with pytest.raises(
        ValueError, match=r"'edge_features' needs a network whose edges have attributes.*\['weight'\] with a list"
    ):
        from_network(PAIRS, num_nodes=5, edge_features="weight")
    with pytest.raises(ValueError, match=r"the edges have no attribute \['length'\] \(they have \['weight'\]\)"):
        from_network(matrix(), edge_features="length")
    with pytest.raises(TypeError, match=r"'node_features' needs to be names of attributes \(got \(3,\)\)"):
        from_network(networkx.path_graph(2), node_features=[3])


@pytest.mark.parametrize("integer", [np.int64, np.uint8, torch.tensor])
def test_pairs_of_other_integers(integer):
    pairs = [(integer(source), integer(target)) for source, target in PAIRS]
    assert from_network(pairs, num_nodes=integer(5)).edge_index.T.tolist() == [list(pair) for pair in PAIRS]
    assert from_network(list(np.array(PAIRS)), num_nodes=5).edge_index.T.tolist() == [list(pair) for pair in PAIRS]


def test_edges_of_any_memory():
    edges = np.array(PAIRS, dtype=">i4").T
    for given in (edges, edges[:, ::-1], np.asfortranarray(edges.astype(np.int64))):
        assert from_network(given, num_nodes=5).edge_index.tolist() == given.tolist()


def test_features_of_any_memory():
    x = np.arange(10, dtype=">f4").reshape(5, 2)[::-1]
    assert from_network(PAIRS, x=x, num_nodes=5).x.tolist() == x.tolist()
    with pytest.raises(ValueError, match="'x' has no rows, the network has 5 nodes"):
        from_network(PAIRS, x=torch.tensor(3.0), num_nodes=5)


def test_the_graph_follows_transforms_of_pyg():
    """Whatever PyG does to edge_index, `graph` is that of the edges."""
    data = AddSelfLoops()(from_network(networkx.path_graph(6)))
    assert torch.equal(data.graph.edge_index(), data.edge_index) and data.graph.num_edges == 16
    batch = AddSelfLoops()(Batch.from_data_list([from_network(networkx.path_graph(3))] * 2))
    assert torch.equal(as_graph(batch).edge_index(), batch.edge_index) and as_graph(batch).num_edges == 14


def test_edge_index_can_stay_away():
    assert "edge_index" not in from_network(PAIRS, num_nodes=5, edge_index=False)


def test_no_edges():
    data = from_network([], num_nodes=3)
    assert data.edge_index.shape == (2, 0) and data.x.tolist() == [[0.0]] * 3


@pytest.mark.parametrize(
    "network, options, message",
    [
        (PAIRS, {}, r"'num_nodes' is needed with a list of edges"),
        (PAIRS, dict(num_nodes=3), r"3"),
        ([(0, -1)], dict(num_nodes=3), r"-1"),
        ([(0, 1, 2)], dict(num_nodes=3), r"pairs of ints \(got \(0, 1, 2\)\)"),
        ([("a", "b")], dict(num_nodes=3), r"pairs of ints \(got \('a', 'b'\)\); number the nodes first"),
        (
            scipy.sparse.csr_matrix(np.ones((2, 3))),
            {},
            r"'network' joins 3 targets to 2 sources; a network needs one set of nodes",
        ),
        (PAIRS, dict(num_nodes=5, x=torch.rand(4, 1)), r"'x' has 4 rows, the network has 5 nodes"),
        (
            PAIRS,
            dict(num_nodes=5, features="colour"),
            r"'features' needs to be one of \['degree', 'constant', 'identity'\]",
        ),
        (PAIRS, dict(num_nodes=5, features=None), r"'features' needs to be one of .*got None"),
        (PAIRS, dict(num_nodes=5, features=["age"]), r"got \['age'\] with a list"),
    ],
)
def test_bad_networks(network, options, message):
    with pytest.raises(ValueError, match=message):
        data = from_network(network, **options)
        data.graph.csr()  # index ranges are checked when the edges are first sorted


@pytest.mark.parametrize("matrix", [np.array([[0, 1.0], [1, 0]]), torch.eye(3), np.eye(2) + 0j])
def test_a_matrix_of_weights_is_no_list_of_edges(matrix):
    with pytest.raises(TypeError, match=r"integers \(edge_index\) or bools \(a mask\) \(got torch\."):
        from_network(matrix)
    with pytest.raises(ValueError, match=r"an edge_index \[2, num_edges\] \(got shape \[3, 3\]\)"):
        from_network(np.eye(3, dtype=int))


def test_a_batch():
    batch = next(
        iter(DataLoader([from_network(PAIRS, num_nodes=5), from_network([(1, 0)], num_nodes=2)], batch_size=2))
    )
    assert batch.edge_index.T.tolist() == [[0, 1], [2, 1], [1, 3], [3, 0], [6, 5]]
    assert [graph.num_queries for graph in batch.graph] == [5, 2]
