import torch
from hypothesis import given
from hypothesis import strategies as st

from graphattn.graphs.csr import compress, compress_edges, index_dtype, is_sorted, rows_of, transpose

edges = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=20)


def columns(pairs):
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)


@given(edges)
def test_compress_edges(pairs):
    row, col = columns(pairs)
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
