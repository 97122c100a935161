"""Attention over any edges on CPU: compiled loops over rows of equal work, in as many threads as torch has."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs import CSR, Graph
from graphattn.kernels.arrays import NOTHING, Sizes, at_cache_line, empty, flat, integers, writable, zeros
from graphattn.kernels.edges_torch import sorted_edges
from graphattn.kernels.kernel import Inputs, Kernel, Partial, Plan, accumulation_dtype, delta_of
from graphattn.kernels.threads import run_in_threads

ACTIVATIONS = ("tanh", "leaky_relu")  # TANH, LEAKY_RELU of edges_cpu_additive
HEAVY = 2**14  # edges; a row with more is cut into pieces, so that one query cannot keep all cores but one idle


@cache
def why_not_compiled() -> str | None:
    """Why the compiled loops cannot be had on this machine; imports Numba on the first call."""
    try:
        import numba

        if numba.config.DISABLE_JIT:
            return "a compiled kernel needs Numba's compiler, which NUMBA_DISABLE_JIT turns off"
        import graphattn.kernels.edges_cpu_rows  # noqa: F401
    except MemoryError:  # there may be more the next time
        raise
    except Exception as error:  # whatever Numba or LLVM say, torch operations still run
        return f"a compiled kernel needs Numba, which failed here: {type(error).__name__}: {error}"
    return None


class Rows(NamedTuple):
    """The rows of a CSR as the compiled loops want them."""

    rowptr: np.ndarray  # int64
    row_of: np.ndarray  # int64, query of each row; empty if every query is one row
    col: np.ndarray
    num_rows: int

    def pieces(self, count: int) -> list[tuple[int, int]]:
        """At most `count` ranges of rows with about equal numbers of edges."""
        if count == 1 or not self.num_rows:
            return [(0, self.num_rows)]
        targets = np.linspace(0, self.rowptr[-1], count + 1)[1:-1]
        bounds = np.unique(np.concatenate([[0], np.searchsorted(self.rowptr, targets), [self.num_rows]])).tolist()
        return list(pairwise(bounds))


def rows_of(csr: CSR) -> Rows:
    rowptr, col = integers(csr.rowptr.long()), integers(csr.col)
    degrees = np.diff(rowptr)
    num_rows = degrees.size
    if not num_rows or degrees.max() <= HEAVY:
        return Rows(rowptr, NOTHING[torch.int64], col, num_rows)
    pieces = np.maximum(-(-degrees // HEAVY), 1)
    row_of = np.repeat(np.arange(num_rows), pieces)
    first_piece = np.cumsum(pieces) - pieces
    starts = rowptr[row_of] + (np.arange(row_of.size) - first_piece[row_of]) * HEAVY
    rowptr, row_of = (integers(torch.from_numpy(x)) for x in (np.append(starts, rowptr[-1]), row_of))
    return Rows(rowptr, row_of, col, row_of.size)


class Arrangement(NamedTuple):
    """Everything the loops need of a graph, made once."""

    by_query: Rows
    edge_id: np.ndarray  # int64 place in edge_index() of each entry by query
    is_identity: bool
    keys_have_one_query: bool  # at most: gradients of keys and values are then no sums, and need no pass of their own


class Transposition(NamedTuple):
    by_key: Rows
    place_of: np.ndarray  # place among the entries by query of each entry by key


def arrangement(graph: Graph) -> Arrangement:
    def build(device) -> Arrangement:
        csr = graph.by_query(device)
        edge_id = torch.arange(csr.col.numel()) if csr.edge_id is None else csr.edge_id.long()
        one_query = csr.col.numel() <= graph.num_keys and bool((torch.bincount(csr.col) <= 1).all())
        return Arrangement(rows_of(csr), integers(edge_id), csr.edge_id is None, one_query)

    return graph.remember_on("edges_cpu arrangement", "cpu", build)


def transposition(graph: Graph) -> Transposition:
    def build(device) -> Transposition:
        transposed = graph.by_key(device)
        arranged = arrangement(graph)
        place = transposed.edge_id
        if place is None:
            place = torch.arange(transposed.col.numel())
        if not arranged.is_identity:
            inverse = torch.empty_like(transposed.col)
            inverse[torch.from_numpy(arranged.edge_id)] = torch.arange(inverse.numel(), dtype=inverse.dtype)
            place = inverse[place.long()]
        return Transposition(rows_of(transposed), integers(place.to(transposed.col.dtype)))

    return graph.remember_on("edges_cpu transposition", "cpu", build)


def repeats(graph: Graph) -> np.ndarray:
    """Number of each entry among equal edges, empty where no edge repeats (for dropout)."""
    if not graph.has_repeats:
        return NOTHING[torch.int64]
    return integers(sorted_edges(graph, torch.device("cpu"), with_repeat=True).repeat)


def hand_over(plan: Plan, sizes: Sizes, num_edges: int, grads: Inputs) -> list[np.ndarray]:
    """Room for what the pass over queries leaves for the pass over keys, and one more edge, of zeros.

    Weight and gradient of each edge and head; behind LeakyReLU the sign of each hidden number, one bit of them, unless a
    head has but one (see is_one_number of edges_cpu_across_heads).
    """
    handed_on = at_cache_line(np.empty, (num_edges + 1) * 2 * sizes.heads, NOTHING[grads.query.dtype].dtype)
    handed_on[-2 * sizes.heads :] = 0
    is_leaky = plan.score.name == "additive" and plan.score.activation == "leaky_relu"
    has_signs = is_leaky and grads.key is not None and not (sizes.dim == 1 and sizes.kv_heads == sizes.heads)
    num_signs = num_edges * sizes.heads * -(-sizes.dim // 8) if has_signs else 0
    return [handed_on, at_cache_line(np.empty, num_signs, np.dtype(np.uint8))]


class EdgesCpu(Kernel):
    """Fused loops: each edge reads its key and value once; O(num_nodes * heads * dim + num_edges * heads) memory."""

    name = "edges_cpu"
    numbers_kept = 2  # weight and gradient of the score

    def why_not(self, plan, inputs):
        if inputs.query.device.type != "cpu":
            return f"'edges_cpu' runs on CPU (got {inputs.query.device})"
        if plan.score.name not in ("dot", "additive"):
            return f"'edges_cpu' has the dot and the additive score (got {plan.score.name!r})"
        if plan.normalizer.name not in ("softmax", "relu", "sigmoid"):
            return f"'edges_cpu' has softmax, relu and sigmoid (got {plan.normalizer.name!r})"
        return why_not_compiled()

    def forward(self, plan, inputs):
        from graphattn.kernels.edges_cpu_rows import forward_rows

        sizes, dtype = Sizes.of(inputs), accumulation_dtype(inputs.query.dtype)
        rows = arrangement(plan.graph).by_query
        out = zeros((rows.num_rows, sizes.heads, sizes.value_dim), dtype)
        lse = zeros((rows.num_rows, sizes.heads), dtype)
        edge_out = zeros((rows.num_rows, sizes.heads, sizes.edge_dim), dtype)
        arguments = self.arguments(plan, inputs, sizes, dtype)
        results = [writable(x, dtype) for x in (out, lse, edge_out)]
        run_in_threads(lambda first, last: forward_rows(first, last, *arguments, *results), rows, work_of(rows, sizes))
        partial = Partial(out, lse, edge_out if sizes.edge_dim else None)
        return self.join_pieces(plan, partial, rows, inputs.query.size(0)) if rows.row_of.size else partial

    @staticmethod
    def arguments(plan, inputs: Inputs, sizes: Sizes, dtype) -> tuple:
        """What forward_rows and backward_rows share."""
        from graphattn.kernels import edges_cpu_rows

        arranged = arrangement(plan.graph)
        rows = arranged.by_query
        has_edge_data = inputs.bias is not None or inputs.edge_features is not None
        edge_id = arranged.edge_id if has_edge_data else arranged.edge_id[:0]
        repeat = repeats(plan.graph) if plan.dropout else NOTHING[torch.int64]
        kind = np.float64 if dtype == torch.float64 else np.float32
        tensors = [flat(x, dtype) for x in (inputs.query, inputs.key, inputs.value, inputs.bias)]
        tensors += [flat(inputs.edge_query, dtype), flat(inputs.edge_features, dtype)]
        tensors += [flat(x, dtype) for x in (*edge_dim_first(inputs.parameters), None, None)[:2]]
        activation = ACTIVATIONS.index(plan.score.activation) if inputs.parameters else 0
        normalizer = getattr(edges_cpu_rows, plan.normalizer.name.upper())
        seed = int(plan.seed) if plan.dropout else 0
        keep_scale = 0.0 if plan.dropout == 1 else 1 / (1 - plan.dropout)
        return (
            rows.rowptr, rows.row_of, rows.col, edge_id, repeat, *tensors, activation, *sizes, kind(plan.scale),
            normalizer, seed, round(plan.dropout * 2**32), kind(keep_scale),
        )  # fmt: skip

    @staticmethod
    def join_pieces(plan, pieces: Partial, rows: Rows, num_queries: int) -> Partial:
        """Results of the pieces of heavy rows, merged into one result for each query."""
        row_of = torch.from_numpy(rows.row_of)

        def add_up(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.new_zeros(num_queries, *x.shape[1:]).index_add_(0, row_of, x)

        if plan.normalizer.merge == "sum":
            return Partial(*(add_up(x) for x in pieces))
        index = row_of[:, None].expand_as(pieces.lse)
        top = pieces.lse.new_full((num_queries, pieces.lse.size(1)), -torch.inf)
        top = top.scatter_reduce_(0, index, pieces.lse, "amax")
        share = (pieces.lse - top.masked_fill(top == -torch.inf, 0.0)[row_of]).exp()
        total = add_up(share)
        share = share / total.masked_fill(total == 0, 1.0)[row_of]
        out, edge_out = (None if x is None else add_up(share[..., None] * x) for x in (pieces.out, pieces.edge_out))
        return Partial(out, total.log() + top.masked_fill(top == -torch.inf, 0.0), edge_out)

    def backward(self, plan, inputs, merged, grad):
        from graphattn.kernels.edges_cpu_gradients import backward_rows

        sizes, dtype = Sizes.of(inputs), accumulation_dtype(inputs.query.dtype)
        arranged = arrangement(plan.graph)
        rows, in_one_pass = arranged.by_query, arranged.keys_have_one_query and plan.score.name == "dot"
        columns = None if in_one_pass else transposition(plan.graph).by_key
        arguments = self.arguments(plan, inputs, sizes, dtype)
        grads = empty_gradients(plan, inputs, rows, columns, dtype)
        given = [flat(x, dtype) for x in (merged.lse, delta_of(merged, grad), grad.out, grad.edge_out)]
        results = [writable(x, dtype) for x in (grads.query, grads.edge_query, grads.bias, grads.edge_features)]
        to_keys = [writable(x, dtype) for x in (grads.key, grads.value)]
        now = to_keys if in_one_pass else [NOTHING[dtype]] * 2
        handed_on = [NOTHING[dtype], NOTHING[torch.uint8]] if in_one_pass else hand_over(plan, sizes, rows.col.size, grads)

        def rows_loop(first, last):
            parameters = [zeros(x.shape, dtype) for x in edge_dim_first(grads.parameters)]
            flat_parameters = [writable(x, dtype) for x in (*parameters, None, None)[:2]]
            backward_rows(first, last, *arguments, *given, *results, *flat_parameters, *handed_on, *now)
            return parameters

        by_piece = run_in_threads(rows_loop, rows, work_of(rows, sizes))
        if not in_one_pass and any(x.size for x in to_keys):
            self.pass_over_keys(plan, sizes, arguments, given[2], handed_on, to_keys)
        num_queries, num_keys = inputs.query.size(0), inputs.key.size(0)
        parameters = edge_dim_last([sum(piece) for piece in zip(*by_piece, strict=True)])
        return grads._replace(
            query=sum_pieces(grads.query, rows, num_queries),
            edge_query=sum_pieces(grads.edge_query, rows, num_queries),
            key=sum_pieces(grads.key, columns, num_keys),
            value=sum_pieces(grads.value, columns, num_keys),
            parameters=parameters or (None,) * len(inputs.parameters),
        )

    @staticmethod
    def pass_over_keys(plan, sizes: Sizes, arguments: tuple, grad_out: np.ndarray, handed_on, to_keys) -> None:
        from graphattn.kernels.edges_cpu_gradients import backward_columns

        columns, place_of = transposition(plan.graph)
        edge_id, _, q, k, _, _, _, x, vector, edge_weight, activation = arguments[3:14]
        shared = (*columns[:3], place_of, edge_id, q, k, x, vector, edge_weight, grad_out, *handed_on)
        shared += (activation, *sizes, *to_keys)
        run_in_threads(lambda first, last: backward_columns(first, last, *shared), columns, work_of(columns, sizes))


def empty_gradients(plan, inputs: Inputs, rows: Rows, columns: Rows | None, dtype) -> Inputs:
    """Zeros for the gradients that are asked for, None for others; one row for each piece of a heavy query or key.

    Without `columns` each key has a query at most, whose pass writes its gradients; where all have one, they need no zeros.
    """
    needed = plan.needed or Inputs(*[True] * 6, (True,) * len(inputs.parameters))
    of_keys = empty if columns is None and rows.col.size == inputs.key.size(0) else zeros

    def new(x: Tensor | None, is_needed: bool, pieces: Rows | None = None, make=zeros) -> Tensor | None:
        if x is None or not is_needed:
            return None
        return make((x.size(0) if pieces is None else pieces.num_rows, *x.shape[1:]), dtype)

    return Inputs(
        new(inputs.query, True, rows),
        new(inputs.key, needed.key, columns, of_keys),
        new(inputs.value, needed.value, columns, of_keys),
        new(inputs.bias, needed.bias),
        new(inputs.edge_features, needed.edge_features),
        new(inputs.edge_query, True, rows),
        inputs.parameters if any(needed.parameters) else (),
    )


def sum_pieces(x: Tensor | None, rows: Rows | None, num_nodes: int) -> Tensor | None:
    """[num_rows, ...] -> [num_nodes, ...] where heavy rows were cut."""
    if x is None or rows is None or not rows.row_of.size:
        return x
    return x.new_zeros(num_nodes, *x.shape[1:]).index_add_(0, torch.from_numpy(rows.row_of), x)


def edge_dim_first(parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Parameters of a score with the edge weight as [edge_dim, heads, dim], the order in which the loops read it."""
    return (*parameters[:1], *(x.permute(2, 0, 1) for x in parameters[1:]))


def edge_dim_last(parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The way back: the edge weight as [heads, dim, edge_dim]."""
    return (*parameters[:1], *(x.permute(1, 2, 0) for x in parameters[1:]))


def work_of(rows: Rows, sizes: Sizes) -> int:
    """Multiplications of one pass, roughly."""
    return rows.col.size * sizes.heads * (sizes.dim + sizes.value_dim)
