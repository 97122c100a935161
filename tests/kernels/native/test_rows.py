import pytest
import torch

from graphattn import EdgeListGraph
from graphattn.kernels.native import rows


def graph_of(degrees):
    query = torch.repeat_interleave(torch.tensor(degrees))
    return EdgeListGraph(torch.stack([torch.arange(query.numel()) % 50, query]), len(degrees), 50)


@pytest.mark.parametrize("degrees", [[0], [5], [0, 0, 70, 0], [3, 1, 4, 1, 5, 9, 2, 6], [0, 1000, 1, 1]])
@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_pieces_cover_all_rows_in_order(degrees, count):
    found = rows.arrangement(graph_of(degrees)).by_query
    bounds = found.bounds(count)
    assert bounds[0] == 0 and bounds[-1] == len(degrees) and bounds.numel() - 1 <= count
    assert bool((bounds.diff() > 0).all()) and bounds.dtype == torch.int64
    assert found.bounds(count) is bounds


def test_pieces_have_about_equally_many_edges():
    found = rows.arrangement(graph_of([3] * 1000)).by_query
    edges = found.rowptr[found.bounds(10)].diff()
    assert edges.numel() == 10 and int(edges.max() - edges.min()) <= 3


def test_heavy_rows_are_cut(monkeypatch):
    monkeypatch.setattr(rows, "HEAVY", 4)
    found = rows.arrangement(graph_of([9, 0, 4, 1])).by_query
    assert found.row_of.tolist() == [0, 0, 0, 1, 2, 3]
    assert found.rowptr.tolist() == [0, 4, 8, 9, 9, 13, 14]
    assert found.add_up(torch.ones(6, 2), 4).tolist() == [[3, 3], [1, 1], [1, 1], [1, 1]]


def test_places_in_the_graph_are_not_copied():
    torch.manual_seed(0)
    graph = EdgeListGraph(torch.randint(0, 30, (2, 200)), 30)
    assert rows.arrangement(graph).edge_id is graph.by_query().edge_id


def test_places_lead_back_to_the_entries_by_query():
    torch.manual_seed(0)
    graph = EdgeListGraph(torch.randint(0, 30, (2, 200)), 30)
    arranged, transposed = rows.arrangement(graph), rows.transposition(graph)
    query = torch.repeat_interleave(arranged.by_query.rowptr.diff())
    key = torch.repeat_interleave(transposed.by_key.rowptr.diff())
    place = transposed.place.long()
    assert torch.equal(arranged.by_query.col[place], key) and torch.equal(transposed.by_key.col.long(), query[place])
