"""Which kernel runs: the first of KERNELS that can, and that is not known to be slower than a later one."""

from typing import NamedTuple

from graphattn.graphs import BandedGraph
from graphattn.kernels.banded import Banded
from graphattn.kernels.edges_cpu import EdgesCpu
from graphattn.kernels.edges_torch import EdgesTorch
from graphattn.kernels.kernel import Inputs, Kernel, Plan
from graphattn.kernels.reference import Reference
from graphattn.kernels.sdpa import Sdpa
from graphattn.kernels.tiles import share_of_tiles

# Fastest first, but for what `why_slow` says; 'reference' is for tests.
KERNELS: tuple[Kernel, ...] = (Sdpa(), Banded(), EdgesCpu(), EdgesTorch(), Reference())

# 'banded' computes the whole area of its tiles, 'edges_cpu' the edges alone but each at a higher price. Forward and
# backward, CPU ms, N=8192, float32, one thread of an AMD EPYC; times vary by 20 % from run to run:
#   window on each side     1    2    4    8   16   32   128
#   share of tiles       0.09 0.14 0.22 0.35 0.51 0.67  0.79
#   8 heads of 64 banded  100   79   87  119  105  137   369
#              edges_cpu   34   40   66   90  155  260  1228
#   4 heads of 16 banded   23   24   26   22   19   25    65
#              edges_cpu   18   24   34   60  106  196   792
SHARE_OF_TILES = 0.25


class Choice(NamedTuple):
    """The kernel that runs, and for every kernel before it in the order the sentence that says why not."""

    kernel: str
    refusals: dict[str, str]


def is_called(kernel: Kernel, name: str | None) -> bool:
    """'edges' names the fastest of the family 'edges_cpu', 'edges_torch', ... that runs."""
    return name is None or name in (kernel.name, kernel.name.split("_")[0])


def why_slow(kernel: Kernel, plan: Plan) -> str | None:
    """The sentence that says why a later kernel is faster, None if it is not; a kernel asked for by name runs anyway."""
    if not isinstance(kernel, Banded) or not isinstance(plan.graph, BandedGraph):
        return None
    share = share_of_tiles(plan.graph)
    if share >= SHARE_OF_TILES:
        return None
    return f"'banded' is slower than edges that fill less than {SHARE_OF_TILES:.0%} of its tiles (got {share:.0%})"


def select(plan: Plan, inputs: Inputs, name: str | None = None) -> tuple[Kernel, dict[str, str]]:
    """The kernel for one part, and why the others before it refuse."""
    candidates = [kernel for kernel in KERNELS if is_called(kernel, name)]
    if not candidates:
        raise ValueError(f"'kernel' must be one of {[kernel.name for kernel in KERNELS]} or 'edges' (got {name!r})")
    refusals = {}
    for kernel in candidates:
        reason = why_slow(kernel, plan) if name is None else None
        reason = reason or kernel.why_not(plan, inputs)
        if reason is None:
            return kernel, refusals
        refusals[kernel.name] = reason
    raise ValueError(f"no kernel named {name!r} can run this: " + "; ".join(refusals.values()))
