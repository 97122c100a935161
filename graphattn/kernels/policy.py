"""Where a kernel that could run waits: for its name, or because a later kernel is faster. The numbers are in `crossovers.json`."""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from graphattn.graphs import BandedGraph, Graph
from graphattn.kernels.crossovers import CROSSOVERS
from graphattn.kernels.cuda.edges_cuda import why_not_triton
from graphattn.kernels.facts import DEVICES
from graphattn.kernels.kernel import Inputs, Kernel, Plan, count_edges
from graphattn.kernels.native.library import why_not_native


def why_wait(kernel: Kernel, plan: Plan, inputs: Inputs, name: str | None) -> str | None:
    """The sentence that says what a kernel waits for, None if for nothing. `name` is what was asked for."""
    if name == kernel.name:
        return None
    device = inputs.query.device.type
    if device in kernel.only_by_name:
        return f"'{kernel.name}' runs on {DEVICES.get(device, device)} only if asked for by name: {kernel.only_by_name[device]}"
    ask = POLICY.get(kernel.name) if name is None else None
    if ask is None or device not in (kernel.devices or (device,)) or not kernel.has_graph(plan.graph):
        return None
    return ask(kernel, plan, inputs)


class HasCalls(Protocol):
    """A kernel that makes a call for some part of the graph at a time."""

    name: str

    def num_calls(self, graph: Graph) -> int: ...


class HasTiles(HasCalls, Protocol):
    """A kernel that computes whole tiles, whatever edges are in them."""

    def area_of_tiles(self, graph: Graph) -> int: ...


def why_loops_are_faster(kernel: HasCalls, plan: Plan, inputs: Inputs) -> str | None:
    """The sentence that says why torch's attention is slower than loops: all but float64, and there few edges for its calls."""
    if why_not_native() is not None:
        return None
    graph, dtype = plan.graph, inputs.query.dtype
    if dtype != torch.float64:
        return f"'{kernel.name}' is slower than loops in {str(dtype).removeprefix('torch.')}"
    calls = graph.remember(f"calls of {kernel.name}", lambda: kernel.num_calls(graph))
    edges, least = count_edges(graph), CROSSOVERS.edges_of_a_call * calls
    if edges >= least:
        return None
    return f"'{kernel.name}' is slower than loops over less than {least} edges in {calls} calls (got {edges})"


def why_few_keys(kernel: Kernel, plan: Plan, inputs: Inputs) -> str | None:
    """The sentence that says why tiles are slower than edges on CUDA: few keys for each query."""
    graph, least = plan.graph, CROSSOVERS.least_keys
    if count_edges(graph) >= least * graph.num_queries or why_not_triton() is not None:
        return None
    return (
        f"'{kernel.name}' is slower than edges where a query sees less than {least} keys on average"
        f" (got {count_edges(graph) / graph.num_queries:.1f})"
    )


def why_empty_tiles(kernel: HasTiles, plan: Plan, inputs: Inputs) -> str | None:
    """The sentence that says why tiles are slower than edges: too few edges in them."""
    graph, query, least = plan.graph, inputs.query, least_share(kernel.name, plan, inputs)
    share = graph.remember(f"share of tiles of {kernel.name}", lambda: share_of_tiles(kernel, graph))
    most_numbers = max(CROSSOVERS.most_numbers_of_edges, query.numel())
    if share >= least or count_edges(graph) * query.size(1) > most_numbers:
        return None
    return f"'{kernel.name}' is slower than edges that fill less than {least:.0%} of its tiles (got {share:.0%})"


def least_share(kernel: str, plan: Plan, inputs: Inputs) -> float:
    """Of the tiles that must be edges for tiles to be worth it."""
    least = CROSSOVERS.least_share_of_tiles[kernel]
    if inputs.bias_by_offset is not None or why_not_native() is not None:
        return min(least, CROSSOVERS.least_share_with_bias)
    if inputs.query.dtype is torch.bfloat16 and kernel in CROSSOVERS.least_share_in_bfloat16:
        return CROSSOVERS.least_share_in_bfloat16[kernel]
    is_dilated = isinstance(plan.graph, BandedGraph) and plan.graph.dilation > 1
    return CROSSOVERS.least_share_of_dilated_tiles.get(kernel, least) if is_dilated else least


def share_of_tiles(kernel: HasTiles, graph: Graph) -> float:
    """Edges as a share of the scores that the kernel computes, and of those it could compute while it prepares its calls."""
    return count_edges(graph) / max(
        1, kernel.area_of_tiles(graph) + CROSSOVERS.area_of_a_call * kernel.num_calls(graph)
    )


# By the name of a kernel: asked where its device and graph are the kernel's. Others wait for nothing.
POLICY: dict[str, Callable[[Any, Plan, Inputs], str | None]] = {
    "sdpa": why_loops_are_faster,
    "banded_cpu": why_empty_tiles,
    "banded_torch": why_empty_tiles,
    "grid_cpu": why_empty_tiles,
    "grid": why_empty_tiles,
    "dense": why_empty_tiles,
    "flash_cuda": why_few_keys,
}
