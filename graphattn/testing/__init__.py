"""What this package is tested by, for graphs, scores, normalizers and kernels of your own; docs/extending.md shows how."""

from graphattn.testing.cases import GRAPHS
from graphattn.testing.check import check_graph, check_kernel, check_normalizer, check_score
from graphattn.testing.layouts import LAYOUTS
from graphattn.testing.loops import loop_attention
from graphattn.testing.tolerance import TOLERANCE

__all__ = [
    "GRAPHS",
    "LAYOUTS",
    "TOLERANCE",
    "check_graph",
    "check_kernel",
    "check_normalizer",
    "check_score",
    "loop_attention",
]
