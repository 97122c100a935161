"""Bands (windows along the order of the nodes) on CPU in float32, as loops over tiles of queries or keys; all pairs are one.

Forward, queries stand in the lanes of vectors; backward, queries and then keys, so that no two threads add to one number. A
bias by offset is a table that is added where scores are, shifted from row to row.
"""

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, Graph
from graphattn.kernels.arrays import Sizes, at_cache_line, empty, flat, writable
from graphattn.kernels.banded_cpu_runs import Runs, runs_of
from graphattn.kernels.edges_cpu import why_not_compiled
from graphattn.kernels.finite import NotFinite
from graphattn.kernels.flash import why_not_flash
from graphattn.kernels.kernel import Inputs, Kernel, Partial, Plan, delta_of
from graphattn.kernels.threads import run_in_threads
from graphattn.kernels.tiled import wants_bias

WIDTH = 32  # lanes of a tile where registers are widest


class BandedCpu(Kernel):
    """O(num_nodes * heads * dim) memory: nothing is kept for an edge."""

    name = "banded_cpu"
    graph_kind = BandedGraph | CompleteGraph
    takes_bias_by_offset = finds_nan = True

    def area_of_tiles(self, graph: Graph) -> int:
        """Scores per head that it computes, roughly and without laying out its runs."""
        band = band_of(graph)
        rows = WIDTH + band.before + band.after
        last_tiles = WIDTH * band.dilation  # of an example, mostly empty
        return sum((queries + last_tiles) * min(-(-keys // band.dilation), rows) for queries, keys in band.sizes)

    def num_calls(self, graph: Graph) -> int:
        """Calls that a small graph needs beyond those of 'edges_cpu'."""
        return 0

    def why_not(self, plan, inputs):
        if not isinstance(plan.graph, self.graph_kind):
            return f"'{self.name}' runs a BandedGraph or a CompleteGraph (got {type(plan.graph).__name__})"
        if inputs.query.dtype != torch.float32:
            return f"'{self.name}' runs float32 (got {inputs.query.dtype})"
        reason = why_not_flash(self.name, plan, inputs._replace(bias=None) if plan.bias_by_offset else inputs)
        return reason or why_not_compiled()

    def spreads_nan(self, plan):
        return True

    def forward(self, plan, inputs):
        from graphattn.kernels.banded_cpu_loops import RUN, forward_runs

        sizes = Sizes.of(inputs)
        runs = runs_of(band_of(plan.graph), sizes.heads, RUN)
        num_queries, dtype = inputs.query.size(0), torch.float32
        out = empty((num_queries, sizes.heads, sizes.value_dim), dtype)
        lse = empty((num_queries, sizes.heads), dtype)
        added = table_of(inputs.bias, runs.window)
        arguments = (*arguments_of(plan, inputs, sizes, runs, added), *as_results(out, lse))
        if not all(run_in_threads(lambda *part: forward_runs(*part, *arguments), runs, work_of(runs, sizes))):
            raise NotFinite
        return Partial(out, lse)

    def backward(self, plan, inputs, merged, grad):
        from graphattn.kernels.banded_cpu_loops import RUN, backward_by_key, backward_by_query

        sizes, needed = Sizes.of(inputs), plan.needed
        lse = merged.lse.masked_fill(merged.lse == -torch.inf, 0)  # exp(-inf - 0) = 0 where exp(-inf + inf) is NaN
        given = as_arrays(lse, delta_of(merged, grad), grad.out)
        query, key, value = (empty(x.shape, torch.float32) for x in inputs[:3])
        runs = runs_of(band_of(plan.graph), sizes.heads, RUN)
        added = table_of(inputs.bias, runs.window)
        arguments = (*arguments_of(plan, inputs, sizes, runs, added), *given, *as_results(query))
        size_of_table = added.numel() if wants_bias(plan, inputs) else 0

        def of_queries(first: int, last: int) -> np.ndarray:
            of_table = at_cache_line(np.zeros, size_of_table, np.dtype(np.float32))
            backward_by_query(first, last, *arguments, of_table)
            return of_table

        tables = run_in_threads(of_queries, runs, work_of(runs, sizes))
        bias = steps_of(sum(tables), inputs.bias, runs.window) if size_of_table else None
        if needed is None or needed.key or needed.value:
            runs = runs_of(band_of(plan.graph), sizes.kv_heads, RUN, is_by_key=True)
            added = table_of(inputs.bias, runs.window, is_by_key=True)
            arguments = (*arguments_of(plan, inputs, sizes, runs, added), *given, *as_results(key, value))
            run_in_threads(lambda *part: backward_by_key(*part, *arguments), runs, work_of(runs, sizes))
        return Inputs(query, key, value, bias)


def band_of(graph: Graph) -> BandedGraph:
    """A complete graph as a band that reaches from the last query to the first key and from the first to the last."""
    if isinstance(graph, BandedGraph):
        return graph
    num_queries, num_keys = zip(*graph.sizes)
    return graph.remember("as a band", lambda: BandedGraph(num_queries, None, None, num_keys=num_keys))


def arguments_of(plan: Plan, inputs: Inputs, sizes: Sizes, runs: Runs, added: Tensor) -> tuple:
    """What all loops share."""
    tensors = as_arrays(added, *inputs[:3])
    heads_added = 0 if inputs.bias is None else added.size(0)
    return (*runs[:3], tensors[0], heads_added, *tensors[1:], *sizes[:4], np.float32(plan.scale))


def as_arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [flat(x, torch.float32) for x in tensors]


def as_results(*tensors: Tensor) -> list[np.ndarray]:
    return [writable(x, torch.float32) for x in tensors]


def table_of(bias: Tensor | None, window: int, is_by_key: bool = False) -> Tensor:
    """What is added to scores, [heads or 1, MARGIN + window + 1 + MARGIN], in the order in which it stands in lanes.

    A bias goes from the first key of a query to its last; the queries of neighbouring lanes see one key in the other order.
    """
    from graphattn.kernels.banded_cpu_loops import MARGIN

    steps = torch.zeros(1, window + 1, device="cpu") if bias is None else bias.detach().float().T
    return torch.nn.functional.pad(steps if is_by_key else steps.flip(1), (MARGIN, MARGIN), value=-torch.inf)


def steps_of(table: np.ndarray, bias: Tensor, window: int) -> Tensor:
    """The way back for a gradient, [window + 1, heads or 1]."""
    from graphattn.kernels.banded_cpu_loops import MARGIN

    return torch.from_numpy(table).view(bias.size(1), -1)[:, MARGIN : MARGIN + window + 1].flip(1).T


def work_of(runs: Runs, sizes: Sizes) -> int:
    """Multiplications of one pass, roughly."""
    return runs.num_lanes * (runs.window + 1) * sizes.heads * (sizes.dim + sizes.value_dim)
