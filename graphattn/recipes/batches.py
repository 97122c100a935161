"""The graph of a batch, whichever way its examples say it."""

from torch_geometric.data import Data

from graphattn.graphs import EdgeListGraph, Graph, as_graph


def graph_of(batch: Data) -> Graph:
    """Who attends to whom in a batch of examples, or in one.

    Of examples with a `graph`, these; otherwise their edges, with `undirected` [num_examples] to say that each edge of an example
    has its opposite. One graph made of the edges of a batch is cheaper than many that are joined.
    """
    if "graph" in batch:
        return as_graph(batch.graph)
    promises = batch.get("undirected")
    counts = batch.num_nodes if batch.get("ptr") is None else batch.ptr.diff().tolist()
    return EdgeListGraph(batch.edge_index, counts, is_undirected=promises is not None and bool(promises.all()))
