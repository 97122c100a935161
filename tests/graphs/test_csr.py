import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphattn.graphs.csr import CSR, compress, compress_edges, index_dtype, is_sorted, rows_of, transpose
from graphattn.graphs.sorting import loops_for

edges = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=20)


@pytest.fixture(autouse=True, params=["loops", "torch"])
def way(request):
    """By the loops, however few edges there are, and by torch's operations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphattn.graphs.sorting.FEWEST", 0)
        if request.param == "torch":
            patch.setattr("graphattn.graphs.csr.loops_for", lambda *_: None)
        else:
            assert loops_for(torch.zeros(1, dtype=torch.int64)) is not None
        yield


def columns(pairs):
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)


@given(edges, st.sampled_from([torch.int64, torch.int32]))
def test_compress_edges(pairs, dtype):
    row, col = (index.to(dtype) for index in columns(pairs))
    csr = compress_edges(row, col, 6, 4)
    order = sorted(range(len(pairs)), key=lambda number: pairs[number])
    assert list(zip(rows_of(csr.rowptr).tolist(), csr.col.tolist())) == [pairs[number] for number in order]
    assert (list(range(len(pairs))) if csr.edge_id is None else csr.edge_id.tolist()) == order
    assert is_sorted(row, col) == (pairs == sorted(pairs))


@given(edges)
def test_transpose(pairs):
    csr = compress_edges(*columns(pairs), 6, 4)
    flipped = transpose(csr, 4)
    direct = compress_edges(*reversed(columns(pairs)), 4, 6)
    assert flipped.rowptr.tolist() == direct.rowptr.tolist() and flipped.col.tolist() == direct.col.tolist()
    ids = [list(range(len(pairs))) if one.edge_id is None else one.edge_id.tolist() for one in (flipped, direct)]
    assert ids[0] == ids[1]


def test_transpose_of_entries_that_stay():
    flipped = transpose(CSR(torch.tensor([0, 1, 2, 2]).int(), torch.tensor([0, 1]).int(), None), 2)
    assert flipped.rowptr.tolist() == [0, 1, 2] and flipped.col.tolist() == [0, 1] and flipped.edge_id is None


def test_many_more_columns_than_edges():
    row, col = torch.tensor([[1, 0, 1] * 30, [2**30, 7, 5] * 30])
    csr = compress_edges(row, col, 2, 2**30 + 1)  # counting them would take 4 GB
    assert csr.col.tolist() == [7] * 30 + [5] * 30 + [2**30] * 30 and csr.col.dtype == torch.int32
    assert csr.edge_id.tolist() == [*range(1, 90, 3), *range(2, 90, 3), *range(0, 90, 3)]


def test_compress():
    csr = compress(torch.tensor([2, 0, 1]), torch.tensor([1, 3, 0]), 4)
    assert csr.rowptr.tolist() == [0, 2, 2, 3]
    assert csr.col.dtype == torch.int32 and csr.edge_id is None


def test_index_dtype():
    assert index_dtype(5, 2**31 - 1) == torch.int32
    assert index_dtype(5, 2**31) == torch.int64


def test_to():
    csr = compress(torch.tensor([2, 0, 1]), torch.tensor([1, 3, 0]), 4)
    assert csr.to("meta").rowptr.device.type == "meta" and csr.to("meta").edge_id is None
