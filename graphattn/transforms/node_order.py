"""What the transforms that renumber the nodes of a Data have in common."""

from abc import abstractmethod
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphattn.graphs import EdgeListGraph, Graph
from graphattn.graphs.data import as_one
from graphattn.graphs.of_edges import GraphOfEdges
from graphattn.transforms.graph_transform import count_nodes

NAME = "node_order"


class NodeOrder(BaseTransform):
    """Renumbers nodes so that neighbours get near numbers, on a shallow copy of the Data.

    Attention reads the keys of each query: near numbers are near places in memory. Every attribute with an entry per
    node is permuted; node numbers (`edge_index`, an EdgeListGraph in `graph`, whatever else PyG shifts when it joins
    examples: names with 'index', and 'face') are translated. Edges keep their order, and so does what there is per
    edge. The nodes of a Batch stay with their example; to take a batch apart again (Batch.to_data_list), transform the
    examples instead.

    `data.node_order` [num_nodes] has the number that each node had before, within its example. `restore_nodes(x, data)`
    puts results back.

    A graph given by a formula (a band, a grid) is refused: it is made of the numbering. Reorder first, then set it.
    """

    @abstractmethod
    def order(self, data: Data) -> Tensor:
        """[num_nodes] int64: the present number of the node that comes first, second, ..."""

    def forward(self, data: Data) -> Data:
        count_nodes(data)  # refuses what has no nodes
        order = self.order(data).to(_device_of(data))
        if data.get("batch") is not None:
            order = order[data.batch[order].argsort(stable=True)]
        if NAME not in data:
            data[NAME] = torch.arange(data.num_nodes, device=order.device) - _first_of_example(data)
        return renumber(data, order)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def renumber(data: Data, order: Tensor) -> Data:
    """Makes node `order[i]` of a Data node i of the same Data."""
    place = order.argsort()
    names = list(data._store.keys())
    of_nodes = {name for name in names if name not in ("graph", "ptr") and data.is_node_attr(name)}
    values = data.to_dict()  # where the graph is that of the edges as they are now
    for name in names:
        value = values[name]
        if name == "graph" or isinstance(value, Graph):
            data[name] = _renumber_graph(name, value if isinstance(value, Graph) else as_one(data, value), place)
        elif "adj" in name:
            raise ValueError(f"cannot renumber the nodes of {name!r}; keep edges in 'edge_index' instead")
        elif _has_node_numbers(name, value):
            data[name] = place[value.as_subclass(Tensor).long()]
        elif name in of_nodes:
            data[name] = _permute(value, order, data.__cat_dim__(name, value))
    return data


def restore_nodes(x: Tensor, data: Data) -> Tensor:
    """x [num_nodes, ...] in the order that the nodes of `data` had before they were renumbered.

    >>> data = Data(x=torch.rand(3, 2), edge_index=torch.tensor([[0, 2], [2, 1]]))
    >>> renumbered = renumber(Data(node_order=torch.arange(3), **data.to_dict()), torch.tensor([2, 0, 1]))
    >>> renumbered.node_order
    tensor([2, 0, 1])
    >>> torch.equal(restore_nodes(renumbered.x, renumbered), data.x)
    True
    """
    if NAME not in data:
        raise ValueError(f"{data} has no {NAME!r}: its nodes were not renumbered by a transform of graphattn")
    if x.size(0) != data.num_nodes:
        raise ValueError(f"'x' must have a row for each of the {data.num_nodes} nodes (got {list(x.shape)})")
    return x[(data[NAME] + _first_of_example(data)).argsort()]


def _first_of_example(data: Data) -> Tensor | int:
    """For each node, the number of the first node of its example."""
    if data.get("batch") is None:
        return 0
    counts = count_nodes(data)
    firsts = list(accumulate(counts if isinstance(counts, tuple) else (counts,), initial=0))
    return torch.tensor(firsts, device=data.batch.device)[data.batch]


def _has_node_numbers(name: str, value: object) -> bool:
    """Whether an attribute holds numbers of nodes, by PyG's rule (Data.__inc__): they are shifted when examples are joined."""
    is_integer = isinstance(value, Tensor) and not value.is_floating_point() and value.dtype != torch.bool
    return is_integer and ("index" in name or name == "face")


def _renumber_graph(name: str, graph: Graph, place: Tensor) -> Graph:
    if isinstance(graph, GraphOfEdges):
        renumbered = _renumber_graph(name, graph.graph, place)
        return GraphOfEdges(renumbered, None if graph.follows else _renumber_graph(name, graph.of_edges, place))
    if graph.shape != (place.numel(), place.numel()):
        raise ValueError(
            f"{name!r} joins {graph.num_queries} queries to {graph.num_keys} keys, the data has {place.numel()} nodes"
        )
    if not isinstance(graph, EdgeListGraph):
        raise ValueError(
            f"{name!r} is made of the present numbers of the nodes (got {graph}); reorder nodes before the "
            f"transform that sets it, or make it an EdgeListGraph of its edge_index()"
        )
    edges = place.to(graph.device)[graph.edge_index()]
    return EdgeListGraph(edges, [size for size, _ in graph.sizes], is_undirected=graph.is_undirected)


def _permute(value: Any, order: Tensor, dim: int) -> Any:
    if isinstance(value, Tensor):
        return value.index_select(dim, order.to(value.device))
    places = order.tolist()
    return np.take(value, places, dim) if isinstance(value, np.ndarray) else type(value)(value[i] for i in places)


def _device_of(data: Data) -> torch.device:
    tensors = (value for value in (data.get("edge_index"), data.get("pos"), data.get("x")) if value is not None)
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
