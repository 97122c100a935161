"""Bands (windows along the order of the nodes) on CPU, as loops over tiles of queries or keys; all pairs are one.

Forward, queries stand in the lanes of vectors. Backward, keys do, and what queries get from each is added to them: in turns,
so that no two threads add to one number. Where turns would leave threads without work, queries have a pass of their own.
Sums are kept in float32. A bias by offset is a table that is added where scores are, shifted from row to row.
"""

import torch
from torch import Tensor

from graphattn.formulas.offsets import longest, places_of_edges
from graphattn.graphs import BandedGraph, CompleteGraph, Graph
from graphattn.kernels.finite import AreFinite, NotFinite
from graphattn.kernels.fused.tiled import wanted_bias
from graphattn.kernels.kernel import Gradients, Inputs, Kernel, Partial, Plan, delta_of
from graphattn.kernels.native.arrays import Sizes, empty, zeros
from graphattn.kernels.native.band_runs import Runs, runs_of
from graphattn.kernels.native.bands import Bands, lanes
from graphattn.kernels.native.border import HALVES, hand_over, readable, with_whole_rows
from graphattn.kernels.native.edges_cpu import EdgesCpu
from graphattn.kernels.native.library import why_not_native
from graphattn.kernels.native.threads import count_pieces, run

WIDTH = 32  # lanes of a tile where registers are widest
LEAST_ITEMS = 8  # runs times heads of a turn, fewer of which would leave threads without work


class BandedCpu(Kernel):
    """O(num_nodes * heads * dim) memory: nothing is kept for an edge."""

    name, family = "banded_cpu", "banded"
    graphs, devices, dtypes = (BandedGraph, CompleteGraph), ("cpu",), (torch.float32, *HALVES)
    takes_bias_by_offset = takes_grouped_heads = takes_other_value_dim = finds_nan = True
    least_channels = 1

    def area_of_tiles(self, graph: Graph) -> int:
        """Scores per head that it computes, roughly and without laying out its runs."""
        band = band_of(graph)
        rows = WIDTH + band.before + band.after
        last_tiles = WIDTH * band.dilation  # of an example, mostly empty
        return sum((queries + last_tiles) * min(-(-keys // band.dilation), rows) for queries, keys in band.sizes)

    def num_calls(self, graph: Graph) -> int:
        """Calls that a small graph needs beyond those of 'edges_cpu'."""
        return 0

    def why_not_here(self, plan, inputs):
        return why_not_native()

    def spreads_nan(self, plan):
        return True

    def forward(self, plan, inputs):
        sizes, band = Sizes.of(inputs), band_of(plan.graph)
        runs = runs_of(band, lanes().longest)
        stored = inputs.query.dtype
        of_results = stored if plan.is_final else torch.float32
        out = empty((inputs.query.size(0), sizes.heads, sizes.value_dim), of_results)
        lse = empty((inputs.query.size(0), sizes.heads), torch.float32)
        tensors = tensors_of(inputs) | table_of(plan.graph, band, inputs.bias_by_offset)
        struct = struct_of(plan, inputs, sizes, runs, of_results)
        work = hand_over(struct, torch.float32, **tensors, runs=runs.numbers, out=out, lse=lse)
        run("bands_forward_f32", work, bounds_of(band, runs, sizes.heads, work_of(runs, sizes))[0])
        if work.not_finite:
            raise NotFinite
        return Partial(out, lse)

    def backward(self, plan, inputs, merged, grad):
        # In a tile 0 * NaN would reach keys that the query does not see.
        if not AreFinite(inputs.query, grad.out).answer():
            return edge_by_edge(plan, inputs, merged, grad)
        sizes, band, needed = Sizes.of(inputs), band_of(plan.graph), plan.needed
        stored, of_results = inputs.query.dtype, grad.out.dtype if grad.out.dtype in HALVES else torch.float32
        given = tensors_of(inputs) | dict(
            merged_lse=readable(merged.lse, torch.float32),
            delta=readable(delta_of(merged, grad), torch.float32),
            grad_out=readable(grad.out, of_results),
        )
        by_key = runs_of(band, lanes().longest, is_by_key=True)
        of_keys = needed is None or needed.key or needed.value
        in_turns = of_keys and len(by_key.numbers) * sizes.kv_heads >= LEAST_ITEMS * len(by_key.turns)
        make = zeros if in_turns else empty
        query = make(inputs.query.shape, torch.float32 if in_turns else stored)
        key, value = (empty(x.shape, stored) for x in inputs[1:3])
        tables = None
        if not in_turns:
            runs = runs_of(band, lanes().longest)
            [bounds] = bounds_of(band, runs, sizes.heads, work_of(runs, sizes))
            struct = struct_of(plan, inputs, sizes, runs, of_results)
            struct.grad_query_storage = struct.storage
            tables = room_for_tables(plan, inputs, struct, bounds)
            of_queries = given | table_of(plan.graph, band, inputs.bias_by_offset)
            of_queries |= dict(runs=runs.numbers, grad_query=query, grad_added=tables)
            run("bands_backward_by_query_f32", hand_over(struct, torch.float32, **of_queries), bounds)
        if of_keys:
            turns = bounds_of(band, by_key, sizes.kv_heads, work_of(by_key, sizes), in_turns)
            struct = struct_of(plan, inputs, sizes, by_key, of_results)
            given |= table_of(plan.graph, band, inputs.bias_by_offset, is_by_key=True)
            given |= dict(runs=by_key.numbers, grad_key=key, grad_value=value)
            if in_turns:
                tables = room_for_tables(plan, inputs, struct, *turns)
                given |= dict(grad_query=query, grad_added=tables)
            work = hand_over(struct, torch.float32, **given)
            for bounds in turns:
                run("bands_backward_by_key_f32", work, bounds)
        table = wanted_bias(plan, inputs)
        if tables is None or table is None:
            return Inputs(query, key, value)
        bias = steps_of(tables, rows_of_bias(plan.graph, band), table, is_by_key=in_turns)
        return Inputs(query, key, value, bias_by_offset=bias)


def edge_by_edge(plan: Plan, inputs: Inputs, merged: Partial, grad: Partial) -> Inputs | Gradients:
    """The gradients by the loops over edges, which touch no key but those that a query sees."""
    table, needed = inputs.bias_by_offset, plan.needed
    if table is None:
        return EdgesCpu().backward(plan._replace(memory=None), inputs, merged, grad)
    places = places_of_edges(plan.graph, table.device)
    if needed is not None:
        needed = needed._replace(bias=needed.bias_by_offset)
    by_edge = inputs._replace(bias=table.detach()[places], bias_by_offset=None)
    found = EdgesCpu().backward(plan._replace(memory=None, needed=needed), by_edge, merged, grad)
    summed = (
        None
        if found.bias is None
        else torch.zeros_like(table, dtype=found.bias.dtype).index_add_(0, places, found.bias)
    )
    return found._replace(bias=None, bias_by_offset=summed)


def band_of(graph: Graph) -> BandedGraph:
    """A complete graph as a band that reaches from the last query to the first key and from the first to the last."""
    if isinstance(graph, BandedGraph):
        return graph
    num_queries, num_keys = zip(*graph.sizes)
    return graph.remember("as a band", lambda: BandedGraph(num_queries, None, None, num_keys=num_keys))


def struct_of(plan: Plan, inputs: Inputs, sizes: Sizes, runs: Runs, of_results: torch.dtype) -> Bands:
    """With the dtype of what the forward pass writes, and of the gradient that the others read."""
    heads_added = 0 if inputs.bias_by_offset is None else inputs.bias_by_offset.size(1)
    num_nodes = inputs.query.size(0), inputs.key.size(0)
    struct = Bands(*sizes[:4], *num_nodes, len(runs.numbers), runs.step, runs.window, heads_added, scale=plan.scale)
    struct.storage = struct.grad_storage = HALVES.get(inputs.query.dtype, 0)
    struct.result_storage = HALVES.get(of_results, 0)
    return struct


def tensors_of(inputs: Inputs) -> dict[str, Tensor]:
    query, key, value = (with_whole_rows(x, inputs.query.dtype) for x in inputs[:3])
    return dict(query=query, key=key, value=value)


def bounds_of(band: BandedGraph, runs: Runs, heads: int, work: int, in_turns: bool = False) -> list[Tensor]:
    """Of the pieces of each turn, laid out once for a graph."""
    turns = len(runs.turns) if in_turns else 1
    pieces = count_pieces(work // max(turns, 1))

    def lay_out() -> list[Tensor]:
        with torch.device("cpu"):
            return runs.bounds(heads, pieces) if in_turns else [runs.all_bounds(heads, pieces)]

    return band.remember(("bounds", id(runs), heads, pieces, in_turns), lay_out)


def rows_of_bias(graph: Graph, band: BandedGraph) -> slice:
    """Those of `offsets_of(graph)` that the band has: an example without keys, or queries, may be the longest of all."""
    first = longest(graph)[0] - 1 - band.before if isinstance(graph, CompleteGraph) else 0
    return slice(first, first + band.before + band.after + 1)


def table_of(graph: Graph, band: BandedGraph, bias: Tensor | None, is_by_key: bool = False) -> dict[str, Tensor]:
    """What is added to scores, [heads or 1, MARGIN + window + 1 + MARGIN], in the order in which it stands in lanes.

    A bias goes from the first key of a query to its last; the queries of neighbouring lanes see one key in the other order.
    """
    margin = lanes().margin
    if bias is None:

        def lay_out() -> Tensor:
            steps = torch.zeros(band.before + band.after + 1, device="cpu")
            return readable(torch.nn.functional.pad(steps, (margin, margin), value=-torch.inf), torch.float32)

        return dict(added=band.remember(("table without a bias", margin), lay_out))
    steps = bias.detach()[rows_of_bias(graph, band)].float().T
    table = torch.nn.functional.pad(steps if is_by_key else steps.flip(1), (margin, margin), value=-torch.inf)
    return dict(added=readable(table, torch.float32))


def room_for_tables(plan: Plan, inputs: Inputs, struct: Bands, *bounds: Tensor) -> Tensor | None:
    """Zeros [pieces, heads or 1, MARGIN + window + 1 + MARGIN] for the gradient of `added`, None if nobody asks."""
    table = wanted_bias(plan, inputs)
    if table is None:
        return None
    struct.slots = max((of_turn.numel() - 1 for of_turn in bounds), default=0)
    return zeros((struct.slots, table.size(1), struct.window + 1 + 2 * lanes().margin), torch.float32)


def steps_of(tables: Tensor, rows: slice, bias: Tensor, is_by_key: bool) -> Tensor:
    """The way back for their gradient, of the size of the bias, summed in the order of the pieces."""
    found, margin = torch.zeros_like(bias, dtype=torch.float32), lanes().margin
    for table in tables[:, :, margin:-margin]:
        found[rows] += table.T if is_by_key else table.flip(1).T
    return found


def work_of(runs: Runs, sizes: Sizes) -> int:
    """Multiplications of one pass, roughly."""
    return runs.num_lanes * (runs.window + 1) * sizes.heads * (sizes.dim + sizes.value_dim)
