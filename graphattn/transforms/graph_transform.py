"""What the transforms that give a Data its graph have in common."""

from abc import abstractmethod

from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphattn.graphs import EdgeListGraph, Graph, as_graph
from graphattn.graphs.data import GraphData, depend_on_edges, follow_edges, make_graph_data
from graphattn.graphs.kept import sizes_of


class GraphTransform(BaseTransform):
    """Sets `data.graph`, on a shallow copy of the Data, to the graph that `make_graph` makes for its number of nodes.

    A batch (of torch_geometric.loader.DataLoader, or a Batch) gets one graph for all its nodes, without edges between
    examples; to take the batch apart again (Batch.to_data_list), transform the examples instead.
    """

    adds_to_graph: bool = False  # whether the graph that is there is a part of the one that is made

    @abstractmethod
    def make_graph(self, data: Data, num_nodes: int | tuple[int, ...]) -> Graph:
        """The graph for a Data of num_nodes nodes; a tuple has the number of each example of a batch."""

    def forward(self, data: Data) -> Data:
        num_nodes = count_nodes(data)
        if (
            self.adds_to_graph
            and data.get("edge_index") is not None
            and not (isinstance(data, GraphData) and "graph" in data)
        ):
            present = as_graph(data) if data.get("graph") is not None else present_graph(data)
            if isinstance(present, EdgeListGraph):  # of edge_index, or as_graph refuses it
                follow_edges(data, present)
        graph = self.make_graph(data, num_nodes)
        if isinstance(graph, EdgeListGraph) and data.get("edge_index") is not None:
            make_graph_data(data)  # which says that the graph is another one than the edges on purpose
        if self.adds_to_graph and isinstance(data, GraphData):
            depend_on_edges(data, graph)
        else:
            data.graph = graph
        return data


def count_nodes(data: Data) -> int | tuple[int, ...]:
    """The number of nodes of a Data, or of each example of a Batch."""
    if not isinstance(data, Data):
        raise TypeError(
            f"a graph is put on a torch_geometric Data or a Batch of them (got {type(data).__name__}); for "
            f"HeteroData, set the graph of each relation yourself"
        )
    sizes = sizes_of(data)
    if sizes is None:
        raise ValueError(f"the number of nodes of {data} is unknown; set 'x' or 'num_nodes'")
    return sizes


def present_graph(data: Data) -> Graph:
    """The graph that a Data or Batch has now; its edge_index if there is no graph."""
    graph = data.get("graph")
    if graph is not None:
        graph = as_graph(graph)
    elif data.edge_index is not None:
        graph = EdgeListGraph(data.edge_index, count_nodes(data))
    else:
        raise ValueError(
            f"{data} has neither a graph nor an edge_index; set one first, by another transform of graphattn"
        )
    if graph.shape != (data.num_nodes, data.num_nodes):
        raise ValueError(
            f"the graph joins {graph.num_queries} queries to {graph.num_keys} keys, the data has "
            f"{data.num_nodes} nodes; was it cut (Data.subgraph) after the graph was made?"
        )
    return graph
