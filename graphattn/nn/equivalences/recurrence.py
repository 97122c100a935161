"""What a recurrent network must do one after another, and attention at once (Vaswani et al. 2017, table 1)."""

import numpy as np
import scipy.sparse

from graphattn.graphs import BandedGraph, Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.sizes import Counts

ROWS = 2**22  # distances at a time: 32 MiB of float64


def rnn_graph(num_nodes: Counts) -> BandedGraph:
    """Who reads whose state in a recurrent network: every node the one before it (an int, or one per example).

    >>> rnn_graph(3).mask().int()
    tensor([[0, 0, 0],
            [1, 0, 0],
            [0, 1, 0]], dtype=torch.int32)
    """
    return BandedGraph(num_nodes, before=0, after=0, offset=-1)


def path_length(graph: GraphLike) -> int:
    """Edges between the two nodes that are furthest apart, where one reaches the other at all.

    Through so many stacked layers over `graph`, each with its residual connection, everything arrives that ever can; the
    signal and its gradient pass so many weights. 1 for a complete graph, num_nodes - 1 for a recurrent network,
    ceil((num_nodes - 1) / reach) for a band. Found by a search from every node: num_nodes * num_edges steps at most.

    Example:
        >>> from graphattn import CompleteGraph
        >>> n = 101
        >>> [path_length(graph) for graph in (CompleteGraph(n), BandedGraph(n, 10, 10), rnn_graph(n))]
        [1, 10, 100]
    """
    matrix = adjacency(check_square(graph))
    num_nodes = matrix.shape[0]
    at_once = max(1, ROWS // max(1, num_nodes))
    longest = 0
    for start in range(0, num_nodes, at_once):
        nodes = np.arange(start, min(start + at_once, num_nodes))
        distances = scipy.sparse.csgraph.dijkstra(matrix, indices=nodes, unweighted=True)
        longest = max(longest, int(distances[np.isfinite(distances)].max()))
    return longest


def sequential_steps(graph: GraphLike, layers: int = 1, recurrent: bool = False) -> int:
    """Steps that no number of processors can take at the same time, for a stack of `layers` over `graph`.

    An attention layer reads the layer below it: one step for each layer, whatever the graph. In a recurrent layer a node
    also waits for the states, in its own layer, of the nodes it has edges from: the longest chain of them counts, and
    each further layer follows one step behind.

    Raises ValueError if a recurrent graph has a cycle (a self loop is one): no node could begin.

    Example:
        >>> from graphattn import causal
        >>> sequential_steps(causal(100), layers=2)
        2
        >>> sequential_steps(rnn_graph(100), layers=2, recurrent=True)
        101
    """
    graph = check_square(graph)
    if layers < 0:
        raise ValueError(f"'layers' must be at least 0 (got {layers})")
    if graph.num_queries == 0 or layers == 0:
        return 0
    return layers if not recurrent else longest_chain(adjacency(graph)) + layers - 1


def longest_chain(matrix: scipy.sparse.csr_array) -> int:
    """Nodes on the longest path, found by taking away, again and again, all nodes that wait for nobody."""
    waits_for = np.asarray(matrix.sum(axis=0)).ravel()
    ready = np.flatnonzero(waits_for == 0)
    length, done = 0, 0
    while ready.size:
        length, done = length + 1, done + ready.size
        freed = matrix[ready].tocoo().col
        np.subtract.at(waits_for, freed, 1)
        freed = np.unique(freed)
        ready = freed[waits_for[freed] == 0]
    if done < matrix.shape[0]:
        raise ValueError(f"a recurrent graph has no cycle and no self loop (got {matrix.shape[0] - done} nodes in one or "
                         "behind one)")  # fmt: skip
    return length


def adjacency(graph: Graph) -> scipy.sparse.csr_array:
    """Ones at [source, target], once for each pair."""
    matrix = scipy.sparse.csr_array(graph.to_scipy())
    matrix.sum_duplicates()
    matrix.data = np.ones_like(matrix.data, dtype=np.int64)
    return matrix


def check_square(graph: GraphLike) -> Graph:
    graph = graph if isinstance(graph, Graph) else as_graph(graph)
    if graph.num_queries != graph.num_keys:
        raise ValueError(f"layers stack over one set of nodes (got {graph.num_queries} queries, {graph.num_keys} keys)")
    return graph
