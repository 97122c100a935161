"""as_graph: a Graph of every form in which users have graphs."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.graphs.edge_list import EdgeListGraph
from graphattn.graphs.forms import check_sizes, graph_of_form
from graphattn.graphs.graph import Graph
from graphattn.graphs.kept import check_same_edges, edges_of, graph_now, sizes_of
from graphattn.graphs.of_edges import depends_on_edges
from graphattn.graphs.sizes import Counts, is_sequence, parse_sizes
from graphattn.graphs.snapshots import graph_of_same, remember_last
from graphattn.graphs.together import joined
from graphattn.graphs.traced import TracedGraph, trace


class NetworkX(Protocol):
    """A networkx graph of any kind."""

    @property
    def nodes(self) -> Any: ...

    def is_directed(self) -> bool: ...


class SciPySparse(Protocol):
    """A sparse matrix or array of scipy."""

    @property
    def tocoo(self) -> Any: ...


class TorchSparse(Protocol):
    """A `torch_sparse.SparseTensor`."""

    @property
    def sparse_sizes(self) -> Any: ...


class DataOfNodes(Protocol):
    """PyG's Data or Batch, with its `edge_index` or a `graph`."""

    @property
    def num_nodes(self) -> Any: ...

    @property
    def edge_index(self) -> Any: ...


# What stands for a graph wherever one is asked for.
OneGraph = Graph | Tensor | np.ndarray | NetworkX | SciPySparse | TorchSparse | DataOfNodes
GraphLike = OneGraph | Sequence[OneGraph]


def as_graph(x: GraphLike, num_queries: Counts | None = None, num_keys: Counts | None = None) -> Graph:
    """The graph that `x` stands for.

    | `x` | meaning |
    |---|---|
    | Graph | itself |
    | edge_index [2, num_edges], EdgeIndex | row 0 = key (source), row 1 = query (target) |
    | bool tensor or array | mask [query, key] |
    | torch.sparse, torch_sparse.SparseTensor | rows = queries (targets), PyG's `adj_t` |
    | scipy sparse | rows = keys (sources) |
    | networkx | edges from key to query, both ways if undirected, nodes in the order of `G.nodes` |
    | Data, Batch | its `graph`, else its `edge_index` |
    | list, tuple | a batch of any of these |

    Every stored entry of a sparse matrix is an edge, in the order stored; values are never a bias.

    The graph is what `x` shows now: what is written into it later changes no graph that was made. A tensor that comes again
    gives the same graph, sorted once for all layers, as long as its numbers are the same. They are compared each time, for
    which a GPU is waited for: make the Graph before, and give that to the layers, to spare it.

    Args:
        x: any of the above.
        num_queries: number of queries, or one int per example; needed for an `edge_index`, checked otherwise.
        num_keys: number of keys, likewise; as many as queries by default.

    Raises:
        TypeError: if `x` is no such thing.
        ValueError: if sizes are missing or differ from those of `x`.

    >>> as_graph(torch.tensor([[5, 0], [1, 3]]), num_queries=4, num_keys=6)
    EdgeListGraph(num_queries=4, num_keys=6, num_edges=2)
    """
    if torch.compiler.is_compiling():
        return trace(x, num_queries, num_keys, as_graph_uncompiled)
    has_sizes = type(num_queries) is int and (num_keys is None or type(num_keys) is int)  # a tensor may be written
    plain = x if has_sizes and type(x) is Tensor and x.layout == torch.strided else None
    same = None if plain is None else graph_of_same(plain, (num_queries, num_keys))
    if same is not None:
        return same
    if num_queries is None and num_keys is not None:
        raise ValueError(f"'num_keys' needs 'num_queries' (got num_keys={num_keys} alone)")
    if plain is not None:
        graph = graph_of_form(plain, num_queries, num_keys)
        remember_last(plain, (num_queries, num_keys), graph)
        return graph
    if isinstance(x, TracedGraph):
        x = x.opened()
    if isinstance(x, Data):
        return _from_data(x, num_queries, num_keys)
    if isinstance(x, (list, tuple)):
        return _from_list(x, num_queries, num_keys)
    return graph_of_form(x, num_queries, num_keys)


def _from_data(data: Data, num_queries: Counts | None, num_keys: Counts | None) -> Graph:
    if "graph" in data:
        kept, sees_to_it = data.graph, hasattr(type(data), "graph")  # as GraphData, which has a graph of its own
        if not sees_to_it and depends_on_edges(kept):
            return as_graph(graph_now(data, kept, edges_of(data)), num_queries, num_keys)
        graph = as_graph(kept, num_queries, num_keys)
        if not sees_to_it and isinstance(graph, EdgeListGraph):
            check_same_edges(data, graph)
        return graph
    if data.get("edge_index") is None:
        raise ValueError(f"a Data needs 'graph' or 'edge_index' (got {data}); see graphattn.transforms")
    return check_sizes(as_graph(data.edge_index, sizes_of(data)), num_queries, num_keys)


def _from_list(entries: Sequence[Any], num_queries: Counts | None, num_keys: Counts | None) -> Graph:
    if len(entries) == 0:
        raise ValueError("a batch has at least one graph (got an empty list)")
    if num_queries is None or not is_sequence(num_queries):
        sizes: Sequence[tuple[int | None, int | None]] = [(None, None)] * len(entries)
    else:
        sizes = parse_sizes(num_queries, num_keys)
        if len(sizes) != len(entries):
            raise ValueError(f"'num_queries' must name one size per graph (got {len(sizes)} for {len(entries)} graphs)")
    graphs = tuple(as_graph(entry, *size) for entry, size in zip(entries, sizes))
    return check_sizes(joined(graphs), num_queries, num_keys)


as_graph_uncompiled = torch.compiler.disable(
    as_graph,
    reason="no form of a graph but a Graph, an edge_index, a bool mask or a list of Graphs is traced; make a Graph of it before,"
    " by as_graph(x), and give that to the compiled function",
)
