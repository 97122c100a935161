"""Which kernel runs: the first of KERNELS that can, and that is not known to be slower than a later one."""

from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, Graph
from graphattn.kernels.cuda.cudnn_cuda import CudnnCuda
from graphattn.kernels.cuda.edges_cuda import EdgesCuda, why_not_triton
from graphattn.kernels.cuda.efficient_cuda import EfficientCuda
from graphattn.kernels.cuda.flash_cuda import FlashCuda
from graphattn.kernels.cuda.flex import Flex
from graphattn.kernels.finite import AreFinite
from graphattn.kernels.fused.banded_torch import BandedTorch
from graphattn.kernels.fused.dense import Dense
from graphattn.kernels.fused.grid import Grid
from graphattn.kernels.fused.sdpa import Sdpa, is_causal
from graphattn.kernels.fused.tiled import Tiled
from graphattn.kernels.kernel import Inputs, Kernel, Plan, count_edges
from graphattn.kernels.native.banded_cpu import BandedCpu
from graphattn.kernels.native.edges_cpu import EdgesCpu
from graphattn.kernels.native.library import why_not_native
from graphattn.kernels.plain.edges_torch import EdgesTorch
from graphattn.kernels.plain.reference import Reference

# Fastest first, but for what `why_slow` says; 'reference' is for tests.
KERNELS: list[Kernel] = [
    Sdpa(), BandedCpu(), BandedTorch(), Grid(), Dense(), EdgesCpu(), CudnnCuda(), FlashCuda(), EfficientCuda(), Flex(), EdgesCuda(),
    EdgesTorch(), Reference(),
]  # fmt: skip

OWN = tuple(KERNELS)

# Tiles are computed whole, by 'edges_cpu' the edges alone but each at a higher price. Forward and training, ms, float32, two
# cores; times vary by 20 % from run to run. BandedGraph(8192, window, window), with steps of 4, and 140 examples of 20 ... 99
# nodes, on a machine with AVX-512:
#   window                       2         4         8        16        32    4 by 4   16 by 4  ragged 10
#   share of tiles            0.14      0.22      0.35      0.51      0.67      0.22      0.51       0.23
#   8 heads of 64 banded_cpu   9 43     12 47     10 49     11 47    13  64     11 51    14  54      9 45
#               banded_torch  18 56     22 65     16 55     15 58    18  84    37 134    38 113     17 68
#                  edges_cpu   9 30     15 39     15 56     18 73    29 143     13 43    23  77     12 50
#   8 heads of 16 banded_cpu 2.9 12    3.2 12    3.5 15    4.6 15   5.8  20    3.3 14   4.1  17    2.9 15
#               banded_torch 5.1 17    6.4 19    5.0 19    7.6 19   8.3  25   11.0 36  10.8  37    6.7 28
#                  edges_cpu 3.3 10    4.7 14    5.9 19    9.5 24  15.4  41    4.6 14   8.1  26    5.1 18
# 'banded_torch' on an AMD EPYC:
#   window                              8        16        32        64   16 by 4   64 by 4
#   share of tiles                   0.35      0.51      0.67      0.80      0.50      0.79
#   8 heads of 64 banded_torch      25 64     23 99    37 122    53 224
#                    edges_cpu      19 52     23 99    40 151    67 302
#   8 heads of 16 banded_torch      15 46     16 62              26  77     28 79    44 132
#                    edges_cpu      13 36     16 53              35 126     15 45    39 114
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
LEAST_SHARE_OF_TILES = {"banded_cpu": 0.25, "banded_torch": 0.5, "grid": 0.55, "dense": 0.35}
LEAST_SHARE_OF_DILATED_BANDS = 0.85
LEAST_SHARE_WITH_BIAS = 0.25  # by offset, which 'edges_cpu' is given edge by edge
# 'edges_cpu' keeps edges x heads numbers twice in training, tiles do not: where these are more than so many, and more than
# the queries themselves, tiles run all the same.
MOST_NUMBERS_OF_EDGES = 2**25
# A call is slower to prepare than one of 'edges_cpu', by the time of about so many scores (8 x 8 nodes, reach 2: 490 us
# against 210, the first time 1.8 ms against 0.5).
AREA_OF_A_CALL = 2**13
# 'sdpa' makes one call for each size of the examples, 'edges_cpu' one for all of them, which costs as much as a few of
# those and then more for each edge. Forward and training, ms, two cores of an AMD EPYC, 4 heads of 16, 64 examples of 8..15
# nodes, 10..30, 1..60, 1..100, 16 of 50..200, 4 of 100..300 (in float32, before 'banded_cpu' took them; others go by it):
#   sizes            8        21         60         64         16          4
#   edges        8,100    26,595     76,961    214,423    284,000    181,845
#   sdpa       0.9 3.4   2.1 5.4   5.6 15.0   6.9 19.9   4.7 10.9   1.8  5.6
#   edges_cpu  0.6 2.3   1.1 3.5   2.4  9.9   5.9 19.6   7.9 22.5   5.2 16.9
CALLS_OF_EDGES, EDGES_OF_A_CALL = 4, 4000
# In float32 'banded_cpu' computes examples of all sizes at once, and of causal graphs the lower half alone. Forward and
# training, ms, two cores, 8 heads of 64, complete and causal graphs of 64 examples of 8..15 nodes, 10..30, 1..60, 5..512, 16 of
# 50..200, 4 of 100..300, 32 of 128, one of 1000 (with AVX-512; with AVX2 the ratios are the same):
#   sizes                      8       21       60        64       16      4       32        1
#   complete sdpa        4.4  13  9.3  25  12   32  113  445  6.3  18  3.0  9  10.1  34  13.0  33
#            banded_cpu  2.8  11  2.8  15   4   18   78  420  4.4  18  2.2 10   8.3  38  11.7  41
#            edges_cpu   2.2   8  4.7  16   7   28  342 1735  12   44  7.2 28   26  110  66.8 252
#   causal   sdpa        4.2  12  7.3  25  12   27  138  397  8.0  24  3.6 11  11.6  28   8.5  28
#            banded_cpu  2.0   9  2.9  13   4   15   56  233  3.9  17  2.0  8   7.5  27   6.6  24
#            edges_cpu   1.7   6  3.3  12   6   16  185 1085  7.6  31  5.0 17  16.9  54  29.9 106
LEAST_LONG_CAUSAL = 100
# 'flash_cuda' computes tiles of 128 x 64 or more, 'edges_cuda' the edges alone. Forward and training, ms, bfloat16, an H200,
# BandedGraph(2**18, window, window):
#   window                          1           4          16          64
#   8 heads of 64 flash_cuda  2.61 5.60   2.67 5.61   2.64 5.59   2.73  5.59
#                 edges_cuda  0.65 1.73   1.03 2.88   2.42 7.27   8.00 25.42
#   4 heads of 16 flash_cuda  0.60 1.73   0.65 1.77   0.66 1.75
#                 edges_cuda  0.21 1.17   0.33 1.35   0.45 1.50
LEAST_KEYS = 24  # that a query sees, on average


def register_kernel(kernel: Kernel, before: str | None = None) -> None:
    """Puts a kernel of your own into the order in which they are asked, for this process.

    Args:
        kernel: An object of a subclass of `Kernel`, with a `name` that no other has.
        before: Name of the kernel that it stands before, as the faster one; by default before all.

    Raises:
        TypeError: if it is no kernel.
        ValueError: if its name is taken, or no kernel is named `before`.
    """
    if not isinstance(kernel, Kernel):
        raise TypeError(f"'kernel' must be an object of a subclass of Kernel (got {kernel!r})")
    names = [known.name for known in KERNELS]
    if not isinstance(getattr(kernel, "name", None), str) or kernel.name in (*names, "edges"):
        raise ValueError(
            f"a kernel needs a name of its own, other than {names} (got {getattr(kernel, 'name', None)!r})"
        )
    if before is not None and before not in names:
        raise ValueError(f"'before' must be one of {names} (got {before!r})")
    KERNELS.insert(0 if before is None else names.index(before), kernel)


def remove_kernel(name: str) -> None:
    """Takes a kernel that `register_kernel` put in out of the order.

    Raises:
        ValueError: if none of that name was registered.
    """
    found = [kernel for kernel in KERNELS if kernel.name == name and kernel not in OWN]
    if not found:
        raise ValueError(f"no kernel of that name was registered (got {name!r})")
    KERNELS.remove(found[0])


class Choice(NamedTuple):
    """The kernel that runs, and for every kernel before it in the order the sentence that says why not."""

    kernel: str
    refusals: dict[str, str]


def is_called(kernel: Kernel, name: str | None) -> bool:
    """'edges' names the first of the family 'edges_cpu', 'edges_torch', ... that runs."""
    return name is None or name in (kernel.name, kernel.name.split("_")[0])


def why_not_unasked(kernel: Kernel, inputs: Inputs) -> str | None:
    """The sentence that says why a kernel waits to be asked for by its own name, None if it does not."""
    if isinstance(kernel, EdgesCuda) and inputs.query.device.type == "cpu":
        return "'edges_cuda' runs on CUDA (got cpu); on CPU only if asked for by name, interpreted, for tests"
    if isinstance(kernel, Flex):
        # On an H200 a grid of 256 x 256 nodes, reach 3, 4 heads of 32, takes it 0.81 and 3.48 ms (edges_cuda: 0.26, 1.23), a
        # band of 2**17 nodes, 64 steps of 2 each side, 8 heads of 64, 1.08 and 6.61 (flash_cuda: 1.70, 4.22).
        return "'flex' runs only if asked for by name: others train faster, and it compiles for every graph"
    return None


def why_slow(kernel: Kernel, plan: Plan, inputs: Inputs) -> str | None:
    """The sentence that says why a later kernel is faster, None if it is not."""
    if isinstance(kernel, FlashCuda) and inputs.query.device.type == "cuda":
        return why_few_keys(kernel, plan.graph)
    if isinstance(kernel, Sdpa) and inputs.query.device.type == "cpu":
        return why_many_calls(kernel, plan.graph, inputs.query.dtype)
    if isinstance(kernel, BandedCpu | Tiled) and isinstance(plan.graph, kernel.graph_kind):
        return why_empty_tiles(kernel, plan, inputs.query)
    return None


def why_many_calls(kernel: Sdpa, graph: Graph, dtype: torch.dtype) -> str | None:
    """The sentence that says why 'sdpa' is slower than loops: examples of many sizes, long causal ones."""
    if not (isinstance(graph, CompleteGraph) or is_causal(graph)) or why_not_native() is not None:
        return None
    calls = graph.remember("calls of sdpa", lambda: kernel.num_calls(graph))
    if dtype == torch.float32:
        if calls > CALLS_OF_EDGES:
            return f"'sdpa' is slower than loops on examples of many sizes (got {calls} sizes)"
        longest = graph.remember("most queries", lambda: max((queries for queries, _ in graph.sizes), default=0))
        if isinstance(graph, BandedGraph) and longest >= LEAST_LONG_CAUSAL:
            return f"'sdpa' is slower than loops on causal graphs of {LEAST_LONG_CAUSAL} nodes or more (got {longest})"
        return None
    if count_edges(graph) >= EDGES_OF_A_CALL * (calls - CALLS_OF_EDGES):
        return None
    edges = count_edges(graph)
    return f"'sdpa' is slower than edges on small examples of many sizes (got {calls} sizes, {edges} edges)"


def why_few_keys(kernel: FlashCuda, graph: Graph) -> str | None:
    """The sentence that says why 'flash_cuda' is slower than edges: few keys for each query."""
    is_known = isinstance(graph, CompleteGraph | BandedGraph)  # how many edges there are, without laying them out
    if not is_known or count_edges(graph) >= LEAST_KEYS * graph.num_queries or why_not_triton() is not None:
        return None
    return (
        f"'{kernel.name}' is slower than edges where a query sees less than {LEAST_KEYS} keys on average"
        f" (got {count_edges(graph) / graph.num_queries:.1f})"
    )


def why_empty_tiles(kernel: BandedCpu | Tiled, plan: Plan, query: Tensor) -> str | None:
    """The sentence that says why tiles are slower than edges: too few edges in them."""
    graph, least = plan.graph, least_share(kernel, plan)
    share = graph.remember(f"share of tiles of {kernel.name}", lambda: share_of_tiles(kernel, graph))
    if share >= least or count_edges(graph) * query.size(1) > max(MOST_NUMBERS_OF_EDGES, query.numel()):
        return None
    return f"'{kernel.name}' is slower than edges that fill less than {least:.0%} of its tiles (got {share:.0%})"


def least_share(kernel: BandedCpu | Tiled, plan: Plan) -> float:
    """Of the tiles that must be edges for tiles to be worth it."""
    least = LEAST_SHARE_OF_TILES[kernel.name]
    if plan.bias_by_offset or why_not_native() is not None:
        return min(least, LEAST_SHARE_WITH_BIAS)
    is_dilated = isinstance(kernel, BandedTorch) and plan.graph.dilation > 1
    return LEAST_SHARE_OF_DILATED_BANDS if is_dilated else least


def share_of_tiles(kernel: BandedCpu | Tiled, graph: Graph) -> float:
    """Edges as a share of the scores that the kernel computes, and of those it could compute while it prepares its calls."""
    return count_edges(graph) / max(1, kernel.area_of_tiles(graph) + AREA_OF_A_CALL * kernel.num_calls(graph))


def select(
    plan: Plan, inputs: Inputs, name: str | None = None, is_finite: bool | None = None
) -> tuple[Kernel, dict[str, str]]:
    """The kernel for one part, and why the others before it refuse.

    `is_finite` says whether keys and values are; None: they are looked at where a kernel must know. On CPU the graph remembers
    the answer to what it was asked before: for a small graph the question takes as long as the loops.
    """
    has_others = len(KERNELS) > len(OWN)  # which may look at anything
    if is_finite is None or has_others or inputs.query.device.type != "cpu":
        return first_that_runs(plan, inputs, name, is_finite)
    if plan.memory is not None:
        return plan.remember(("kernel", name, is_finite), lambda: first_that_runs(plan, inputs, name, is_finite))
    if name is not None:
        return first_that_runs(plan, inputs, name, is_finite)
    asked = "kernel", is_finite, *facts_of(plan, inputs)
    return plan.graph.remember(asked, lambda: first_that_runs(plan, inputs, None, is_finite))


def facts_of(plan: Plan, inputs: Inputs) -> tuple:
    """All that kernels of this package look at beside the graph to say whether they run; no numbers of tensors."""
    query, key, value, *per_edge, _ = inputs
    options = plan.score.name, plan.normalizer.name, plan.dropout > 0, plan.bias_by_offset
    return (*options, query.dtype, query.shape, key.shape, value.shape, *(x is None for x in per_edge))


def first_that_runs(
    plan: Plan, inputs: Inputs, name: str | None, is_finite: bool | None
) -> tuple[Kernel, dict[str, str]]:
    candidates = [kernel for kernel in KERNELS if is_called(kernel, name)]
    if not candidates:
        raise ValueError(f"'kernel' must be one of {[kernel.name for kernel in KERNELS]} or 'edges' (got {name!r})")
    refusals = {}
    for kernel in candidates:
        reason = why_not_unasked(kernel, inputs) if name != kernel.name else None
        if name is None and reason is None:
            reason = why_slow(kernel, plan, inputs)
        reason = reason or kernel.why_not(plan, inputs)
        if reason is None and kernel.spreads_nan(plan):
            is_finite = AreFinite(inputs.key, inputs.value).answer() if is_finite is None else is_finite
            if not is_finite:
                reason = f"'{kernel.name}' would spread NaN and infinity of hidden keys over queries near them"
        if reason is None:
            return kernel, refusals
        refusals[kernel.name] = reason
    raise ValueError(f"no kernel named {name!r} can run this: " + "; ".join(refusals.values()))
