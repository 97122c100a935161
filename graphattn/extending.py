"""What authors of graphs, scores, normalizers and kernels of their own build on, in one place; docs/extending.md shows how."""

from graphattn.formulas.normalizers import EdgeNormalizer, Normalizer, RowNormalizer
from graphattn.formulas.scores import Dot, Reduced, Score
from graphattn.formulas.segments import Segments
from graphattn.graphs.graph import Graph
from graphattn.graphs.rule_graph import RuleGraph
from graphattn.kernels.choose import register_kernel, remove_kernel
from graphattn.kernels.facts import GraphKind
from graphattn.kernels.kernel import Inputs, Kernel, Partial, Plan

__all__ = [
    "Dot",
    "EdgeNormalizer",
    "Graph",
    "GraphKind",
    "Inputs",
    "Kernel",
    "Normalizer",
    "Partial",
    "Plan",
    "Reduced",
    "RowNormalizer",
    "RuleGraph",
    "Score",
    "Segments",
    "register_kernel",
    "remove_kernel",
]
