"""GraphData: a Data whose graph follows its edges."""

from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import torch
from torch_geometric.data import Batch, Data

from graphattn.graphs.convert import as_graph
from graphattn.graphs.graph import Graph
from graphattn.graphs.kept import alone, edges_of, edges_that, graph_now, kept_now, looks_the_same, sizes_of
from graphattn.graphs.of_edges import GraphOfEdges, depends_on_edges

ONCE = "graph_of_edges"  # in files of version 0.1, the name of a graph that follows the edges, or of the edges that one was made of


class GraphData(Data):
    """A Data whose `graph` has the edges of its `edge_index`, also after a transform of PyG has changed them.

    `data.graph` is the graph that `follow_edges` was given as long as its edges are those of `edge_index` (or of `adj_t`, or
    where there are none of these), and the edges themselves from then on. A graph that is set, `data.graph = causal(5)`, is
    kept as it is: it is another one than the edges. One that a transform made of the edges and others, as GlobalNodes does,
    cannot follow them: it is refused (ValueError) once they have changed. A batch has a list with the graph of each example,
    whichever of these it is.

    >>> from torch_geometric.transforms import AddSelfLoops
    >>> edges = torch.tensor([[0, 1], [1, 2]])
    >>> data = follow_edges(Data(edge_index=edges, num_nodes=3), as_graph(edges, 3))
    >>> data.graph.num_edges, AddSelfLoops()(data).graph.num_edges
    (2, 5)
    """

    @property
    def graph(self) -> Graph | list[Graph]:
        store = self._store
        edges = edges_of(self)
        if "graph" not in store:
            if edges is None:
                raise AttributeError  # PyG says it
            return as_graph(edges, sizes_of(self))
        kept = store["graph"]
        if not depends_on_edges(kept):
            return kept
        if torch.compiler.is_compiling() and looks_the_same(kept, edges):
            return alone(kept)
        return graph_now(self, kept, edges)

    @graph.setter
    def graph(self, graph: Any) -> None:
        self._store["graph"] = alone(graph) if isinstance(graph, Graph) else graph

    def __init__(self, *args: Any, **attributes: Any) -> None:
        graph = graph_of_file(attributes)
        super().__init__(*args, **attributes)
        if graph is not None:
            self._store["graph"] = graph

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        mapping = self._store._mapping
        graph = graph_of_file(mapping)
        if graph is not None:
            mapping["graph"] = graph
        for of_names in map(self._store.__dict__.get, ("_slice_dict", "_inc_dict")):  # by which a batch is taken apart
            if of_names is not None and ONCE in of_names:
                of_names.setdefault("graph", of_names.pop(ONCE))

    def __delattr__(self, name: str) -> None:
        if name == "graph":
            del self._store["graph"]
        else:
            super().__delattr__(name)

    def __contains__(self, name: str) -> bool:
        return name in self._store

    def __getitem__(self, name: str) -> Any:
        return self.graph if name == "graph" else super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self.graph if name == "graph" and name in self else self._store.get(name, default)

    def to_dict(self) -> dict[str, Any]:
        attributes = self._store.to_dict()
        kept = attributes.get("graph")
        # A data set lays the edges of its examples end to end as they are: they are those of no graph.
        is_data_set = isinstance(kept, list) and "ptr" not in attributes
        if depends_on_edges(kept) and not is_data_set:
            attributes["graph"] = kept_now(self, kept)
        return attributes

    def to_namedtuple(self) -> tuple[Any, ...]:
        attributes = {name: self.graph if name == "graph" else value for name, value in self._store.items()}
        return namedtuple(f"{type(self._store).__name__}Tuple", attributes)(**attributes)

    def __call__(self, *names: str) -> Iterator[tuple[str, Any]]:
        for name, value in super().__call__(*names):
            yield name, self.graph if name == "graph" else value


def follow_edges(data: Data, graph: Graph) -> Data:
    """The same Data, its `graph` being that of its edges: `graph`, which has them, until they change.

    A Data of another class, which this cannot change, keeps `graph` whatever happens to its edges.
    """
    if make_graph_data(data):
        data._store["graph"] = GraphOfEdges(graph)
    else:
        data.graph = graph
    return data


def depend_on_edges(data: GraphData, graph: Graph) -> None:
    """Set a graph that was made of the one that the Data has: refused when that one depended on the edges, and they change."""
    kept = data._store.get("graph")
    data.graph = graph
    if depends_on_edges(kept):
        data._store["graph"] = GraphOfEdges(graph, edges_that(data, kept))


def make_graph_data(data: Data) -> bool:
    """Make a Data, or a Batch of them, a GraphData in place; False for one of another class, which this cannot change."""
    for plain, following in ((Data, GraphData), (type(Batch(_base_cls=Data)), type(Batch(_base_cls=GraphData)))):
        if type(data) is plain:
            object.__setattr__(data, "__class__", following)  # Data's own way would store it as an attribute
    return isinstance(data, GraphData)


def as_one(data: Data, graphs: list[Graph] | Any) -> Graph:
    """The graphs that a batch keeps as one that it could keep; of another Data, what `as_graph` makes of it."""
    if not depends_on_edges(graphs):
        return as_graph(graphs)
    follow = all(isinstance(graph, GraphOfEdges) and graph.follows for graph in graphs)
    return GraphOfEdges(as_graph(alone(graphs)), None if follow else edges_that(data, graphs))


def graph_of_file(attributes: dict[str, Any]) -> Graph | list[Graph] | None:
    """Takes a graph that depends on the edges out of the attributes of a Data, also in the form that it had in version 0.1."""
    if ONCE in attributes:
        of_edges = attributes.pop(ONCE)
        graph = attributes.pop("graph", of_edges)
        if isinstance(of_edges, list) and isinstance(graph, list):
            return [GraphOfEdges(*pair) for pair in zip(graph, of_edges, strict=True)]
        return GraphOfEdges(as_graph(graph), as_graph(of_edges) if graph is not of_edges else None)
    return attributes.pop("graph") if isinstance(attributes.get("graph"), GraphOfEdges) else None
