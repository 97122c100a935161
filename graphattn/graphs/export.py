"""Graphs as networkx and scipy have them: what `as_graph` reads, written."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import networkx
    import scipy.sparse

    from graphattn.graphs.graph import Graph


def to_networkx(graph: "Graph") -> "networkx.DiGraph":
    """See `Graph.to_networkx`."""
    import networkx

    result = networkx.MultiDiGraph() if graph.has_repeats else networkx.DiGraph()
    keys, queries = graph.edge_index("cpu").tolist()
    if all(queries_here == keys_here for queries_here, keys_here in graph.sizes):
        result.add_nodes_from(range(graph.num_queries))
        result.add_edges_from(zip(keys, queries))
        return result
    result.add_nodes_from((("query", query) for query in range(graph.num_queries)), bipartite=0)
    result.add_nodes_from((("key", key) for key in range(graph.num_keys)), bipartite=1)
    result.add_edges_from((("key", key), ("query", query)) for key, query in zip(keys, queries))
    return result


def to_scipy(graph: "Graph") -> "scipy.sparse.coo_array":
    """See `Graph.to_scipy`."""
    from scipy.sparse import coo_array

    keys, queries = graph.edge_index("cpu").numpy()
    return coo_array((np.ones(len(keys)), (keys, queries)), shape=(graph.num_keys, graph.num_queries))
