"""Grids and dilated bands on CUDA by torch's FlexAttention, with blocks counted from the edges."""

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from graphattn.graphs import BandedGraph, CompleteGraph, Graph, GridGraph
from graphattn.graphs.csr import rows_of
from graphattn.kernels.kernel import Inputs, Kernel, Partial, delta_of

BLOCK = 128  # queries and keys
MOST_COMPILED = 128  # a graph's sides and window are constants of the compiled program


def count_blocks(graph: Graph, device, block: int = BLOCK) -> tuple[Tensor, Tensor, Tensor]:
    """(query block, key block, number of edges) of every block that has edges, by (query, key)."""
    csr = graph.by_query(device)
    across = -(-graph.num_keys // block)
    places = rows_of(csr.rowptr) // block * across + csr.col.long() // block
    places, counts = torch.unique(places, return_counts=True)
    return places // max(across, 1), places % max(across, 1), counts


def table(row: Tensor, col: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Number of columns of each row [1, 1, num_rows], and these [1, 1, num_rows, most of a row], from sorted pairs."""
    counts = torch.bincount(row, minlength=num_rows)
    place = torch.arange(row.numel(), device=row.device) - (counts.cumsum(0) - counts)[row]
    width = max(int(counts.max()), 1)
    indices = col.new_zeros(num_rows, width, dtype=torch.int32)
    indices[row, place] = col.int()
    return counts.int()[None, None], indices[None, None]


def block_mask(graph: Graph, device=None, block: int = BLOCK) -> BlockMask:
    """The blocks of `graph` in O(num_edges), remembered on it. Blocks cut off by a border are never called full."""
    return graph.remember_on(f"flex blocks of {block}", device, lambda device: build_block_mask(graph, device, block))


def build_block_mask(graph: Graph, device, block: int) -> BlockMask:
    query, key, counts = count_blocks(graph, device, block)
    rows, columns = (-(-size // block) for size in graph.shape)
    by_key = torch.argsort(key, stable=True)

    def tables(chosen: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        order = by_key[chosen[by_key]]
        return table(query[chosen], key[chosen], rows), table(key[order], query[order], columns)

    by_query, by_column = tables(counts < block * block)
    full_by_query, full_by_column = tables(counts == block * block)

    formula = graph.twin()  # the graph, which remembers this, would hold itself

    def mask_mod(batch, head, query, key):
        return formula.allows(query, key)

    counted = *by_query, *full_by_query, *by_column, *full_by_column
    return BlockMask(graph.shape, *counted, (block, block), mask_mod)


@cache
def compiled() -> Callable:
    import torch._dynamo as dynamo

    run = torch.compile(flex_attention, fullgraph=True)

    def attend(*arguments, **options):
        with dynamo.config.patch(recompile_limit=MOST_COMPILED):
            return run(*arguments, **options)

    return attend


def attention(inputs: Inputs, graph: Graph, scale: float) -> tuple[Tensor, Tensor]:
    """(out, natural log-sum-exp), nodes first."""
    query, key, value = (x.transpose(0, 1)[None] for x in inputs[:3])
    run: Callable[..., Any] = flex_attention
    if query.is_cuda:
        run = compiled()
    is_grouped = query.size(1) != key.size(1)
    mask = block_mask(graph, query.device)
    out, lse = run(query, key, value, block_mask=mask, scale=scale, enable_gqa=is_grouped, return_lse=True)
    return out[0].transpose(0, 1), lse[0].T


def gradients_of_part(part: Partial, merged: Partial, grad_out: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the part's out and lse, where merged.out is the sum of exp(part.lse - merged.lse) * part.out.

    With w = exp(part.lse - merged.lse): w * grad_out, and w * (grad_out . part.out - grad_out . merged.out).
    """
    weight = (part.lse - merged.lse).exp().masked_fill(part.lse == -torch.inf, 0)
    grad_out = grad_out.to(weight.dtype)
    grad_lse = weight * ((grad_out * part.out).sum(-1) - delta)
    return (weight[..., None] * grad_out).to(part.out.dtype), grad_lse


class Flex(Kernel):
    """Whole blocks of 128 x 128 where there are edges; no memory per edge but to count the blocks once."""

    name = "flex"
    graphs = (CompleteGraph, BandedGraph, GridGraph)  # whose `allows` is arithmetic for a single example
    devices, dtypes = ("cuda",), (torch.float16, torch.bfloat16, torch.float32)
    takes_grouped_heads = takes_other_value_dim = True
    least_channels = 16
    only_by_name: ClassVar = {"cuda": "others train faster, and it compiles for every graph"}  # crossovers.json

    def why_not_here(self, plan, inputs):
        graph, value_dim = plan.graph, inputs.value.size(2)
        if graph.num_examples != 1:
            return f"'flex' runs one graph, not a batch (got {graph!r})"
        if not (min(graph.shape) and graph.num_edges):
            return f"'flex' needs edges (got {graph!r})"
        if value_dim < self.least_channels:
            return f"'flex' needs at least {self.least_channels} channels in values (got {value_dim})"
        return None

    def spreads_nan(self, plan):
        return True

    def forward(self, plan, inputs):
        return Partial(*attention(inputs, plan.graph, plan.scale))

    def backward(self, plan, inputs, merged, grad, attention=attention):
        with torch.enable_grad():
            leaves = Inputs(*(x.detach().requires_grad_() for x in inputs[:3]))
            part = Partial(*attention(leaves, plan.graph, plan.scale))
        detached = Partial(*(x.detach() for x in part[:2]))
        cotangents = gradients_of_part(detached, merged, grad.out, delta_of(merged, grad))
        return Inputs(*torch.autograd.grad(part[:2], leaves[:3], cotangents))
