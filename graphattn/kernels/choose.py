"""Which kernel runs: the first of KERNELS that can, and that is not known to be slower than a later one."""

from typing import NamedTuple

from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, Graph
from graphattn.kernels.banded import Banded
from graphattn.kernels.cudnn_cuda import CudnnCuda
from graphattn.kernels.dense import Dense
from graphattn.kernels.edges_cpu import EdgesCpu, why_not_compiled
from graphattn.kernels.edges_cuda import EdgesCuda, why_not_triton
from graphattn.kernels.edges_torch import EdgesTorch
from graphattn.kernels.efficient_cuda import EfficientCuda
from graphattn.kernels.finite import AreFinite
from graphattn.kernels.flash_cuda import FlashCuda
from graphattn.kernels.flex import Flex
from graphattn.kernels.grid import Grid
from graphattn.kernels.kernel import Inputs, Kernel, Plan, count_edges
from graphattn.kernels.reference import Reference
from graphattn.kernels.sdpa import Sdpa, is_causal
from graphattn.kernels.tiled import Tiled

# Fastest first, but for what `why_slow` says; 'reference' is for tests.
KERNELS: tuple[Kernel, ...] = (
    Sdpa(), Banded(), Grid(), Dense(), EdgesCpu(), CudnnCuda(), FlashCuda(), EfficientCuda(), Flex(), EdgesCuda(),
    EdgesTorch(), Reference(),
)  # fmt: skip

# Tiles are computed whole, by 'edges_cpu' the edges alone but each at a higher price. Forward and training, ms, float32, two
# cores; times vary by 20 % from run to run. BandedGraph(8192, window, window), and with steps of 4:
#   window                     8           16           32           64     16 by 4      64 by 4
#   share of tiles          0.35         0.51         0.67         0.80        0.50         0.79
#   8 heads of 64 banded  25  64       23  99      37  122      53  224
#              edges_cpu  19  52       23  99      40  151      67  302
#   8 heads of 16 banded  15  46       16  62                   26   77      28  79      44  132
#              edges_cpu  13  36       16  53                   35  126      15  45      39  114
# Grids, which must gather the keys of each tile (8 heads of 64, others 4 of 32):
#   sides, reach    128 x 128, 3          5         7          12    64 x 64, 7 (8 of 64)   24^3, 2         3
#   share of tiles          0.24       0.36      0.44        0.55          0.41          0.21      0.27
#   grid                  55 152     71 208   109 319     136 509        57 209       119 318   147 630
#   edges_cpu             24  74     40 110    66 237     104 509        42 155        35  95    52 211
# Random edges that are this share of all pairs of 2048 nodes:
#   share                    0.1       0.2       0.3       0.4       0.5
#   8 heads of 16 dense   54 163    58 158    51 156    52 154    47 159
#             edges_cpu   21  65    29 128    37 150    49 172    48 217
#   8 heads of 64 dense   96 334   112 323    99 341   110 328    95 321
#             edges_cpu   35 123    74 238    89 323   115 379   130 420
LEAST_SHARE_OF_TILES = {"banded": 0.5, "grid": 0.55, "dense": 0.35}
LEAST_SHARE_OF_DILATED_BANDS = 0.85
LEAST_SHARE_WITH_BIAS = 0.25  # by offset, which 'edges_cpu' is given edge by edge
# 'edges_cpu' keeps edges x heads numbers twice in training, tiles do not: where these are more than so many, and more than
# the queries themselves, tiles run all the same.
MOST_NUMBERS_OF_EDGES = 2**25
# A call is slower to prepare than one of 'edges_cpu', by the time of about so many scores (8 x 8 nodes, reach 2: 490 us
# against 210, the first time 1.8 ms against 0.5).
AREA_OF_A_CALL = 2**13
# 'sdpa' makes one call for each size of the examples, 'edges_cpu' one for all of them, which costs as much as a few of
# those and then more for each edge. Forward and training, ms, float32, two cores, 4 heads of 16, 64 examples of 8..15
# nodes, 10..30, 1..60, 1..100, 16 of 50..200, 4 of 100..300:
#   sizes            8        21         60         64         16          4
#   edges        8,100    26,595     76,961    214,423    284,000    181,845
#   sdpa       0.9 3.4   2.1 5.4   5.6 15.0   6.9 19.9   4.7 10.9   1.8  5.6
#   edges_cpu  0.6 2.3   1.1 3.5   2.4  9.9   5.9 19.6   7.9 22.5   5.2 16.9
CALLS_OF_EDGES, EDGES_OF_A_CALL = 4, 4000
# 'flash_cuda' computes tiles of 128 x 64 or more, 'edges_cuda' the edges alone. Forward and training, ms, bfloat16, an H200,
# BandedGraph(2**18, window, window):
#   window                          1           4          16          64
#   8 heads of 64 flash_cuda  2.61 5.60   2.67 5.61   2.64 5.59   2.73  5.59
#                 edges_cuda  0.65 1.73   1.03 2.88   2.42 7.27   8.00 25.42
#   4 heads of 16 flash_cuda  0.60 1.73   0.65 1.77   0.66 1.75
#                 edges_cuda  0.21 1.17   0.33 1.35   0.45 1.50
LEAST_KEYS = 24  # that a query sees, on average


class Choice(NamedTuple):
    """The kernel that runs, and for every kernel before it in the order the sentence that says why not."""

    kernel: str
    refusals: dict[str, str]


def is_called(kernel: Kernel, name: str | None) -> bool:
    """'edges' names the fastest of the family 'edges_cpu', 'edges_torch', ... that runs."""
    return name is None or name in (kernel.name, kernel.name.split("_")[0])


def why_slow(kernel: Kernel, plan: Plan, inputs: Inputs) -> str | None:
    """The sentence that says why a later kernel is faster, None if it is not; one asked for by name runs anyway."""
    if isinstance(kernel, EdgesCuda) and inputs.query.device.type == "cpu":
        return "'edges_cuda' runs on CUDA (got cpu); on CPU only if asked for by name, interpreted, for tests"
    if isinstance(kernel, Flex):
        # On an H200 a grid of 256 x 256 nodes, reach 3, 4 heads of 32, takes it 0.81 and 3.48 ms (edges_cuda: 0.26, 1.23), a
        # band of 2**17 nodes, 64 steps of 2 each side, 8 heads of 64, 1.08 and 6.61 (flash_cuda: 1.70, 4.22).
        return "'flex' runs only if asked for by name: others train faster, and it compiles for every graph"
    if isinstance(kernel, FlashCuda) and inputs.query.device.type == "cuda":
        return why_few_keys(kernel, plan.graph)
    if isinstance(kernel, Sdpa) and inputs.query.device.type == "cpu":
        return why_many_calls(kernel, plan.graph)
    if isinstance(kernel, Tiled) and isinstance(plan.graph, kernel.graph_kind):
        return why_empty_tiles(kernel, plan, inputs.query)
    return None


def why_many_calls(kernel: Sdpa, graph: Graph) -> str | None:
    """The sentence that says why 'sdpa' is slower than edges: small examples of many sizes."""
    if not (isinstance(graph, CompleteGraph) or is_causal(graph)):
        return None
    calls = graph.remember("calls of sdpa", lambda: kernel.num_calls(graph))
    if count_edges(graph) >= EDGES_OF_A_CALL * (calls - CALLS_OF_EDGES) or why_not_compiled() is not None:
        return None
    return f"'sdpa' is slower than edges on small examples of many sizes (got {calls} sizes, {count_edges(graph)} edges)"


def why_few_keys(kernel: FlashCuda, graph: Graph) -> str | None:
    """The sentence that says why 'flash_cuda' is slower than edges: few keys for each query."""
    is_known = isinstance(graph, CompleteGraph | BandedGraph)  # how many edges there are, without laying them out
    if not is_known or count_edges(graph) >= LEAST_KEYS * graph.num_queries or why_not_triton() is not None:
        return None
    return (
        f"'{kernel.name}' is slower than edges where a query sees less than {LEAST_KEYS} keys on average"
        f" (got {count_edges(graph) / graph.num_queries:.1f})"
    )


def why_empty_tiles(kernel: Tiled, plan: Plan, query: Tensor) -> str | None:
    """The sentence that says why tiles are slower than edges: too few edges in them."""
    graph, least = plan.graph, least_share(kernel, plan)
    share = graph.remember("share of tiles", lambda: share_of_tiles(kernel, graph))
    if share >= least or count_edges(graph) * query.size(1) > max(MOST_NUMBERS_OF_EDGES, query.numel()):
        return None
    return f"'{kernel.name}' is slower than edges that fill less than {least:.0%} of its tiles (got {share:.0%})"


def least_share(kernel: Tiled, plan: Plan) -> float:
    """Of the tiles that must be edges for tiles to be worth it."""
    if plan.bias_by_offset or why_not_compiled() is not None:
        return LEAST_SHARE_WITH_BIAS
    is_dilated = isinstance(plan.graph, BandedGraph) and plan.graph.dilation > 1
    return LEAST_SHARE_OF_DILATED_BANDS if is_dilated else LEAST_SHARE_OF_TILES[kernel.name]


def share_of_tiles(kernel: Tiled, graph: Graph) -> float:
    """Edges as a share of the scores that the kernel computes, and of those it could compute while it prepares its calls."""
    return count_edges(graph) / (kernel.area_of_tiles(graph) + AREA_OF_A_CALL * kernel.num_calls(graph))


def select(
    plan: Plan, inputs: Inputs, name: str | None = None, is_finite: bool | None = None
) -> tuple[Kernel, dict[str, str]]:
    """The kernel for one part, and why the others before it refuse.

    `is_finite` says whether keys and values are; None: they are looked at where a kernel must know.
    """
    candidates = [kernel for kernel in KERNELS if is_called(kernel, name)]
    if not candidates:
        raise ValueError(f"'kernel' must be one of {[kernel.name for kernel in KERNELS]} or 'edges' (got {name!r})")
    refusals = {}
    for kernel in candidates:
        reason = why_slow(kernel, plan, inputs) if name != kernel.name else None
        reason = reason or kernel.why_not(plan, inputs)
        if reason is None and kernel.spreads_nan(plan):
            is_finite = AreFinite(inputs.key, inputs.value).answer() if is_finite is None else is_finite
            if not is_finite:
                reason = f"'{kernel.name}' would spread NaN and infinity of hidden keys over queries near them"
        if reason is None:
            return kernel, refusals
        refusals[kernel.name] = reason
    raise ValueError(f"no kernel named {name!r} can run this: " + "; ".join(refusals.values()))
