import pytest
import torch

from graphattn.graphs import BandedGraph, CompleteGraph, EdgeListGraph, batch_graphs, hops
from graphattn.graphs.hops import hop_distances


def loop_distances(graph, along, max_distance):
    """Floyd and Warshall's three loops."""
    n = along.num_keys
    ways = [[0 if i == j else 10**6 for j in range(n)] for i in range(n)]
    for key, query in along.edge_index().t().tolist():
        ways[key][query] = min(ways[key][query], 1)
    for middle in range(n):
        for i in range(n):
            for j in range(n):
                ways[i][j] = min(ways[i][j], ways[i][middle] + ways[middle][j])
    return [min(ways[key][query], max_distance + 1) for key, query in graph.edge_index().t().tolist()]


@pytest.mark.parametrize("max_distance", [0, 1, 3, 20])
@pytest.mark.parametrize("chunk", [2**22, 25])
def test_equals_plain_loops(max_distance, chunk, monkeypatch):
    monkeypatch.setattr(hops, "CHUNK", chunk)
    torch.manual_seed(0)
    along = EdgeListGraph(torch.randint(12, (2, 18)), 12)  # directed, with repeats, loops and nodes apart
    for graph in (
        CompleteGraph(12),
        EdgeListGraph(torch.randint(12, (2, 30)), 12),
        EdgeListGraph(torch.empty(2, 0).long(), 12),
    ):
        assert hop_distances(graph, along, max_distance).tolist() == loop_distances(graph, along, max_distance)


def test_examples_of_a_batch_are_apart():
    along = [BandedGraph(4, 1, 1), EdgeListGraph(torch.tensor([[0, 1], [1, 2]]), 3)]
    graph = CompleteGraph([4, 3])
    parts = [hop_distances(CompleteGraph(n), one, 5) for n, one in zip((4, 3), along)]
    assert torch.equal(hop_distances(graph, batch_graphs(along), 5), torch.cat(parts))


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="over one set of nodes"):
        hop_distances(CompleteGraph(3), CompleteGraph(4), 2)
