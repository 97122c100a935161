"""Every process all rows of some heads: exchanges before and after attention over the whole graph.

Jacobs et al. 2023, DeepSpeed-Ulysses.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphattn.distributed.exchange import exchange
from graphattn.distributed.parts import Where
from graphattn.formulas.scores import Custom, as_score
from graphattn.functional import attend_over, attend_with_lse
from graphattn.graphs import Graph
from graphattn.running.arguments import Options
from graphattn.running.by_heads import options_of_heads


def check_heads(where: Where, query: Tensor, key: Tensor, options: Options) -> None:
    """ValueError where heads cannot be shared out."""
    for name, x in (("query", query), ("key", key)):
        if x.dim() != 3 or x.size(1) % where.size:
            raise ValueError(
                f"strategy 'heads' needs '{name}' [own rows, heads, dim] with a multiple of {where.size} heads, one share for"
                f" each process (got {list(x.shape)})"
            )
    if isinstance(options.bias, Tensor) or options.edge_features is not None:
        raise ValueError(
            "strategy 'heads' takes no tensor per edge, as no process has those of all edges (got one); take 'halo'"
        )
    if isinstance(as_score(options.score), Custom):
        raise ValueError(
            f"strategy 'heads' cannot cut the heads of a score that sees them together (got {options.score!r}); take 'halo'"
        )


def attend_heads(
    graph: Graph, where: Where, query: Tensor, key: Tensor, value: Tensor, options: Options, with_lse: bool
) -> tuple[Tensor, ...]:
    heads = query.size(1)
    share = heads // where.size
    own = torch.arange(where.rank * share, (where.rank + 1) * share, device=query.device)
    options = options_of_heads(options, own, where.rank * share, are_all=False)
    draw = options.draw
    options = options._replace(draw=None if draw is None else draw._replace(first_head=where.rank * share))
    given = [
        all_rows(x, ptr, where) for x, ptr in ((query, where.query_ptr), (key, where.key_ptr), (value, where.key_ptr))
    ]
    run: Any = attend_with_lse if with_lse else attend_over
    results = run(*given, graph, options)
    return tuple(all_heads(x, where.query_ptr, where) for x in (results if isinstance(results, tuple) else (results,)))


def all_rows(x: Tensor, ptr: Sequence[int], where: Where) -> Tensor:
    """[own rows, heads, dim] -> [all rows, share of the heads, dim]."""
    num_own, heads, dim = x.shape
    rows = (
        x.unflatten(1, (where.size, heads // where.size))
        .transpose(0, 1)
        .reshape(where.size * num_own, heads // where.size * dim)
    )
    counts = [stop - start for start, stop in zip(ptr, ptr[1:])]  # noqa: RUF007
    found = Exchange.apply(rows, [num_own] * where.size, counts, where.group)
    return found.view(ptr[-1], heads // where.size, dim)


def all_heads(x: Tensor, ptr: Sequence[int], where: Where) -> Tensor:
    """The way back."""
    num_rows, share, dim = x.shape
    counts = [stop - start for start, stop in zip(ptr, ptr[1:])]  # noqa: RUF007
    num_own = counts[where.rank]
    found = Exchange.apply(x.reshape(num_rows, share * dim), counts, [num_own] * where.size, where.group)
    return found.view(where.size, num_own, share, dim).transpose(0, 1).reshape(num_own, where.size * share, dim)


class Exchange(torch.autograd.Function):
    """Rows for one rank after the other; gradients take the way back."""

    @staticmethod
    def forward(ctx, rows, send_counts, recv_counts, group):
        ctx.way_back = recv_counts, send_counts, group
        received, work = exchange(rows.contiguous(), send_counts, recv_counts, group)
        work.wait()
        return received

    @staticmethod
    def backward(ctx, grad):
        return Exchange.apply(grad, *ctx.way_back), None, None, None
