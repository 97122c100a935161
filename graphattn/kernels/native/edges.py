"""What the loops over edges are given: the struct of edges.h, filled from a plan and its tensors."""

import ctypes
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphattn.formulas.scores import Additive
from graphattn.kernels.kernel import Inputs, Nodes, Plan, accumulation_dtype, edge_dim_first
from graphattn.kernels.native.arrays import Sizes
from graphattn.kernels.native.border import HALVES, Struct, hand_over, let_read, readable
from graphattn.kernels.native.library import bytes_of_signs
from graphattn.kernels.native.rows import (
    Rows,
    Transposition,
    arrangement,
    keys_have_one_query,
    repeats,
    transposition,
)
from graphattn.kernels.native.threads import count_pieces, run

SCORES = DOT, LEAKY, TANH, GAT = range(4)
NORMALIZERS = "softmax", "relu", "sigmoid"
FAR = 3 * 2**22  # bytes of a table whose rows are asked for a block ahead: of smaller ones most are in the caches
SUFFIX = {torch.float32: "_f32", torch.float64: "_f64"}


# Arrays of nodes, whose rows may lie apart.
OF_NODES = "query", "key", "value", "edge_query", "grad_query", "grad_key", "grad_value", "grad_edge_query"


class Edges(Struct):
    """Edges of edges.h, which says what the fields are."""

    SIZES = (
        "entries", "heads", "kv_heads", "dim", "value_dim", "edge_dim", "bias_heads", "score", "normalizer",
        "index_is_64", "storage", "result_storage", "grad_storage", "feature_heads", "adds_features",
        "query_row", "key_row", "value_row", "edge_query_row", "grad_query_row", "grad_key_row", "grad_value_row",
        "grad_edge_query_row", "seed", "threshold", "first_query", "first_key", "first_head", "ahead",
    )  # fmt: skip
    NUMBERS = ("scale", "keep_scale")
    ARRAYS = (
        "rowptr", "row_of", "col", "edge_id", "repeat", "place", "query", "key", "value", "bias", "edge_features",
        "edge_query", "vector", "edge_weight", "out", "lse", "edge_out", "total", "grad_out", "grad_edge_out", "grad_query",
        "grad_key", "grad_value", "grad_bias", "grad_edge_features", "grad_edge_query", "grad_vector",
        "grad_edge_weight", "handed", "signs", "query_numbers", "key_numbers",
    )  # fmt: skip
    ROWS = MappingProxyType({name: f"{name}_row" for name in OF_NODES})
    LASTING = "rowptr", "row_of", "col", "edge_id", "repeat", "place"
    SEEDS = ("seed",)
    _fields_ = (
        *((name, ctypes.c_int64) for name in SIZES),
        *((name, ctypes.c_double) for name in NUMBERS),
        *((name, ctypes.c_void_p) for name in ARRAYS),
    )

    def arrays(self, real):
        return self.expected


class Extents(NamedTuple):
    """What the arrays of one pass are as long as."""

    entries: int
    heads: int
    kv_heads: int
    dim: int
    value_dim: int
    edge_dim: int
    bias_heads: int
    feature_heads: int
    num_queries: int
    num_keys: int
    num_rows: int
    num_results: int
    num_key_gradients: int
    pieces: int
    signs: int  # bytes, of a head's channels


# Numbers of each array.
COUNTS: dict[str, Callable[[Extents], int]] = {
    "query": lambda n: n.num_queries * n.heads * n.dim,
    "key": lambda n: n.num_keys * n.kv_heads * n.dim,
    "value": lambda n: n.num_keys * n.kv_heads * n.value_dim,
    "bias": lambda n: n.entries * n.bias_heads,
    "edge_features": lambda n: n.entries * n.feature_heads * n.edge_dim,
    "edge_query": lambda n: n.num_queries * n.heads * n.edge_dim,
    "vector": lambda n: n.heads * n.dim,
    "edge_weight": lambda n: n.edge_dim * n.heads * n.dim,
    "out": lambda n: n.num_results * n.heads * n.value_dim,
    "lse": lambda n: n.num_results * n.heads,
    "edge_out": lambda n: n.num_results * n.heads * n.edge_dim,
    "total": lambda n: n.num_results * n.heads * n.value_dim,
    "grad_out": lambda n: n.num_queries * n.heads * n.value_dim,
    "grad_edge_out": lambda n: n.num_queries * n.heads * n.edge_dim,
    "grad_query": lambda n: n.num_rows * n.heads * n.dim,
    "grad_edge_query": lambda n: n.num_rows * n.heads * n.edge_dim,
    "grad_key": lambda n: n.num_key_gradients * n.kv_heads * n.dim,
    "grad_value": lambda n: n.num_key_gradients * n.kv_heads * n.value_dim,
    "grad_bias": lambda n: n.entries * n.bias_heads,
    "grad_edge_features": lambda n: n.entries * n.feature_heads * n.edge_dim,
    "grad_vector": lambda n: n.pieces * n.heads * n.dim,
    "grad_edge_weight": lambda n: n.pieces * n.edge_dim * n.heads * n.dim,
    "handed": lambda n: n.entries * 2 * n.heads,
    "rowptr": lambda n: n.num_rows + 1,
    "row_of": lambda n: n.num_rows,
    "repeat": lambda n: n.entries,
    "query_numbers": lambda n: n.num_queries,
    "key_numbers": lambda n: n.num_keys,
    "col": lambda n: n.entries,
    "place": lambda n: n.entries,
    "edge_id": lambda n: n.entries,
    "signs": lambda n: n.entries * n.heads * n.signs,
}
INTEGERS = dict.fromkeys(("rowptr", "row_of", "repeat", "query_numbers", "key_numbers"), torch.int64)


class Dtypes(NamedTuple):
    """Of the arrays of one pass."""

    real: torch.dtype  # of all that are not named below
    stored: torch.dtype
    of_gradients: torch.dtype  # of nodes
    of_results: torch.dtype
    of_indices: torch.dtype
    results: str  # the one array that is in `of_results`

    def of(self, name: str) -> torch.dtype:
        if name == self.results:
            return self.of_results
        if name in ("query", "key", "value"):
            return self.stored
        if name in ("grad_query", "grad_key", "grad_value"):
            return self.of_gradients
        if name in ("col", "place", "edge_id"):
            return self.of_indices
        return torch.uint8 if name == "signs" else INTEGERS.get(name, self.real)


class Expected(dict[str, tuple[torch.dtype, int]]):
    """dtype and count of numbers of every array, found when it is first asked for: a graph may live for one call."""

    def __init__(self, extents: Extents, dtypes: Dtypes):
        super().__init__()
        self.extents, self.dtypes = extents, dtypes

    def __missing__(self, name: str) -> tuple[torch.dtype, int]:
        return self.setdefault(name, (self.dtypes.of(name), COUNTS[name](self.extents)))


OF_GRAPH = "index_is_64", "grad_storage", "rowptr", "row_of", "col", "place"  # what differs from one pass to another


class Call(NamedTuple):
    """One pass of the loops over a graph, for given sizes and options: what does not depend on the tensors is remembered."""

    template: Edges
    rows: Rows
    bounds: Tensor  # of the pieces of the work
    expected: Expected
    sizes: Sizes
    real: torch.dtype  # of sums; halves are read and written as they are

    def dtype_of(self, name: str) -> torch.dtype:
        """Of an array, as the loop reads or writes it."""
        return self.expected[name][0]

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
            if plan.nodes is not None:
                hand_over_numbers(struct, self.real, plan.nodes)
        return struct

    def struct_after(self, other: Edges) -> Edges:
        """For the pass over keys after that over queries, with all that the loops were handed there."""
        struct = Edges.from_buffer_copy(other)
        struct.expected, struct.kept = self.expected, [other]
        for name in OF_GRAPH:
            setattr(struct, name, getattr(self.template, name))
        return struct

    def run(self, name: str, struct: Edges) -> None:
        run(name + SUFFIX[self.real], struct, self.bounds)

    def add_pieces(self, struct: Edges) -> None:
        """Leaves the sum of all pieces in the first slot of the gradients of parameters."""
        if self.num_pieces > 1:
            run("edges_add_pieces" + SUFFIX[self.real], struct, torch.tensor([0, self.num_pieces], device="cpu"))


def hand_over_numbers(struct: Edges, real: torch.dtype, nodes: Nodes) -> None:
    """What dropout is drawn by."""
    struct.first_head = nodes.first_head
    for side, numbers in (("query", nodes.queries), ("key", nodes.keys)):
        if isinstance(numbers, Tensor):
            let_read(struct, real, **{f"{side}_numbers": numbers})
        else:
            setattr(struct, f"first_{side}", numbers)


def forward_call(plan: Plan, inputs: Inputs) -> Call:
    """With the result in the dtype of the inputs where nothing is added to it."""

    def build() -> Call:
        is_result = plan.is_final and arrangement(plan.graph).by_query.row_of is None
        stored = inputs.query.dtype
        return call_for(plan, inputs, "forward", None, stored if is_result else accumulation_dtype(stored))

    return plan.remember(("edges_cpu forward", plan.is_final), build)


class Passes(NamedTuple):
    """The calls of the backward pass."""

    over_queries: Call
    over_keys: Call | None  # None where no gradient of keys is asked for, or none is a sum


def backward_calls(plan: Plan, inputs: Inputs, grad_out: Tensor) -> Passes:
    of_keys = plan.needed is None or plan.needed.key or plan.needed.value

    def build() -> Passes:
        of_results = grad_out.dtype if grad_out.dtype in HALVES else accumulation_dtype(inputs.query.dtype)
        over_queries = call_for(plan, inputs, "over queries", None, of_results)
        if not of_keys or (over_queries.template.score == DOT and keys_have_one_query(plan.graph)):
            return Passes(over_queries, None)
        return Passes(over_queries, call_for(plan, inputs, "over keys", transposition(plan.graph), of_results))

    return plan.remember(("edges_cpu backward", grad_out.dtype, of_keys), build)


def call_for(plan: Plan, inputs: Inputs, name: str, transposed: Transposition | None, of_results: torch.dtype) -> Call:
    """`of_results` is the dtype of what the forward pass writes, and of the gradient that the others read."""
    arranged = arrangement(plan.graph)
    stored = inputs.query.dtype
    real, sizes = accumulation_dtype(stored), Sizes.of(inputs)
    bias_heads = 1 if inputs.bias is None else inputs.bias.size(1)
    score = DOT
    if isinstance(plan.score, Additive):
        is_one_number = sizes.dim == 1 and sizes.kv_heads == sizes.heads
        score = TANH if plan.score.activation == "tanh" else GAT if is_one_number else LEAKY
    feature_heads = 1 if inputs.edge_features is None or inputs.edge_features.dim() == 2 else sizes.heads
    adds_features = isinstance(plan.score, Additive) and plan.score.adds_features
    key = (name, stored, of_results, *sizes, bias_heads, feature_heads, adds_features, score, plan.normalizer.name)
    if key in arranged.calls:
        return arranged.calls[key]
    rows = arranged.by_query if transposed is None else transposed.by_key
    of_gradients = stored if rows.row_of is None else real  # those of the pieces of a row are added up
    template = Edges(
        rows.col.numel(), *sizes, bias_heads, score, NORMALIZERS.index(plan.normalizer.name), rows.col.dtype is torch.int64,
        *(HALVES.get(dtype, 0) for dtype in (stored, of_results, of_gradients)), feature_heads, adds_features,
    )  # fmt: skip
    bounds = rows.bounds(count_pieces(rows.col.numel() * sizes.heads * (sizes.dim + sizes.value_dim)))
    num_queries, num_keys = inputs.query.size(0), inputs.key.size(0)
    num_results = rows.num_rows if name == "forward" else num_queries
    num_key_gradients = num_keys if transposed is None else rows.num_rows
    extents = Extents(
        rows.col.numel(), *sizes, bias_heads, feature_heads, num_queries, num_keys, rows.num_rows, num_results, num_key_gradients,
        bounds.numel() - 1, bytes_of_signs(sizes.dim, SUFFIX[real]),
    )  # fmt: skip
    results = "out" if name == "forward" else "grad_out"
    template.expected = Expected(extents, Dtypes(real, stored, of_gradients, of_results, rows.col.dtype, results))
    edge_id = readable(arranged.edge_id, rows.col.dtype)
    template.ahead = inputs.key.numel() * inputs.key.itemsize >= FAR
    hand_over(template, real, rowptr=rows.rowptr, row_of=rows.row_of, col=rows.col, edge_id=edge_id)
    if transposed is not None:
        hand_over(template, real, place=transposed.place)
    return arranged.calls.setdefault(key, Call(template, rows, bounds, template.expected, sizes, real))


def as_loops_read(call: Call, parameters: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """The vector [heads, dim] and the edge weight [edge_dim, heads, dim], as far as there are."""
    vector, edge_weight = (*edge_dim_first(with_vector(call, parameters)), None, None)[:2]
    return vector, edge_weight


def with_vector(call: Call, parameters: Sequence[Any]) -> tuple[Any, ...]:
    """The parameters with a vector in their first place: None for dot products, which have an edge weight alone, if any."""
    return (None, *parameters) if parameters and call.template.score == DOT else tuple(parameters)


def let_read_inputs(call: Call, struct: Edges, inputs: Inputs) -> None:
    """Puts the tensors that every pass reads into the struct."""
    query, key, value, bias, edge_features, edge_query, parameters, _ = inputs
    vector, edge_weight = as_loops_read(call, parameters)
    let_read(
        struct, call.real, query=query, key=key, value=value, edge_query=edge_query, bias=bias, edge_features=edge_features,
        vector=vector, edge_weight=edge_weight,
    )  # fmt: skip
