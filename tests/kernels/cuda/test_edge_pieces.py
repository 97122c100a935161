"""The smallest jit functions in programs of their own, interpreted or on a GPU."""

import pytest
import torch

from graphattn.kernels.cuda.edges_cuda import why_not_triton

pytestmark = pytest.mark.skipif(why_not_triton() is not None, reason=str(why_not_triton()))
triton = pytest.importorskip("triton", reason="Triton is not installed")
tl = pytest.importorskip("triton.language")

from graphattn.kernels.cuda.edge_pieces import load_edges, load_piece, load_row, load_rows, store_row  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@triton.jit
def edges_of_pieces(pieces, col, edge_id, found, BLOCK_E: tl.constexpr):
    start, end, row, slot = load_piece(pieces)
    for first in range(start, end, BLOCK_E):
        places, is_edge, keys, edges = load_edges(col, edge_id, first, end, BLOCK_E)
        tl.store(found + places * 4, row + tl.zeros([BLOCK_E], tl.int64), mask=is_edge)
        tl.store(found + places * 4 + 1, slot + tl.zeros([BLOCK_E], tl.int64), mask=is_edge)
        tl.store(found + places * 4 + 2, keys, mask=is_edge)
        tl.store(found + places * 4 + 3, edges, mask=is_edge)


@pytest.mark.parametrize("has_numbers", [True, False])
def test_each_edge_is_met_once_with_its_row_key_and_number(has_numbers):
    pieces = torch.tensor([[0, 5, 7, 1], [5, 7, 2, 0], [7, 7, 3, 2]], device=DEVICE)  # start, end, row, slot
    col = torch.tensor([4, 0, 3, 1, 2, 9, 8, 77], dtype=torch.int32, device=DEVICE)  # the last is of no piece
    edge_id = torch.tensor([6, 5, 4, 3, 2, 1, 0, 77], dtype=torch.int32, device=DEVICE) if has_numbers else None
    found = torch.full((8, 4), -1, device=DEVICE)
    edges_of_pieces[(3,)](pieces, col, edge_id, found, BLOCK_E=4)
    numbers = [6, 5, 4, 3, 2, 1, 0] if has_numbers else list(range(7))
    expected = [[7, 1, key, number] for key, number in zip([4, 0, 3, 1, 2], numbers)]
    expected += [[2, 0, key, number] for key, number in zip([9, 8], numbers[5:])]
    assert found.tolist() == [*expected, [-1] * 4]


@triton.jit
def copy_rows(x, nodes, one, many, HEADS: tl.constexpr, DIM: tl.constexpr, ACC: tl.constexpr, EDGES: tl.constexpr):
    head, channel, edge = tl.arange(0, 4), tl.arange(0, 8), tl.arange(0, 4)
    store_row(one, 0, head, channel, HEADS, DIM, load_row(x, 2, head, channel, HEADS, DIM, ACC))
    rows = load_rows(x, tl.load(nodes + edge, mask=edge < EDGES, other=0), edge < EDGES, HEADS, 1, DIM, 4, 8, ACC)
    at = edge[:, None, None] * 32 + head[None, :, None] * 8 + channel[None, None, :]
    tl.store(many + at, rows)


def test_rows_are_padded_with_zeros():
    x = torch.arange(3.0 * 3 * 5, device=DEVICE).view(3, 3, 5) + 1
    nodes = torch.tensor([1, 0, 2], device=DEVICE)
    one, many = torch.zeros(1, 3, 5, device=DEVICE), torch.full((4, 4, 8), -1.0, device=DEVICE)
    copy_rows[(1,)](x, nodes, one, many, HEADS=3, DIM=5, ACC=tl.float32, EDGES=3)
    assert torch.equal(one[0], x[2])
    expected = torch.zeros(4, 4, 8, device=DEVICE)
    expected[:3, :3, :5] = x[nodes]
    assert torch.equal(many, expected)
