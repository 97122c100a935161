"""Graphs: who attends to whom."""

import torch

from graphattn.graphs.algebra import ComplementGraph, IntersectionGraph, UnionGraph
from graphattn.graphs.banded import BandedGraph, causal
from graphattn.graphs.batched import BatchedGraph, batch_graphs
from graphattn.graphs.block import BlockGraph, SlabGraph
from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.convert import as_graph
from graphattn.graphs.csr import CSR
from graphattn.graphs.data import GraphData
from graphattn.graphs.edge_list import EdgeListGraph
from graphattn.graphs.global_ import GlobalGraph
from graphattn.graphs.graph import Graph
from graphattn.graphs.grid import GridGraph
from graphattn.graphs.local import LocalGraph
from graphattn.graphs.of_edges import GraphOfEdges
from graphattn.graphs.patterns import bigbird, expander, longformer, strided
from graphattn.graphs.prefix import PrefixGraph
from graphattn.graphs.rule_graph import RuleGraph
from graphattn.graphs.transposed import TransposedGraph

__all__ = [
    "CSR",
    "BandedGraph",
    "BatchedGraph",
    "ComplementGraph",
    "CompleteGraph",
    "EdgeListGraph",
    "GlobalGraph",
    "Graph",
    "GraphData",
    "GridGraph",
    "IntersectionGraph",
    "LocalGraph",
    "PrefixGraph",
    "RuleGraph",
    "TransposedGraph",
    "UnionGraph",
    "as_graph",
    "batch_graphs",
    "bigbird",
    "causal",
    "expander",
    "longformer",
    "strided",
]

# Whoever imports the package trusts it: torch.load(weights_only=True) then reads graphs, alone or in a Data.
torch.serialization.add_safe_globals(
    [
        BandedGraph,
        BatchedGraph,
        BlockGraph,
        CompleteGraph,
        ComplementGraph,
        EdgeListGraph,
        GlobalGraph,
        GraphData,
        GraphOfEdges,
        GridGraph,
        IntersectionGraph,
        LocalGraph,
        PrefixGraph,
        RuleGraph,
        SlabGraph,
        TransposedGraph,
        UnionGraph,
    ]
)
