"""A table of graphs, dtypes and options, and the kernel that each is given: it changes with new measurements alone."""

from contextlib import nullcontext

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GridGraph, causal
from graphattn.kernels.choose import select
from graphattn.kernels.cuda.edges_cuda import why_not_triton
from graphattn.kernels.native.library import why_not_native
from graphattn.nn import ALiBi
from graphattn.running.arguments import Options, prepare

HEADS, DIM = 8, 16


def random_edges(share):
    """This share of the pairs of 256 nodes."""
    chosen = torch.rand(256, 256, generator=torch.Generator().manual_seed(0)) < share
    return EdgeListGraph(chosen.nonzero().T.contiguous(), 256)


MANY_SIZES = list(range(5, 13))
GRAPHS = {
    "complete 1": CompleteGraph(1),
    "complete 1000": CompleteGraph(1000),
    "complete 7 x 9": CompleteGraph(7, 9),
    "complete of many small sizes": CompleteGraph(MANY_SIZES),
    "complete of many sizes": CompleteGraph([10 * size for size in MANY_SIZES]),
    "complete of one small size": CompleteGraph([10] * 30),
    "complete of one size": CompleteGraph([30] * 10),
    "causal 99": causal(99),
    "causal 100": causal(100),
    "causal 9, 150": causal([9, 150]),
    "causal of many small sizes": causal(MANY_SIZES),
    "lower right causal": BandedGraph(200, None, 0, num_keys=300, offset=100),
    "moved band": BandedGraph(300, 2, 0, offset=9),
    "ragged band": BandedGraph([5, 6, 7, 90], 1, 1),
    "band of 1": BandedGraph(600, 1, 1),
    "band of 2": BandedGraph(600, 2, 2),
    "band of 8": BandedGraph(600, 8, 8),
    "band of 16": BandedGraph(600, 16, 16),
    "band of 64": BandedGraph(600, 64, 64),
    "dilated band of 8": BandedGraph(2000, 8, 8, dilation=4),
    "dilated band of 64": BandedGraph(2000, 64, 64, dilation=4),
    "dilated band of 200": BandedGraph(2000, 200, 200, dilation=4),
    "grid, reach 1": GridGraph((24, 24), 1),
    "grid, reach 8": GridGraph((24, 24), 8),
    "grid, reach 16": GridGraph((24, 24), 16),
    "volume": GridGraph((9, 9, 9), 2),
    "grids": GridGraph([(9, 9), (4, 5)], 2),
    "grid, groups of 2 x 2": GridGraph.natten((24, 24), 8, 2),
    "grid, groups of 8 x 8": GridGraph.natten((24, 24), 8, 8),
    "video": GridGraph.natten((6, 12, 12), (3, 7, 7), is_causal=(True, False, False)),
    "edges 0.05": random_edges(0.05),
    "edges 0.3": random_edges(0.3),
    "edges 0.5": random_edges(0.5),
    "edges 0.7": random_edges(0.7),
    "repeated edges": EdgeListGraph(torch.arange(40).repeat(2, 20), 40),
}

# The columns are those of ASKED.
TABLE = {
    "complete 1":                   "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    efficient_cuda edges_cuda",
    "complete 1000":                "banded_cpu sdpa         banded_cpu   banded_cpu dense        efficient_cuda flash_cuda",
    "complete 7 x 9":               "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    efficient_cuda edges_cuda",
    "complete of many small sizes": "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    efficient_cuda edges_cuda",
    "complete of many sizes":       "banded_cpu sdpa         banded_cpu   banded_cpu dense        efficient_cuda flash_cuda",
    "complete of one small size":   "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    efficient_cuda edges_cuda",
    "complete of one size":         "banded_cpu sdpa         banded_cpu   banded_cpu dense        efficient_cuda flash_cuda",
    "causal 99":                    "banded_cpu edges_cpu    banded_cpu   banded_cpu edges_cpu    efficient_cuda flash_cuda",
    "causal 100":                   "banded_cpu edges_cpu    banded_cpu   banded_cpu edges_cpu    efficient_cuda flash_cuda",
    "causal 9, 150":                "banded_cpu edges_cpu    banded_cpu   banded_cpu banded_torch efficient_cuda flash_cuda",
    "causal of many small sizes":   "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    efficient_cuda edges_cuda",
    "lower right causal":           "banded_cpu edges_cpu    banded_cpu   banded_cpu banded_torch edges_cuda     flash_cuda",
    "moved band":                   "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    edges_cuda     edges_cuda",
    "ragged band":                  "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    edges_cuda     edges_cuda",
    "band of 1":                    "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    edges_cuda     edges_cuda",
    "band of 2":                    "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    edges_cuda     edges_cuda",
    "band of 8":                    "banded_cpu edges_cpu    banded_cpu   banded_cpu banded_torch edges_cuda     edges_cuda",
    "band of 16":                   "banded_cpu edges_cpu    banded_cpu   banded_cpu banded_torch edges_cuda     flash_cuda",
    "band of 64":                   "banded_cpu banded_torch banded_cpu   banded_cpu banded_torch edges_cuda     flash_cuda",
    "dilated band of 8":            "banded_cpu edges_cpu    banded_cpu   banded_cpu banded_torch edges_cuda     edges_cuda",
    "dilated band of 64":           "banded_cpu edges_cpu    banded_cpu   banded_cpu banded_torch edges_cuda     flash_cuda",
    "dilated band of 200":          "banded_cpu edges_cpu    banded_cpu   banded_cpu banded_torch edges_cuda     flash_cuda",
    "grid, reach 1":                "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    edges_cuda     edges_cuda",
    "grid, reach 8":                "edges_cpu  edges_cpu    edges_cpu    grid       grid         edges_cuda     edges_cuda",
    "grid, reach 16":               "grid       grid         grid         grid       grid         edges_cuda     edges_cuda",
    "volume":                       "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    edges_cuda     edges_cuda",
    "grids":                        "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    edges_cuda     edges_cuda",
    "grid, groups of 2 x 2":        "edges_cpu  edges_cpu    edges_cpu    grid       grid         edges_cuda     edges_cuda",
    "grid, groups of 8 x 8":        "grid_cpu   grid         grid_cpu     grid       grid         edges_cuda     edges_cuda",
    "video":                        "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    edges_cuda     edges_cuda",
    "edges 0.05":                   "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    -              -",
    "edges 0.3":                    "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    -              -",
    "edges 0.5":                    "edges_cpu  edges_cpu    dense        edges_cpu  edges_cpu    -              -",
    "edges 0.7":                    "dense      dense        dense        edges_cpu  edges_cpu    -              -",
    "repeated edges":               "edges_cpu  edges_cpu    edges_cpu    edges_cpu  edges_cpu    -              -",
}  # fmt: skip


def chosen(graph, dtype, device="cpu", **options):
    shapes = [(count, HEADS, DIM) for count in (graph.num_queries, graph.num_keys, graph.num_keys)]
    with FakeTensorMode() if device == "cuda" else nullcontext():  # so that no GPU is needed
        tensors = [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]
    plan, inputs, _ = prepare(*tensors, graph, Options(**options))
    return select(plan, inputs, None, is_finite=True).name


def on_cuda(graph, dtype):
    """Edge lists would have to lie there."""
    return "-" if isinstance(graph, EdgeListGraph) else chosen(graph, dtype, "cuda")


ASKED = {
    "float32": lambda graph: chosen(graph, torch.float32),
    "float64": lambda graph: chosen(graph, torch.float64),
    "bfloat16": lambda graph: chosen(graph, torch.bfloat16),
    "ALiBi": lambda graph: chosen(graph, torch.float32, bias=ALiBi(HEADS)),
    "ALiBi in float64": lambda graph: chosen(graph, torch.float64, bias=ALiBi(HEADS)),
    "float32 on CUDA": lambda graph: on_cuda(graph, torch.float32),
    "bfloat16 on CUDA": lambda graph: on_cuda(graph, torch.bfloat16),
}


@pytest.mark.skipif(why_not_native() is not None, reason=str(why_not_native()))
@pytest.mark.skipif(why_not_triton() is not None, reason=str(why_not_triton()))
@pytest.mark.parametrize("name", GRAPHS)
def test_the_same_kernels_as_ever(name):
    assert [ask(GRAPHS[name]) for ask in ASKED.values()] == TABLE[name].split()
    assert chosen(GRAPHS[name], torch.float32, dropout=0.1) == "edges_cpu"
    assert chosen(GRAPHS[name], torch.float32, normalizer="sparsemax") == "edges_torch"
