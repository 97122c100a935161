"""What authors of graphs, scores, normalizers and kernels of their own build on, in one place; docs/extending.md shows how."""

from graphattn.graphs.graph import Graph
from graphattn.graphs.rule_graph import RuleGraph
from graphattn.kernels.choose import register_kernel, remove_kernel
from graphattn.kernels.kernel import Inputs, Kernel, Partial, Plan
from graphattn.kernels.normalizers import EdgeNormalizer, Normalizer, RowNormalizer
from graphattn.kernels.scores import Dot, Score
from graphattn.kernels.segments import Segments

__all__ = [
    "Dot",
    "EdgeNormalizer",
    "Graph",
    "Inputs",
    "Kernel",
    "Normalizer",
    "Partial",
    "Plan",
    "RowNormalizer",
    "RuleGraph",
    "Score",
    "Segments",
    "register_kernel",
    "remove_kernel",
]
