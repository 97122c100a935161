"""What the loops over edges are given: the struct of edges.h, filled from a plan and its tensors."""

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.formulas.scores import Additive
from graphattn.kernels.kernel import Inputs, Plan, accumulation_dtype, edge_dim_first
from graphattn.kernels.native.arrays import Sizes
from graphattn.kernels.native.border import Struct, hand_over, let_read
from graphattn.kernels.native.rows import Rows, Transposition, arrangement, repeats
from graphattn.kernels.native.threads import count_pieces, run

SCORES = DOT, LEAKY, TANH, GAT = range(4)
NORMALIZERS = "softmax", "relu", "sigmoid"
SUFFIX = {torch.float32: "_f32", torch.float64: "_f64"}


class Edges(Struct):
    """Edges of edges.h, which says what the fields are."""

    SIZES = (
        "entries", "heads", "kv_heads", "dim", "value_dim", "edge_dim", "bias_heads", "score", "normalizer",
        "index_is_64", "seed", "threshold",
    )  # fmt: skip
    NUMBERS = ("scale", "keep_scale")
    ARRAYS = (
        "rowptr", "row_of", "col", "edge_id", "repeat", "place", "query", "key", "value", "bias", "edge_features",
        "edge_query", "vector", "edge_weight", "out", "lse", "edge_out", "grad_out", "grad_edge_out", "grad_query",
        "grad_key", "grad_value", "grad_bias", "grad_edge_features", "grad_edge_query", "grad_vector",
        "grad_edge_weight", "handed", "signs",
    )  # fmt: skip
    _fields_ = (
        *((name, ctypes.c_int64) for name in SIZES),
        *((name, ctypes.c_double) for name in NUMBERS),
        *((name, ctypes.c_void_p) for name in ARRAYS),
    )

    def arrays(self, real):
        return self.expected


class Call(NamedTuple):
    """One pass of the loops over a graph, for given sizes and options: what does not depend on the tensors is remembered."""

    template: Edges
    rows: Rows
    bounds: Tensor  # of the pieces of the work
    expected: dict[str, tuple[torch.dtype, int]]
    sizes: Sizes
    real: torch.dtype

    @property
    def num_pieces(self) -> int:
        return self.bounds.numel() - 1

    def struct(self, plan: Plan) -> Edges:
        struct = Edges.from_buffer_copy(self.template)
        struct.expected = self.expected
        struct.scale = plan.scale
        if plan.dropout:
            assert plan.seed is not None
            struct.seed, struct.threshold = int(plan.seed), round(plan.dropout * 2**32)
            struct.keep_scale = 0.0 if struct.threshold == 2**32 else 1 / (1 - plan.dropout)
            hand_over(struct, self.real, repeat=repeats(plan.graph))
        return struct

    def run(self, name: str, struct: Edges) -> None:
        run(name + SUFFIX[self.real], struct, self.bounds)

    def add_pieces(self, struct: Edges) -> None:
        """Leaves the sum of all pieces in the first slot of the gradients of parameters."""
        if self.num_pieces > 1:
            run("edges_add_pieces" + SUFFIX[self.real], struct, torch.tensor([0, self.num_pieces], device="cpu"))


def forward_call(plan: Plan, inputs: Inputs) -> Call:
    return call_for(plan, inputs, "forward", None)


def backward_call(plan: Plan, inputs: Inputs, transposed: Transposition | None = None) -> Call:
    """The pass over queries, or over keys if `transposed` is given."""
    return call_for(plan, inputs, "over queries" if transposed is None else "over keys", transposed)


def call_for(plan: Plan, inputs: Inputs, name: str, transposed: Transposition | None) -> Call:
    arranged = arrangement(plan.graph)
    real, sizes = accumulation_dtype(inputs.query.dtype), Sizes.of(inputs)
    bias_heads = 1 if inputs.bias is None else inputs.bias.size(1)
    score = DOT
    if isinstance(plan.score, Additive):
        is_one_number = sizes.dim == 1 and sizes.kv_heads == sizes.heads
        score = TANH if plan.score.activation == "tanh" else GAT if is_one_number else LEAKY
    key = (name, real, *sizes, bias_heads, score, plan.normalizer.name)
    if key in arranged.calls:
        return arranged.calls[key]
    rows = arranged.by_query if transposed is None else transposed.by_key
    template = Edges(
        rows.col.numel(), *sizes, bias_heads, score, NORMALIZERS.index(plan.normalizer.name), rows.col.dtype is torch.int64
    )
    bounds = rows.bounds(count_pieces(rows.col.numel() * sizes.heads * (sizes.dim + sizes.value_dim)))
    num_queries, num_keys = inputs.query.size(0), inputs.key.size(0)
    template.expected = arrays(
        template, rows, real, num_queries, num_keys, rows.num_rows if name == "forward" else num_queries,
        num_keys if transposed is None else rows.num_rows, bounds.numel() - 1,
    )  # fmt: skip
    hand_over(template, real, rowptr=rows.rowptr, row_of=rows.row_of, col=rows.col, edge_id=arranged.edge_id)
    if transposed is not None:
        hand_over(template, real, place=transposed.place)
    return arranged.calls.setdefault(key, Call(template, rows, bounds, template.expected, sizes, real))


def arrays(
    sizes: Edges,
    rows: Rows,
    real: torch.dtype,
    num_queries: int,
    num_keys: int,
    num_results: int,
    num_key_gradients: int,
    pieces: int,
) -> dict[str, tuple[torch.dtype, int]]:
    """dtype and count of numbers of every array."""
    entries, heads, kv_heads, dim, value_dim, edge_dim = (getattr(sizes, name) for name in Edges.SIZES[:6])
    counts = {
        "query": num_queries * heads * dim, "key": num_keys * kv_heads * dim, "value": num_keys * kv_heads * value_dim,
        "bias": entries * sizes.bias_heads, "edge_features": entries * edge_dim, "edge_query": num_queries * heads * edge_dim,
        "vector": heads * dim, "edge_weight": edge_dim * heads * dim,
        "out": num_results * heads * value_dim, "lse": num_results * heads, "edge_out": num_results * heads * edge_dim,
        "grad_out": num_queries * heads * value_dim, "grad_edge_out": num_queries * heads * edge_dim,
        "grad_query": rows.num_rows * heads * dim, "grad_edge_query": rows.num_rows * heads * edge_dim,
        "grad_key": num_key_gradients * kv_heads * dim, "grad_value": num_key_gradients * kv_heads * value_dim,
        "grad_bias": entries * sizes.bias_heads, "grad_edge_features": entries * edge_dim,
        "grad_vector": pieces * heads * dim, "grad_edge_weight": pieces * edge_dim * heads * dim,
        "handed": entries * 2 * heads,
    }  # fmt: skip
    indices = {"rowptr": rows.num_rows + 1, "row_of": rows.num_rows, "edge_id": entries, "repeat": entries}
    return {
        **{name: (real, count) for name, count in counts.items()},
        **{name: (torch.int64, count) for name, count in indices.items()},
        **{name: (rows.col.dtype, entries) for name in ("col", "place")},
        "signs": (torch.uint8, entries * heads * -(-dim // 8)),
    }


def let_read_inputs(call: Call, struct: Edges, inputs: Inputs) -> None:
    """Puts the tensors that every pass reads into the struct."""
    names = ("query", "key", "value", "bias", "edge_features", "edge_query", "vector", "edge_weight")
    tensors = zip(names, (*inputs[:6], *edge_dim_first(inputs.parameters)), strict=False)
    let_read(struct, call.real, **{name: tensor for name, tensor in tensors if tensor is not None})
