"""Attention over any edges on CUDA: Triton programs over rows, forward and backward, without atomics."""

from contextlib import nullcontext
from functools import cache
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from graphattn.formulas.scores import Additive
from graphattn.graphs import Graph
from graphattn.graphs.csr import rows_of
from graphattn.kernels.cuda.edge_layout import Pieces, arrangement, transposition
from graphattn.kernels.facts import PER_EDGE
from graphattn.kernels.kernel import (
    Inputs,
    Kernel,
    Partial,
    Plan,
    accumulation_dtype,
    edge_dim_first,
    edge_dim_last,
    sum_to_groups,
)
from graphattn.kernels.plain.edges_torch import sorted_edges

WIDEST = 1024  # padded channels of all heads of a program; a node with more is shared among programs
# A program reads so many edges at a time, and has a warp for so many of their channels. One warp for a row is the best: sums
# over edges stay in its registers, and 32 programs on a multiprocessor hide each other's waiting. On an H200, bfloat16,
# N 500k, E 10M, ms of forward, backward by query and by key:
#   8 heads of 16   4 edges, 1 warp     8, 1             16, 1            8, 2             16, 4
#                   1.20 1.43 1.63      1.16 1.70 1.62   1.42 2.81 1.64   2.53 2.65 4.39   4.91 5.12 8.72
ELEMENTS, FEWEST_EDGES, MOST_EDGES = 512, 4, 32
ELEMENTS_OF_A_WARP, MOST_WARPS = 1024, 8
PARTIAL_SUMS = 1024  # programs that add up the gradients of a score's parameters
JOINED_SLOTS, JOINED_CHANNELS = 32, 64  # at a time, by a program that joins the pieces of a row


@cache
def why_not_triton() -> str | None:
    """Why Triton's programs cannot be had here; imports Triton on the first call."""
    try:
        import graphattn.kernels.cuda.edge_rows  # noqa: F401
    except MemoryError:  # there may be more the next time
        raise
    except Exception as error:  # whatever a half-installed Triton says, torch operations still run
        return f"'edges_cuda' needs Triton, which failed here: {type(error).__name__}: {error}"
    return None


def is_interpreted() -> bool:
    """True where Triton runs its programs in Python, on CPU (TRITON_INTERPRET=1 when it was imported): for tests."""
    from triton.runtime.interpreter import InterpretedFunction

    from graphattn.kernels.cuda.edge_rows import forward_rows

    return isinstance(forward_rows, InterpretedFunction)


def next_power_of_two(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


class Sizes(NamedTuple):
    """What is compiled into the programs, by the names that they have there."""

    HEADS: int
    GROUP: int
    DIM: int
    VALUE_DIM: int
    EDGE_DIM: int
    HEAD_BLOCK: int
    DIM_BLOCK: int
    VALUE_BLOCK: int
    EDGE_BLOCK: int

    @classmethod
    def of(cls, inputs: Inputs) -> "Sizes":
        heads, dim = inputs.query.shape[1:]
        dims = (dim, inputs.value.size(2), 0 if inputs.edge_features is None else inputs.edge_features.size(1))
        blocks = [next_power_of_two(size) for size in dims]
        head_block = min(next_power_of_two(heads), max(WIDEST // max(blocks), 1))
        return cls(heads, heads // inputs.key.size(1), *dims, head_block, *blocks)

    @property
    def head_blocks(self) -> int:
        return -(-self.HEADS // self.HEAD_BLOCK)

    def only(self, *names: str) -> dict[str, int]:
        return {name: getattr(self, name) for name in names}

    def launch(self, elements: int = ELEMENTS) -> dict[str, int]:
        """How many edges at a time, and warps for them."""
        width = self.HEAD_BLOCK * max(self.DIM_BLOCK, self.VALUE_BLOCK, self.EDGE_BLOCK)
        block = min(max(elements // width, FEWEST_EDGES), MOST_EDGES)
        warps = min(max(block * width // ELEMENTS_OF_A_WARP, 1), MOST_WARPS)
        # Without fused multiply-adds, scores are the same bits in every pass.
        return {"BLOCK_E": block, "num_warps": warps, "enable_fp_fusion": False}


def triton_type(dtype: torch.dtype):
    import triton.language as tl

    return tl.float64 if dtype == torch.float64 else tl.float32


class EdgesCuda(Kernel):
    """Fused programs: each edge reads its key and value once; O(num_nodes * heads * dim + num_edges * heads) memory.

    Bit for bit repeatable: every sum has one program and one order.
    """

    name, family = "edges_cuda", "edges"
    graphs, devices = (Graph,), ("cuda", "cpu")
    dtypes = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    score_names, normalizer_names = ("dot", "additive"), ("softmax", "relu", "sigmoid")
    per_edge = PER_EDGE
    takes_dropout = takes_grouped_heads = takes_other_value_dim = True
    numbers_kept = 2  # weight and gradient of the score
    only_by_name: ClassVar = {"cpu": "there it is interpreted, for tests"}

    def why_not_here(self, plan, inputs):
        device, reason = inputs.query.device, why_not_triton()
        if reason is None and device.type == "cpu" and not is_interpreted():
            return f"'edges_cuda' runs on CUDA (got {device}); on CPU under TRITON_INTERPRET=1 only, for tests"
        if reason is None and inputs.edge_features is not None and inputs.edge_features.dim() == 3:
            return f"'edges_cuda' takes edge_features [num_edges, edge_dim] (got {list(inputs.edge_features.shape)})"
        return reason

    def forward(self, plan, inputs):
        from graphattn.kernels.cuda.edge_rows import forward_rows

        call = Call(plan, inputs)
        sizes, pieces = call.sizes, arrangement(plan.graph, call.device).pieces
        out = call.room(pieces, sizes.VALUE_DIM, plan.is_final)
        has_features = inputs.edge_features is not None
        edge_out = call.room(pieces, sizes.EDGE_DIM, plan.is_final) if has_features else None
        lse = call.empty(pieces.num_slots, sizes.HEADS)
        if plan.normalizer.merge == "sum":
            lse.zero_()
        call.over(pieces, forward_rows, *call.tensors, out, lse, edge_out, *call.options, **call.named)
        call.join(pieces, out, lse)
        call.join(pieces, edge_out, lse, stores_lse=False)
        return Partial(*(None if x is None else x[: pieces.num_rows] for x in (out, lse, edge_out)))

    def backward(self, plan, inputs, merged, grad):
        from graphattn.kernels.cuda.edge_rows import backward_rows

        call = Call(plan, inputs)
        sizes, edges = call.sizes, arrangement(plan.graph, call.device)
        num_edges, pieces = edges.col.numel(), edges.pieces
        grad_scores, weights = (call.empty(num_edges, sizes.HEADS) for _ in range(2))
        grad_query = call.room(pieces, sizes.DIM, is_final=True)
        has_edge_query, has_features = (x is not None for x in (inputs.edge_query, inputs.edge_features))
        grad_edge_query = call.room(pieces, sizes.EDGE_DIM, is_final=True) if has_edge_query else None
        grad_features = call.empty(sizes.head_blocks, num_edges, sizes.EDGE_DIM) if has_features else None
        known = (merged.lse, merged.out, merged.edge_out, grad.out, grad.edge_out)
        given = [None if x is None else x.contiguous() for x in known]
        results = (grad_query, grad_edge_query, grad_features, grad_scores, weights)
        call.over(pieces, backward_rows, *call.tensors, *given, *results, *call.options, num_edges, **call.named)
        call.join(pieces, grad_query)
        call.join(pieces, grad_edge_query)
        grad_key, grad_value = by_key(call, grad.out, grad_scores, weights)
        return Inputs(
            grad_query[: pieces.num_rows],
            grad_key,
            grad_value,
            None if inputs.bias is None else in_own_order(grad_scores, edges.edge_id).sum_to_size(inputs.bias.shape),
            grad_features.sum(0) if has_features else None,
            grad_edge_query[: pieces.num_rows] if has_edge_query else None,
            by_parameter(call, grad_scores),
        )


class Call:
    """What the programs of one forward or backward pass are given."""

    def __init__(self, plan: Plan, inputs: Inputs):
        self.plan, self.inputs, self.device = plan, inputs, inputs.query.device
        self.sizes, self.dtype = Sizes.of(inputs), accumulation_dtype(inputs.query.dtype)
        edges = arrangement(plan.graph, self.device)
        repeat = sorted_edges(plan.graph, self.device, True).repeat if plan.dropout and plan.graph.has_repeats else None
        nodes = [inputs.query, inputs.key, inputs.value, inputs.bias, inputs.edge_query, inputs.edge_features]
        self.parameters = (*edge_dim_first(inputs.parameters), None, None)[:2]
        contiguous = [None if x is None else x.detach().contiguous() for x in (*nodes, *self.parameters)]
        self.tensors = (edges.col, edges.edge_id, repeat, *contiguous)
        keep_scale = 0.0 if plan.dropout == 1 else 1 / (1 - plan.dropout)
        seed = None
        if plan.dropout:
            assert plan.seed is not None
            seed = plan.seed.to(self.device)
        self.options = (seed, float(plan.scale), keep_scale, round(plan.dropout * 2**32))
        self.is_tanh = isinstance(plan.score, Additive) and plan.score.activation == "tanh"
        self.score = {"TANH": self.is_tanh, "ACC": triton_type(self.dtype)}
        bias_heads = 0 if inputs.bias is None else inputs.bias.size(1)
        self.named = {
            **self.sizes._asdict(),
            **self.score,
            "BIAS_HEADS": bias_heads,
            "NORMALIZER": plan.normalizer.name,
        }

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.dtype, device=self.device)

    def room(self, pieces: Pieces, dim: int, is_final: bool) -> Tensor:
        """For a result at the slots of `pieces`: in the dtype of the query where nothing is to be added up any more."""
        dtype = self.inputs.query.dtype if is_final and not len(pieces.cut_rows) else self.dtype
        return torch.empty(pieces.num_slots, self.sizes.HEADS, dim, dtype=dtype, device=self.device)

    def start(self, program: Any, grid: tuple[int, ...], *arguments, **named) -> None:
        if min(grid):
            with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
                program[grid](*arguments, **named)

    def over(self, pieces: Pieces, program: Any, *arguments, **named) -> None:
        """Starts `program` for every piece and block of heads."""
        grid = (len(pieces.table), self.sizes.head_blocks)
        self.start(program, grid, pieces.table, *arguments, **named, **self.sizes.launch())

    def join(self, pieces: Pieces, x: Tensor | None, lse: Tensor | None = None, stores_lse: bool = True) -> None:
        """Sums up the pieces of rows that were cut: shares of the exponentials where `lse` is given, else plainly."""
        from graphattn.kernels.cuda.edge_rows import join_pieces

        if x is None or not len(pieces.cut_rows):
            return
        heads, dim = x.shape[1:]
        is_softmax = lse is not None and self.plan.normalizer.merge == "lse"
        grid = (len(pieces.cut_rows), heads, max(-(-dim // JOINED_CHANNELS), 1))
        blocks = {"SLOTS": JOINED_SLOTS, "BLOCK": JOINED_CHANNELS}
        named = {"HEADS": heads, "DIM": dim, "ACC": triton_type(self.dtype), **blocks}
        flags = {"IS_SOFTMAX": is_softmax, "STORES_LSE": stores_lse}
        self.start(join_pieces, grid, pieces.cut_rows, lse if is_softmax else None, x, **named, **flags)


def by_key(call: Call, grad_out: Tensor, grad_scores: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of keys and values, in the pass over keys."""
    from graphattn.kernels.cuda.edge_rows import backward_columns

    sizes, kv_heads = call.sizes, call.inputs.key.size(1)
    pieces, col, place_of = transposition(call.plan.graph, call.device)
    _, edge_id, _, query, key, _, _, _, *score = call.tensors
    grad_key, grad_value = (call.room(pieces, dim, sizes.GROUP == 1) for dim in (sizes.DIM, sizes.VALUE_DIM))
    # Half the bytes to gather; the gradient came in this dtype from the caller.
    grad_out = grad_out.to(call.inputs.query.dtype).contiguous()
    results = (grad_out, grad_scores, weights, grad_key, grad_value)
    named = {
        name: value for name, value in call.named.items() if name not in ("BIAS_HEADS", "NORMALIZER", "EDGE_BLOCK")
    }
    arguments = (col, place_of, edge_id, query, key, *score, *results, float(call.plan.scale))
    call.over(pieces, backward_columns, *arguments, **named)
    for x in (grad_key, grad_value):
        call.join(pieces, x)
    grad_key, grad_value = (sum_to_groups(x[: pieces.num_rows], kv_heads) for x in (grad_key, grad_value))
    return grad_key, grad_value


def by_parameter(call: Call, grad_scores: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the parameters of an additive score, in a pass over edges."""
    from graphattn.kernels.cuda.edge_rows import backward_parameters

    if not call.inputs.parameters:
        return ()
    sizes, csr = call.sizes, call.plan.graph.by_query(call.device)
    col = arrangement(call.plan.graph, call.device).col
    _, edge_id, _, query, key, _, _, _, features, vector, edge_weight = call.tensors
    named = sizes.only("HEADS", "GROUP", "DIM", "EDGE_DIM", "HEAD_BLOCK", "DIM_BLOCK")
    launch = sizes.launch(2 * ELEMENTS)  # edge after edge, whatever its row
    share = max(-(-col.numel() // PARTIAL_SUMS), launch["BLOCK_E"])
    programs = -(-col.numel() // share)
    sums = [None if x is None else call.empty(programs, *x.shape).zero_() for x in (vector, edge_weight)]
    arguments = (rows_of(csr.rowptr), col, edge_id, query, key, features, vector, edge_weight, grad_scores, *sums)
    numbers = (float(call.plan.scale), col.numel(), share)
    grid = (programs, sizes.head_blocks)
    call.start(backward_parameters, grid, *arguments, *numbers, **named, **call.score, **launch)
    return tuple(edge_dim_last([x.sum(0) for x in sums if x is not None]))


def in_own_order(per_edge: Tensor, edge_id: Tensor | None) -> Tensor:
    """[num_edges, heads] from the order of the CSR to that of graph.edge_index()."""
    return per_edge if edge_id is None else torch.empty_like(per_edge).index_copy_(0, edge_id.long(), per_edge)
