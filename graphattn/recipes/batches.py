"""The graphs of a batch, whichever way its examples say them."""

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.graphs import CompleteGraph, EdgeListGraph, Graph, as_graph
from graphattn.graphs.exported import exported_complete, is_exporting


def graph_of(batch: Data) -> Graph:
    """Who attends to whom in a batch of examples, or in one.

    Of examples with a `graph`, these; otherwise their edges, with `undirected` [num_examples] to say that each edge of an example
    has its opposite. One graph made of the edges of a batch is cheaper than many that are joined.
    """
    if "graph" in batch:
        return as_graph(batch.graph)
    if is_exporting():  # one example, of any number of nodes
        return as_graph(batch.edge_index, batch.x.size(0))
    promises = batch.get("undirected")
    counts = batch.num_nodes if batch.get("ptr") is None else batch.ptr.diff().tolist()
    return EdgeListGraph(batch.edge_index, counts, is_undirected=promises is not None and bool(promises.all()))


def all_pairs(graph: Graph) -> Graph | Tensor:
    """Every node of an example to every node of it; a mask while torch.export traces."""
    if is_exporting():
        return exported_complete(graph.num_queries, graph.num_keys, graph.device or torch.get_default_device())
    return CompleteGraph([queries for queries, _ in graph.sizes])
