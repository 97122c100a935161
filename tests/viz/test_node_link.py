import networkx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GridGraph, as_graph
from graphattn.testing.cases import ASYMMETRIC, SQUARE, edge_list
from graphattn.viz import draw_graph, draw_network
from graphattn.viz.node_link import place_nodes, to_network
from graphattn.viz.sample import sample_nodes, weights_among


def places_of(graph, pos=None):
    keys, queries, _ = sample_nodes(graph, 100)
    names = keys.tolist(), queries.tolist()
    network = to_network(weights_among(graph, None, keys, queries), *names)
    return place_nodes(graph, network, keys, queries, names, pos)


def names_in(ax):
    return sorted(text.get_text() for text in ax.texts)


def test_links_run_from_keys_to_queries():
    graph, weights = edge_list(SQUARE, 5), torch.arange(1.0, 7.0)
    dense = weights_among(graph, weights, *[torch.arange(5)] * 2)
    network = to_network(dense, list(range(5)), list(range(5)))
    wanted = [(key, query, weight) for (key, query), weight in zip(SQUARE, weights.tolist())]
    assert sorted(network.edges(data="weight")) == sorted(wanted)


def test_one_line_for_both_ways_and_arrows_for_one():
    both = draw_graph(as_graph(networkx.cycle_graph(5)))
    assert len(both.collections[-1].get_segments()) == 5 and not both.patches
    one = draw_graph(edge_list(SQUARE, 5))
    assert len(one.patches) == 5  # and a self loop, which is not drawn


def test_the_half_of_a_link_beside_a_node_shows_what_the_node_gives():
    graph, pos = edge_list([(0, 1), (1, 0), (1, 2), (2, 1)], 3), torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 2.0]])
    ax = draw_graph(graph, torch.tensor([[0.8], [0.2], [0.1], [0.4]]), pos=pos)
    (links,) = (drawn for drawn in ax.collections if hasattr(drawn, "get_segments"))
    halves = {
        (tuple(half[0]), tuple(half[1])): width for half, width in zip(links.get_segments(), links.get_linewidths())
    }
    assert halves == {
        ((2.0, 0.0), (1.0, 0.0)): pytest.approx(3.0),  # of node 1 to node 0: 0.8
        ((0.0, 0.0), (1.0, 0.0)): pytest.approx(0.5 + 2.5 / 4),  # of node 0 to node 1: 0.2
        ((4.0, 2.0), (3.0, 1.0)): pytest.approx(0.5 + 2.5 / 8),  # of node 2 to node 1: 0.1
        ((2.0, 0.0), (3.0, 1.0)): pytest.approx(1.75),  # of node 1 to node 2: 0.4
    }
    assert ax.figure.axes[-1].get_ylabel() == "attention weight"


def test_places():
    grid = places_of(GridGraph((2, 3), 1))
    assert grid[4] == (1, -1)
    assert places_of(BandedGraph(3, 1, 1), torch.tensor([[0.0, 1.0], [5.0, 6.0], [2.0, 3.0]]))[1] == (5.0, 6.0)
    circle = places_of(CompleteGraph(6))
    np.testing.assert_allclose([np.hypot(*place) for place in circle.values()], 1, atol=1e-6)
    ring = as_graph(networkx.cycle_graph(6))
    assert all((one == other).all() for one, other in zip(places_of(ring).values(), places_of(ring).values()))


def test_queries_stand_above_keys():
    ax = draw_graph(edge_list(ASYMMETRIC, 6, 8))
    assert names_in(ax) == sorted([*map(str, range(6)), *map(str, range(8)), "queries", "keys"])


def test_large_graphs_are_a_sample():
    ax = draw_graph(CompleteGraph(10**6), title="large")
    assert ax.get_title() == "large\n40 of 1,000,000 nodes, in blocks"
    edges = torch.randint(0, 3000, (2, 9000), generator=torch.Generator().manual_seed(0))
    ax = draw_graph(EdgeListGraph(edges, 3000), max_nodes=20)
    assert ax.get_title() == "20 of 3,000 nodes, around those of most edges" and len(names_in(ax)) == 20


def test_network_takes_classes_from_the_data():
    graph = as_graph(networkx.path_graph(3))
    for network in (Data(x=torch.zeros(3, 1), graph=graph, y=torch.tensor([0, 1, 0])), networkx.path_graph(3), graph):
        ax = draw_network(network, torch.ones(4))
        assert names_in(ax) == ["0", "1", "2"]
        colours = ax.collections[0].get_facecolor()
        assert len(colours) == (3 if isinstance(network, Data) else 1)
    assert draw_network(graph, labels=["a", "b", "c"]).texts[1].get_text() == "b"


def test_bad_input():
    with pytest.raises(ValueError, match="one set of nodes"):
        draw_graph(CompleteGraph(2, 3), labels=["a", "b"])
    with pytest.raises(ValueError, match=r"'pos' .* 3 nodes \(got 2\)"):
        draw_graph(CompleteGraph(3), pos=torch.zeros(2, 2))
