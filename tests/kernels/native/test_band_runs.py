import pytest

from graphattn import BandedGraph
from graphattn.kernels.native.band_runs import bounds_of, runs_of
from tests.kernels.fused.test_banded_torch import GRAPHS


def edges_of(runs):
    """(lane, row) as a run says, by plain loops, and the node of every lane."""
    edges, nodes = [], []
    for first_lane, lanes, first_row, num_rows, low in runs.numbers.tolist():
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
    edges, nodes = edges_of(runs_of(graph, longest))
    assert sorted(edges) == wanted
    assert sorted(nodes) == list(range(graph.num_queries))
    edges, nodes = edges_of(runs_of(graph, longest, is_by_key=True))
    assert sorted((query, key) for key, query in edges) == wanted
    assert sorted(nodes) == list(range(graph.num_keys))


@pytest.mark.parametrize("longest", [1, 7, 50, 1000])
@pytest.mark.parametrize("name", GRAPHS)
def test_runs_of_one_turn_see_no_row_twice(name, longest):
    for is_by_key in (False, True):
        runs = runs_of(GRAPHS[name], longest, is_by_key)
        assert [first for first, _ in runs.turns] == [0, *(last for _, last in runs.turns)][:-1]
        assert runs.turns[-1][1] == len(runs.numbers)
        for first, last in runs.turns:
            seen = [
                first_row + row * runs.step
                for _, lanes, first_row, num_rows, low in runs.numbers[first:last].tolist()
                for row in range(max(0, low), min(num_rows, low + lanes + runs.window))
            ]
            assert len(seen) == len(set(seen))


def test_few_turns():
    assert len(runs_of(BandedGraph(1000, 3, 3), 10).turns) == 2
    assert len(runs_of(BandedGraph(1000, 10, 0), 10).turns) == 2
    assert len(runs_of(BandedGraph(1000, 10, 1), 10).turns) == 3
    assert len(runs_of(BandedGraph([9, 3, 10], 3, 3), 10).turns) == 1
    assert runs_of(BandedGraph(0, 3, 3), 10).turns == ()


@pytest.mark.parametrize(("count", "wanted"), [(1, [0, 30]), (4, [0, 7, 15, 22, 30]), (100, [*range(31)])])
def test_bounds(count, wanted):
    assert bounds_of(0, 30, count).tolist() == wanted
    assert bounds_of(5, 35, count).tolist() == [5 + x for x in wanted]


def test_bounds_of_little():
    assert bounds_of(0, 1, 8).tolist() == [0, 1] and bounds_of(0, 0, 8).tolist() == [0, 0]
    assert [x.tolist() for x in runs_of(BandedGraph(25, 1, 1), 10).bounds(heads=2, pieces=3)] == [
        [0, 1, 2, 4],
        [4, 5, 6],
    ]
