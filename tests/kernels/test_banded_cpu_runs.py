import pytest

from graphattn import BandedGraph
from graphattn.kernels.banded_cpu_runs import runs_of
from tests.kernels.test_banded_torch import GRAPHS


def edges_of(runs):
    """(lane, row) as a run says, by plain loops, and the node of every lane."""
    edges, nodes = [], []
    for first_lane, lanes, first_row, num_rows, low in runs.numbers.reshape(-1, 5).tolist():
        for i in range(lanes):
            lane = first_lane + i * runs.step
            nodes.append(lane)
            for row in range(max(0, low + i), min(num_rows, low + i + runs.window + 1)):
                edges.append((lane, first_row + row * runs.step))
    return edges, nodes


@pytest.mark.parametrize("longest", [7, 1000])
@pytest.mark.parametrize("name", GRAPHS)
def test_runs_have_every_node_and_every_edge_once(name, longest):
    graph = GRAPHS[name]
    wanted = sorted((int(query), int(key)) for key, query in graph.edge_index().T)
    edges, nodes = edges_of(runs_of(graph, 1, longest))
    assert sorted(edges) == wanted
    assert sorted(nodes) == list(range(graph.num_queries))
    edges, nodes = edges_of(runs_of(graph, 1, longest, is_by_key=True))
    assert sorted((query, key) for key, query in edges) == wanted
    assert sorted(nodes) == list(range(graph.num_keys))


@pytest.mark.parametrize(("count", "wanted"), [(1, [(0, 30)]), (4, [(0, 7), (7, 15), (15, 22), (22, 30)])])
def test_pieces(count, wanted):
    assert runs_of(BandedGraph(100, 3, 3), heads=3, longest=10).pieces(count) == wanted


def test_pieces_of_little():
    assert runs_of(BandedGraph(5, 1, 1), heads=1, longest=10).pieces(8) == [(0, 1)]
    assert runs_of(BandedGraph(0, 1, 1), heads=2, longest=10).pieces(8) == [(0, 0)]
