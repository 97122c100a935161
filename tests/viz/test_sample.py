import networkx
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph
from graphattn.testing.cases import ASYMMETRIC, REPEATED, edge_list
from graphattn.viz.sample import sample_blocks, sample_nearby, sample_nodes, weights_among


def test_blocks_are_spread_over_all_nodes():
    nodes, length = sample_blocks(1000, 40)
    assert length == 5 and len(nodes) == 40 and nodes[0] == 0 and nodes[-1] == 999
    assert torch.equal(nodes, nodes.unique())
    assert sample_blocks(40, 40)[0].tolist() == list(range(40)) and sample_blocks(40, 40)[1] == 0
    assert len(sample_blocks(1000, 3)[0]) == 3


def test_nearby_nodes_hang_together():
    network = networkx.random_labeled_tree(500, seed=0)
    graph = EdgeListGraph(torch.tensor(list(network.edges)).t(), 500)
    nodes = sample_nearby(graph, 30).tolist()
    assert len(nodes) == 30 and networkx.is_connected(network.subgraph(nodes))
    assert max(dict(network.degree), key=lambda node: network.degree[node]) in nodes


def test_nearby_goes_on_in_the_next_component():
    pairs = [(2 * n, 2 * n + 1) for n in range(50)]
    assert len(sample_nearby(edge_list(pairs, 100), 7)) == 7
    assert len(sample_nearby(edge_list(pairs[:2], 100), 7)) == 4


def test_notes():
    assert sample_nodes(CompleteGraph(10), 10)[2] is None
    assert sample_nodes(CompleteGraph(10**6), 16)[2] == "16 of 1,000,000 nodes, in blocks"
    assert sample_nodes(CompleteGraph(5, 10**6), 16)[2] == "5 of 5 queries and 16 of 1,000,000 keys, in blocks"


def test_weights_among_some_nodes():
    graph = edge_list(ASYMMETRIC, 6, 8)
    weights = torch.arange(1.0, 10.0)
    keys, queries = torch.tensor([0, 3, 5]), torch.tensor([0, 3, 4])
    wanted = torch.full((3, 3), torch.nan)
    for number, (key, query) in enumerate(ASYMMETRIC):
        if key in keys and query in queries:
            wanted[queries.tolist().index(query), keys.tolist().index(key)] = number + 1
    torch.testing.assert_close(weights_among(graph, weights, keys, queries), wanted, equal_nan=True)
    band = BandedGraph(10**6, 1, 0)
    wanted = torch.tensor([[0, torch.nan], [0, 0]])
    torch.testing.assert_close(weights_among(band, None, *[torch.tensor([7, 8])] * 2), wanted, equal_nan=True)


def test_repeated_edges_add_up():
    graph, everything = edge_list(REPEATED, 5), torch.arange(5)
    dense = weights_among(graph, torch.ones(len(REPEATED)), everything, everything)
    assert dense[2, 0] == 3 and dense[0, 1] == 2 and dense[1, 3] == 1
