"""Networks in every form give the same edges, asymmetric ones in the right direction."""

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.loader import DataLoader

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
    'network, num_nodes',
    [
        (directed(), None),
        (matrix(), None),
        (PAIRS, 5),
        ([list(pair) for pair in PAIRS], 5),
        (torch.tensor(PAIRS).T, 5),
    ],
    ids=['networkx', 'scipy', 'pairs', 'lists', 'edge_index'],
)
def test_every_form_gives_the_same_edges(network, num_nodes):
    data = from_network(network, num_nodes=num_nodes)
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
    network = networkx.DiGraph([('c', 'a'), ('a', 'b')])  # c, a, b
    assert from_network(network).edge_index.tolist() == [[0, 1], [1, 2]]


def test_made_features():
    assert from_network(PAIRS, features='constant', num_nodes=5).x.tolist() == [[1.0]] * 5
    assert torch.equal(from_network(PAIRS, features='identity', num_nodes=5).x, torch.eye(5))
    x = torch.rand(5, 3)
    assert from_network(PAIRS, x=x, num_nodes=5).x is x


def test_node_attributes():
    network = directed()
    for node in network:
        network.nodes[node].update(age=10 * node, place=(node, -node), name=f'node {node}')
    assert from_network(network, features=['place', 'age']).x.tolist() == [
        [n, -n, 10 * n] for n in map(float, range(5))
    ]
    with pytest.raises(ValueError, match=r"node 0 has no attribute \['height'\] \(it has \['age', 'place', 'name'\]\)"):
        from_network(network, features=['age', 'height'])
    with pytest.raises(ValueError, match=r"the attributes \['name'\] of node 0 need to be numbers"):
        from_network(network, features=['name'])
    network.nodes[4]['place'] = 4
    with pytest.raises(ValueError, match=r'need one length on all nodes \(got lengths \[1, 2\]\)'):
        from_network(network, features=['place'])


def test_edge_index_can_stay_away():
    assert 'edge_index' not in from_network(PAIRS, num_nodes=5, edge_index=False)


def test_no_edges():
    data = from_network([], num_nodes=3)
    assert data.edge_index.shape == (2, 0) and data.x.tolist() == [[0.0]] * 3


@pytest.mark.parametrize(
    'network, options, message',
    [
        (PAIRS, {}, r"'num_nodes' is needed with a list of edges"),
        (PAIRS, dict(num_nodes=3), r'3'),
        ([(0, -1)], dict(num_nodes=3), r'-1'),
        ([(0, 1, 2)], dict(num_nodes=3), r'pairs of ints \(got \(0, 1, 2\)\)'),
        ([('a', 'b')], dict(num_nodes=3), r"pairs of ints \(got \('a', 'b'\)\); number the nodes first"),
        (
            scipy.sparse.csr_matrix(np.ones((2, 3))),
            {},
            r"'network' joins 3 targets to 2 sources; a network needs one set of nodes",
        ),
        (PAIRS, dict(num_nodes=5, x=torch.rand(4, 1)), r"'x' has 4 rows, the network has 5 nodes"),
        (
            PAIRS,
            dict(num_nodes=5, features='colour'),
            r"'features' needs to be one of \['degree', 'constant', 'identity'\]",
        ),
        (PAIRS, dict(num_nodes=5, features=['age']), r"got \['age'\] with a list"),
    ],
)
def test_bad_networks(network, options, message):
    with pytest.raises(ValueError, match=message):
        data = from_network(network, **options)
        data.graph.csr()  # index ranges are checked when the edges are first sorted


def test_a_batch():
    batch = next(
        iter(DataLoader([from_network(PAIRS, num_nodes=5), from_network([(1, 0)], num_nodes=2)], batch_size=2))
    )
    assert batch.edge_index.T.tolist() == [[0, 1], [2, 1], [1, 3], [3, 0], [6, 5]]
    assert [graph.num_queries for graph in batch.graph] == [5, 2]
