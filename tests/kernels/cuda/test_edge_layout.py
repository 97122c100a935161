import pytest
import torch

from graphattn.graphs import EdgeListGraph
from graphattn.kernels.cuda import edge_layout as edges_cuda_layout
from graphattn.kernels.cuda.edge_layout import arrangement, cut, transposition


@pytest.fixture
def degrees():
    generator = torch.Generator().manual_seed(0)
    return [0, 7, 4000, 1, 0, 2048, 2049, 5, *torch.randint(0, 30, (40,), generator=generator).tolist(), 0]


def test_pieces_cover_every_entry_once_and_every_row(degrees):
    rowptr = torch.tensor([0, *degrees]).cumsum(0)
    pieces = cut(rowptr)
    seen = []
    for start, end, row, slot in pieces.table.tolist():
        assert rowptr[row] <= start <= end <= rowptr[row + 1] and end - start <= edges_cuda_layout.HEAVY
        assert slot == row if degrees[row] <= edges_cuda_layout.HEAVY else slot >= len(degrees)
        seen += range(start, end)
    assert sorted(seen) == list(range(rowptr[-1]))
    assert set(pieces.table[:, 2].tolist()) == set(range(len(degrees)))
    slots = pieces.table[:, 3].tolist()
    assert len(set(slots)) == len(slots)


def test_cut_rows_name_the_slots_of_their_pieces(degrees):
    pieces = cut(torch.tensor([0, *degrees]).cumsum(0))
    assert pieces.cut_rows[:, 0].tolist() == [2, 6]
    for row, first, last in pieces.cut_rows.tolist():
        mine = pieces.table[pieces.table[:, 2] == row]
        assert sorted(mine[:, 3].tolist()) == list(range(first, last))
    assert pieces.num_slots == len(degrees) + 4


def test_long_pieces_come_first(degrees):
    table = cut(torch.tensor([0, *degrees]).cumsum(0)).table
    bucket = torch.bucketize(table[:, 1] - table[:, 0], torch.tensor(edges_cuda_layout.BUCKETS))
    assert torch.equal(bucket, bucket.sort(descending=True).values)
    assert bucket[0] == len(edges_cuda_layout.BUCKETS)


@pytest.mark.parametrize("is_sorted", [True, False])
def test_transposition_names_places_by_query(is_sorted):
    generator = torch.Generator().manual_seed(1)
    edge_index = torch.randint(0, 9, (2, 60), generator=generator)
    if is_sorted:
        edge_index = edge_index[:, (edge_index[1] * 9 + edge_index[0]).argsort(stable=True)]
    graph = EdgeListGraph(edge_index, 9, 9)
    device = torch.device("cpu")
    by_query, by_key = arrangement(graph, device), transposition(graph, device)
    row = graph.csr().rowptr.long()
    query_of_place = torch.repeat_interleave(torch.arange(9), row.diff())
    assert torch.equal(query_of_place[by_key.place_of.long()], by_key.col.long())
    key_of_entry = torch.repeat_interleave(torch.arange(9), graph.csr_transposed().rowptr.long().diff())
    assert torch.equal(by_query.col[by_key.place_of.long()].long(), key_of_entry)
    assert sorted(by_key.place_of.tolist()) == list(range(60))
