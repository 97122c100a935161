"""Self-attention over graphs: the edges of a graph say who attends to whom."""

import importlib
from typing import TYPE_CHECKING, Any

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
    RuleGraph,
    as_graph,
    batch_graphs,
    causal,
)
from graphattn.graphs.padded import from_padded, to_padded
from graphattn.graphs.per_head import PerHead
from graphattn.kernels.budget import memory_budget
from graphattn.nn.acceleration import accelerate, restore
from graphattn.per_edge import attention_scores, weighted_sum
from graphattn.running.with_lse import merge_attention
from graphattn.version import __version__

if TYPE_CHECKING:
    from graphattn import datasets as datasets
    from graphattn import distributed as distributed
    from graphattn import explain as explain
    from graphattn import hub as hub
    from graphattn import inputs as inputs
    from graphattn import nn as nn
    from graphattn import recipes as recipes
    from graphattn import transforms as transforms
    from graphattn import viz as viz

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
    "RuleGraph",
    "__version__",
    "accelerate",
    "as_graph",
    "attend",
    "attention_scores",
    "attention_weights",
    "batch_graphs",
    "causal",
    "choose_kernel",
    "from_padded",
    "memory_budget",
    "merge_attention",
    "restore",
    "to_padded",
    "weighted_sum",
]

# Read when they are first asked for, as attributes of this module: not all that they need is needed by everyone.
_ON_DEMAND = ("datasets", "distributed", "explain", "hub", "inputs", "nn", "recipes", "transforms", "viz")


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return importlib.import_module(f"graphattn.{name}")
    raise AttributeError(f"module 'graphattn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_DEMAND})
