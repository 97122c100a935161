"""GraphData: a Data whose graph follows its edges."""

from collections import namedtuple
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from graphattn.graphs.convert import as_graph, lists_edges, sizes_of
from graphattn.graphs.graph import Graph

FOLLOWING = "graph_of_edges"  # the attribute that keeps the graph with the edges of edge_index


class GraphData(Data):
    """A Data whose `graph` has the edges of its `edge_index`, also after a transform of PyG has changed them.

    `data.graph` is the graph that `follow_edges` was given as long as its edges are those of `edge_index` (or of `adj_t`, or
    where there are none of these), and the edges themselves from then on. A graph that is set, `data.graph = causal(5)`, is
    kept as it is: it is another one than the edges. One that a transform made of the edges and others, as GlobalNodes does,
    cannot follow them: it is refused (ValueError) once they have changed. A batch has a list with the graph of each example.

    >>> from torch_geometric.transforms import AddSelfLoops
    >>> edges = torch.tensor([[0, 1], [1, 2]])
    >>> data = follow_edges(Data(edge_index=edges, num_nodes=3), as_graph(edges, 3))
    >>> data.graph.num_edges, AddSelfLoops()(data).graph.num_edges
    (2, 5)
    """

    @property
    def graph(self) -> Graph | list[Graph]:
        store = self._store
        if "graph" in store:
            if FOLLOWING in store and not torch.compiler.is_compiling():
                check_made_of(self, store[FOLLOWING])
            return store["graph"]
        edges = store.get("edge_index")
        edges = store.get("adj_t") if edges is None else edges
        graph = store.get(FOLLOWING)
        if graph is None and edges is None:
            raise AttributeError  # PyG says it
        # What is compiled cannot ask for the numbers of edges; their count has to do.
        is_counted = torch.compiler.is_compiling() and graph is not None and "edge_index" in store
        if is_counted and count_edges(graph) == edges.size(1):
            return graph
        return graph_of_edges(self, graph, edges)

    @graph.setter
    def graph(self, graph: Any) -> None:
        self._store["graph"] = graph
        self._store.pop(FOLLOWING, None)

    def __init__(self, *args: Any, **attributes: Any) -> None:
        if FOLLOWING in attributes and attributes.get("graph") is attributes[FOLLOWING]:
            del attributes["graph"]  # of to_dict: it is the graph that follows
        super().__init__(*args, **attributes)

    def __delattr__(self, name: str) -> None:
        if name != "graph" or name in self._store:
            super().__delattr__(name)
        if name == "graph":
            self._store.pop(FOLLOWING, None)

    def __contains__(self, name: str) -> bool:
        return name in self._store or (name == "graph" and FOLLOWING in self._store)

    def __getitem__(self, name: str) -> Any:
        return self.graph if name == "graph" else super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self.graph if name == "graph" and name in self else self._store.get(name, default)

    def keys(self) -> list[str]:
        names = super().keys()
        return [*names, "graph"] if FOLLOWING in names and "graph" not in names else names

    def to_dict(self) -> dict[str, Any]:
        attributes = self._store.to_dict()
        # A data set lays the edges of its examples end to end as they are: they are those of no graph.
        is_data_set = isinstance(attributes.get(FOLLOWING), list) and "ptr" not in attributes
        if FOLLOWING in attributes and "graph" not in attributes and not is_data_set:
            attributes["graph"] = attributes[FOLLOWING] = self.graph
        return attributes

    def to_namedtuple(self) -> NamedTuple:
        attributes = {name: value for name, value in self.to_dict().items() if name in self.keys()}
        return namedtuple(f"{type(self._store).__name__}Tuple", attributes)(**attributes)

    def __call__(self, *names: str) -> Iterator[tuple[str, Any]]:
        yield from super().__call__(*names)
        if "graph" in names and "graph" not in self._store and "graph" in self:
            yield "graph", self.graph


def follow_edges(data: Data, graph: Graph) -> Data:
    """The same Data, its `graph` being that of its edges: `graph`, which has them, until they change.

    A Data of another class, which this cannot change, keeps `graph` whatever happens to its edges.
    """
    if not make_graph_data(data):
        data.graph = graph
        return data
    data._store.pop("graph", None)
    data[FOLLOWING] = graph
    return data


def depend_on_edges(data: GraphData, graph: Graph) -> None:
    """Set a graph that was made of the one that the Data has: refused when that one followed the edges, and they change."""
    of_edges = data._store.get(FOLLOWING)
    data.graph = graph
    if of_edges is not None:
        data[FOLLOWING] = of_edges


def make_graph_data(data: Data) -> bool:
    """Make a Data, or a Batch of them, a GraphData in place; False for one of another class, which this cannot change."""
    for plain, following in ((Data, GraphData), (type(Batch(_base_cls=Data)), type(Batch(_base_cls=GraphData)))):
        if type(data) is plain:
            object.__setattr__(data, "__class__", following)  # Data's own way would store it as an attribute
    return isinstance(data, GraphData)


@torch.compiler.disable(reason="whether the edges of a Data have changed is asked of their numbers")
def check_made_of(data: GraphData, of_edges: Graph | list[Graph]) -> None:
    edges = data.get("edge_index")
    edges = data.get("adj_t") if edges is None else edges
    if not has_edges(as_graph(of_edges), edges, data.num_nodes):
        raise ValueError(f"the edges or nodes of {data} have changed since 'graph' was made of them and of others; apply the"
                         " transforms that change edge_index first, then those of graphattn")  # fmt: skip


@torch.compiler.disable(reason="the edges of a Data have changed since its graph was made; read data.graph before")
def graph_of_edges(data: GraphData, graph: Graph | list[Graph] | None, edges: Any) -> Graph | list[Graph]:
    """The graph that was given if it has the edges that the Data has now, else that of the edges."""
    if graph is not None and has_edges(as_graph(graph), edges, data.num_nodes):
        return graph
    if edges is None:
        raise ValueError(f"the graph of {data} is that of {as_graph(graph).num_queries} nodes, there are {data.num_nodes}; set"
                         " its edge_index, or its graph")  # fmt: skip
    return as_graph(edges, sizes_of(data))


def count_edges(graph: Graph | list[Graph]) -> int:
    return graph.num_edges if isinstance(graph, Graph) else sum(one.num_edges for one in graph)


def has_edges(graph: Graph, edges: Tensor | None, num_nodes: int) -> bool:
    """Whether a graph has these nodes and, in their order, these edges: edge_index, a sparse matrix, or any if None."""
    if graph.shape != (num_nodes, num_nodes):
        return False
    if edges is None:
        return True
    if not (isinstance(edges, Tensor) and edges.layout == torch.strided):
        edges = as_graph(edges, num_nodes).edge_index()
    return lists_edges(graph, edges)
