"""Sums of GINE's messages and their gradients, by the loops of gine.c; float32 on the CPU."""

import ctypes

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.kernels.native.arrays import empty
from graphattn.kernels.native.border import Struct, hand_over, let_read
from graphattn.kernels.native.library import bytes_of_signs
from graphattn.kernels.native.rows import arrangement, transposition
from graphattn.kernels.native.threads import count_pieces, run

REAL = torch.float32


class Gine(Struct):
    """Gine of gine.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("nodes", "edges", "channels", "edge_dim", "pieces", "index_is_64")),
        *((name, ctypes.c_void_p) for name in ("rowptr", "col", "edge_id", "place", "x", "edge_features")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "eps", "out", "signs", "grad_out")),
        *((name, ctypes.c_void_p) for name in ("grad_x", "grad_messages", "grad_eps")),
    )

    def arrays(self, real):
        index = torch.int64 if self.index_is_64 else torch.int32
        nodes, messages = self.nodes * self.channels, self.edges * self.channels
        return {
            "rowptr": (torch.int64, self.nodes + 1),
            **dict.fromkeys(("col", "edge_id", "place"), (index, self.edges)),
            **dict.fromkeys(("x", "out", "grad_out", "grad_x"), (real, nodes)),
            "edge_features": (real, self.edges * self.edge_dim),
            "weight": (real, self.edge_dim * self.channels),
            "bias": (real, self.channels),
            "eps": (real, 1),
            "signs": (torch.uint8, self.edges * bytes_of_signs(self.channels, "_f32")),
            "grad_messages": (real, messages),
            "grad_eps": (real, self.pieces),
        }


def has_whole_rows(graph: Graph, goes_back: bool) -> bool:
    """Whether no node has so many edges that its row was cut, which these loops do not put together again; in the backward pass
    too, if there is one."""
    return arrangement(graph).by_query.row_of is None and not (
        goes_back and transposition(graph).by_key.row_of is not None
    )


def forward(
    x: Tensor,
    edge_features: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: Tensor,
    graph: Graph,
    keeps_signs: bool,
) -> tuple[Tensor, Tensor | None]:
    """(out [nodes, channels], what the backward pass reads of relu if it is kept).

    Args:
        x: [nodes, channels].
        edge_features: [edges, edge_dim] in the order of `graph.edge_index()`; [edges, channels] without a weight.
        weight, bias: [channels, edge_dim] and [channels]; None: features are added as they are.
        eps: [1].
    """
    rows, edge_id = arrangement(graph).by_query, arrangement(graph).edge_id
    (nodes, channels), (edges, edge_dim) = x.shape, edge_features.shape
    bounds = rows.bounds(count_pieces((nodes + edges * (1 if weight is None else edge_dim)) * channels))
    struct = Gine(nodes, edges, channels, edge_dim, bounds.numel() - 1, rows.col.dtype is torch.int64)
    let_read(struct, REAL, x=x, edge_features=edge_features, weight=None if weight is None else weight.t(), bias=bias)
    let_read(struct, REAL, eps=eps, rowptr=rows.rowptr, col=rows.col, edge_id=edge_id)
    out = empty(x.shape, REAL)
    signs = empty((edges, bytes_of_signs(channels, "_f32")), torch.uint8) if keeps_signs else None
    run("gine_forward_f32", hand_over(struct, REAL, out=out, signs=signs), bounds)
    return out, signs


def backward(
    grad: Tensor, x: Tensor | None, signs: Tensor, eps: Tensor | None, graph: Graph, needs_x: bool, needs_messages: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of x, of W e + b [edges, channels] and, if x is given, of eps; None for those that are not needed. Only that of
    x needs eps."""
    turned, edge_id = transposition(graph), arrangement(graph).edge_id
    rows, (nodes, channels), edges = turned.by_key, grad.shape, signs.size(0)
    bounds = rows.bounds(count_pieces((nodes + edges) * channels))
    pieces = bounds.numel() - 1
    struct = Gine(nodes, edges, channels, 0, pieces, rows.col.dtype is torch.int64)
    let_read(struct, REAL, grad_out=grad, x=x, eps=eps, signs=signs)
    let_read(struct, REAL, rowptr=rows.rowptr, col=rows.col, edge_id=edge_id, place=turned.place)
    of_x = empty(grad.shape, REAL) if needs_x else None
    of_messages = empty((edges, channels), REAL) if needs_messages else None
    of_eps = None if x is None else empty((pieces,), REAL)
    hand_over(struct, REAL, grad_x=of_x, grad_messages=of_messages, grad_eps=of_eps)
    run("gine_backward_f32", struct, bounds)
    return of_x, of_messages, None if of_eps is None else of_eps.sum(0, keepdim=True)
