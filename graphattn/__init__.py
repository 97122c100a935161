"""Self-attention over graphs: the edges of a graph say who attends to whom."""

from graphattn.functional import attend, attention_weights, choose_kernel
from graphattn.graphs import (
    BandedGraph,
    BatchedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    Graph,
    GridGraph,
    PrefixGraph,
    as_graph,
    batch_graphs,
    causal,
)
from graphattn.graphs.per_head import PerHead
from graphattn.kernels.budget import memory_budget
from graphattn.nn.acceleration import accelerate, restore
from graphattn.per_edge import attention_scores, weighted_sum
from graphattn.version import __version__

__all__ = [
    "BandedGraph",
    "BatchedGraph",
    "CompleteGraph",
    "EdgeListGraph",
    "GlobalGraph",
    "Graph",
    "GridGraph",
    "PerHead",
    "PrefixGraph",
    "__version__",
    "accelerate",
    "as_graph",
    "attend",
    "attention_scores",
    "attention_weights",
    "batch_graphs",
    "causal",
    "choose_kernel",
    "memory_budget",
    "restore",
    "weighted_sum",
]
