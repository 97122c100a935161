"""GraphOfEdges: how a Data keeps a graph that depends on its edges."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from graphattn.graphs.around import GraphAround
from graphattn.graphs.graph import Graph, whole
from graphattn.graphs.starts import Starts


@dataclass(frozen=True, init=False, repr=False, eq=False)
class GraphOfEdges(GraphAround):
    """`graph`, as long as the edges of its Data are those of `of_edges`, which is `graph` itself where it has just these edges.

    `GraphData` keeps such a one under the name `graph`, beside examples whose graph was set, and gives `graph` itself to those
    who read it. Elsewhere (in a Batch whose first example is a plain Data) it answers whatever `graph` answers.

    >>> from graphattn.graphs import causal
    >>> GraphOfEdges(causal(3))
    BandedGraph(3, before=2, after=0)
    """

    graph: Graph
    of_edges: Graph

    def __init__(self, graph: Graph, of_edges: Graph | None = None):
        graph, of_edges = graph_alone(graph), graph_alone(graph if of_edges is None else of_edges)
        self._freeze(sizes=graph.sizes, edges_by_key=graph.edges_by_key, graph=graph, of_edges=of_edges)

    def _restore(self, sizes, edges_by_key, graph, of_edges):
        self.__init__(whole(graph), whole(of_edges))

    @property
    def follows(self) -> bool:
        """Whether the graph has the edges of its Data and no others: it changes with them."""
        return self.of_edges is self.graph

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> "GraphOfEdges":
        graph = self.graph._map_tensors(function)
        return GraphOfEdges(graph, graph if self.follows else self.of_edges._map_tensors(function))

    @property
    def is_symmetric(self) -> bool:
        return self.graph.is_symmetric

    @property
    def starts(self) -> Starts:
        return self.graph.starts

    @property
    def T(self) -> Graph:
        return self.graph.T

    def examples(self) -> list[Graph]:
        return self.graph.examples()

    def subgraph(self, nodes: Sequence[int] | Tensor | np.ndarray) -> Graph:
        return self.graph.subgraph(nodes)

    def __or__(self, other: Graph) -> Graph:
        return self.graph | other

    def __and__(self, other: Graph) -> Graph:
        return self.graph & other

    def __invert__(self) -> Graph:
        return ~self.graph

    def _ordered(self, edges_by_key: bool) -> Graph:
        return self.graph._ordered(edges_by_key)

    def _transposed(self) -> Graph:
        return self.graph._transposed()

    def _split(self) -> list[Graph]:
        return self.graph.examples()

    def _describe(self) -> str:
        return self.graph._describe()


def graph_alone(graph: Graph) -> Graph:
    """The graph that a GraphOfEdges keeps; any other as it is."""
    return graph.graph if isinstance(graph, GraphOfEdges) else graph


def depends_on_edges(kept: object) -> bool:
    """Whether the graph of a Data, or one of the list of a batch, is a GraphOfEdges."""
    return (
        any(isinstance(graph, GraphOfEdges) for graph in kept)
        if isinstance(kept, list)
        else isinstance(kept, GraphOfEdges)
    )
