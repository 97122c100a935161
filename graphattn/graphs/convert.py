"""as_graph: every form of a graph that users have; and back to networkx and scipy."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Data

from graphattn.graphs.batched import batch_graphs
from graphattn.graphs.csr import rows_of
from graphattn.graphs.edge_list import INDEX_DTYPES, EdgeListGraph, check_rowptr
from graphattn.graphs.graph import Graph
from graphattn.graphs.of_edges import depends_on_edges
from graphattn.graphs.recording import refuse_make_fx
from graphattn.graphs.sizes import Counts, Sizes, is_sequence, parse_counts, parse_sizes
from graphattn.graphs.snapshots import Read, graph_of_tensor, plain
from graphattn.graphs.together import made_together
from graphattn.graphs.traced import TracedGraph, trace

if TYPE_CHECKING:
    import networkx
    import scipy.sparse


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

FORMS = (
    "a Graph, edge_index [2, num_edges] of integers, a bool mask [num_queries, num_keys], a sparse matrix (torch, "
    "torch_sparse, scipy), a networkx graph, a Data with 'graph' or 'edge_index', or a list of these (a batch)"
)


def as_graph(x: GraphLike, num_queries: Counts | None = None, num_keys: Counts | None = None) -> Graph:
    """The graph that `x` stands for.

    ========================================  ===========================================================
    `x`                                       meaning
    ========================================  ===========================================================
    Graph                                     itself
    edge_index [2, num_edges], EdgeIndex      row 0 = key (source), row 1 = query (target)
    bool tensor or array                      mask [query, key]
    torch.sparse, torch_sparse.SparseTensor   rows = queries (targets), PyG's `adj_t`
    scipy sparse                              rows = keys (sources)
    networkx                                  edges from key to query, both ways if undirected,
                                              nodes in the order of `G.nodes`
    Data, Batch                               its `graph`, else its `edge_index`
    list, tuple                               a batch of any of these
    ========================================  ===========================================================

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
        return trace(x, num_queries, num_keys)
    if num_queries is None and num_keys is not None:
        raise ValueError(f"'num_keys' needs 'num_queries' (got num_keys={num_keys} alone)")
    if isinstance(x, Graph):
        return _check_sizes(x.opened() if isinstance(x, TracedGraph) else x, num_queries, num_keys)
    if isinstance(x, np.ndarray):
        x = torch.from_numpy(np.array(x, dtype=x.dtype.newbyteorder("="), order="C"))
    if isinstance(x, Tensor):
        return _from_tensor(x, num_queries, num_keys)
    if isinstance(x, Data):
        return _from_data(x, num_queries, num_keys)
    if isinstance(x, (list, tuple)):
        return _from_list(x, num_queries, num_keys)
    for module, is_form, read in _FOREIGN_FORMS:
        # Whoever holds an object of a library has imported it.
        if module in sys.modules and is_form(sys.modules[module], x):
            return _check_sizes(read(x), num_queries, num_keys)
    if hasattr(x, "graphs"):  # a PerHead, whose file imports this one
        raise TypeError(f"one graph for all heads is needed here (got {x}); give one of {FORMS}")
    raise TypeError(f"no graph can be made of {type(x).__name__}; give {FORMS}")


def _check_sizes(graph: Graph, num_queries: Counts | None, num_keys: Counts | None) -> Graph:
    if num_queries is None or (num_queries, num_queries if num_keys is None else num_keys) == graph.shape:
        return graph
    for name, counts, own in (("num_queries", num_queries, 0), ("num_keys", num_keys, 1)):
        if counts is None:
            counts = num_queries
        counts = parse_counts(name, counts)
        sizes = tuple(size[own] for size in graph.sizes)
        if counts != sizes and (len(counts) > 1 or counts[0] != sum(sizes)):
            raise ValueError(
                f"the graph joins {graph.num_queries} queries to {graph.num_keys} keys in {graph.num_examples} "
                f"example(s) (got {name}={list(counts) if len(counts) > 1 else counts[0]}); a graph does not follow "
                f"when nodes are removed from a Data: take graph.subgraph(nodes)"
            )
    return graph


# Tensors --------------------------------------------------------------------------------------------------------------


def _from_tensor(x: Tensor, num_queries: Counts | None, num_keys: Counts | None) -> Graph:
    refuse_make_fx()
    if x.layout != torch.strided:
        return _check_sizes(_from_torch_sparse(x), num_queries, num_keys)
    if x.dtype == torch.bool:
        return _check_sizes(_from_mask(x), num_queries, num_keys)
    if x.dtype not in INDEX_DTYPES:
        raise TypeError(
            f"a dense tensor must hold integers (edge_index) or bools (a mask) (got {x.dtype}); values are never a "
            f"bias: give the mask, `x != 0`, and the values to the layer as edge features or bias"
        )
    if x.dim() != 2 or x.size(0) != 2:
        raise ValueError(
            f"a tensor of integers is an edge_index [2, num_edges] (got shape {list(x.shape)}); "
            f"give an adjacency matrix as a bool mask [num_queries, num_keys]"
        )
    if isinstance(x, EdgeIndex) and num_queries is None:
        num_keys, num_queries = x.sparse_size()
        if num_keys is None and num_queries is not None:
            num_keys = num_queries
    if num_queries is None:
        raise ValueError("an edge_index does not tell how many nodes there are (got no 'num_queries'); give it")
    return _from_edge_index(x, parse_sizes(num_queries, num_keys))


def _from_edge_index(x: Tensor, sizes: Sizes) -> Graph:
    is_undirected = isinstance(x, EdgeIndex) and x.is_undirected
    num_queries, num_keys = zip(*sizes)

    def build(edge_index: Tensor) -> Read:
        return Read(EdgeListGraph.owning(edge_index.long(), num_queries, num_keys, is_undirected), (edge_index,))

    return graph_of_tensor(x, ("edge_index", sizes, is_undirected), lambda x: (plain(x),), build)


def _from_mask(x: Tensor) -> Graph:
    if x.dim() != 2:
        raise ValueError(f"a mask must have shape [num_queries, num_keys] (got {list(x.shape)})")

    def build(mask: Tensor) -> Read:
        return Read(EdgeListGraph.owning(mask.nonzero().t().flip(0).contiguous(), *mask.shape), (mask,))

    return graph_of_tensor(x, ("mask",), lambda x: (plain(x),), build)


def _from_torch_sparse(x: Tensor) -> Graph:
    if x.layout not in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc):
        raise TypeError(f"a sparse tensor must be COO, CSR or CSC (got {x.layout}); use x.to_sparse_coo()")
    if x.dim() - x.dense_dim() != 2:
        raise ValueError(f"a sparse tensor must have shape [num_queries, num_keys] (got {list(x.shape)})")
    return _from_coo(x) if x.layout == torch.sparse_coo else _from_compressed(x)


# What is kept of sparse matrices for comparison is, where it can be, the memory of the graph.


def _from_coo(x: Tensor) -> Graph:
    sizes = x.size(0), x.size(1)

    def build(query: Tensor, key: Tensor) -> Read:
        edges = torch.stack([key, query])
        return Read(EdgeListGraph.owning(edges, *sizes), (edges[1], edges[0]))

    return graph_of_tensor(x, ("coo", sizes), lambda x: tuple(x._indices()), build)


def _from_compressed(x: Tensor) -> Graph:
    sizes, is_by_row = (x.size(0), x.size(1)), x.layout == torch.sparse_csr

    def numbers_of(x: Tensor) -> tuple[Tensor, Tensor]:
        return (x.crow_indices(), x.col_indices()) if is_by_row else (x.ccol_indices(), x.row_indices())

    def build(starts: Tensor, inner: Tensor) -> Read:
        check_rowptr(starts, inner)
        pair = [inner.long(), rows_of(starts)]
        edges = torch.stack(pair if is_by_row else pair[::-1])  # rows are queries
        own = edges[0 if is_by_row else 1]
        return Read(EdgeListGraph.owning(edges, *sizes), (starts, own if inner.dtype == own.dtype else inner))

    return graph_of_tensor(x, (x.layout, sizes), numbers_of, build)


# Data and lists -------------------------------------------------------------------------------------------------------


def _from_data(data: Data, num_queries: Counts | None, num_keys: Counts | None) -> Graph:
    if "graph" in data:
        kept, sees_to_it = data.graph, hasattr(type(data), "graph")  # as GraphData, which has a graph of its own
        if not sees_to_it and depends_on_edges(kept):
            return as_graph(graph_of_data(data, kept), num_queries, num_keys)
        graph = as_graph(kept, num_queries, num_keys)
        if not sees_to_it and isinstance(graph, EdgeListGraph):
            _check_same_edges(data, graph)
        return graph
    if data.get("edge_index") is None:
        raise ValueError(f"a Data needs 'graph' or 'edge_index' (got {data}); see graphattn.transforms")
    return _check_sizes(as_graph(data.edge_index, sizes_of(data)), num_queries, num_keys)


def graph_of_data(data: Data, kept: Graph | list[Graph]) -> Graph | list[Graph]:
    """Of a plain Data that came out of a batch of others, what GraphData reads."""
    from graphattn.graphs.data import edges_of, graph_now

    return graph_now(data, kept, edges_of(data))


def sizes_of(data: Data) -> int | tuple[int, ...] | None:
    """The number of nodes of a Data, or of each example of a Batch."""
    ptr, batch, num_nodes = data.get("ptr"), data.get("batch"), data.num_nodes
    if ptr is None:
        return num_nodes
    if num_nodes is None or int(ptr[-1]) == num_nodes:
        return tuple(ptr.diff().tolist())
    # PyG's transforms that change the nodes change `batch` as well, and leave `ptr` as it was.
    if batch is None or batch.numel() != num_nodes or bool((batch.diff() < 0).any()):
        raise ValueError(
            f"which nodes belong to which example is not known: 'ptr' ends at {int(ptr[-1])}, there are {num_nodes} nodes, and "
            f"'batch' does not number the examples in ascending order (got {data}); transform the examples before they are "
            f"batched, or delete 'ptr' to take the batch as one graph"
        )
    return tuple(torch.bincount(batch, minlength=ptr.numel() - 1).tolist())


def _check_same_edges(data: Data, graph: EdgeListGraph) -> None:
    edges = data.get("edge_index")
    if isinstance(edges, Tensor) and edges.layout == torch.strided and not lists_edges(graph, edges):
        raise ValueError(
            f"the edges of 'graph' are not those of 'edge_index', in its order (got {graph} and {edges.size(1)} edges in "
            f"{data}); if a transform changed edge_index, delete 'graph', or let graphattn.transforms.Edges make one that "
            f"follows; if 'graph' is another one on purpose, give it alone: data.graph"
        )


def lists_edges(graph: Graph, edges: Tensor) -> bool:
    """Whether the edges of a graph are those of an edge_index, in the same order."""
    if graph.num_edges != edges.size(1):
        return False
    return torch.equal(graph.edge_index(edges.device), edges.as_subclass(Tensor).long())


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
    batch = graphs[0] if len(graphs) == 1 else made_together(graphs, "batch", batch_graphs)
    return _check_sizes(batch, num_queries, num_keys)


# Other libraries ------------------------------------------------------------------------------------------------------


def _from_networkx(graph: Any) -> EdgeListGraph:
    place = {node: number for number, node in enumerate(graph.nodes)}
    is_directed = graph.is_directed()
    edges = [(place[source], place[target]) for source, target in _both_ways(graph).edges()]
    edge_index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()
    return EdgeListGraph(edge_index, len(place), is_undirected=not is_directed)


def _both_ways(graph: Any) -> Any:
    return graph if graph.is_directed() else graph.to_directed(as_view=True)


def _from_scipy(matrix: Any) -> EdgeListGraph:
    if matrix.ndim != 2:
        raise ValueError(f"a sparse matrix must have shape [num_keys, num_queries] (got {list(matrix.shape)})")
    entries = matrix.tocoo()
    key, query = (torch.from_numpy(np.asarray(index, dtype=np.int64)) for index in (entries.row, entries.col))
    return EdgeListGraph(torch.stack([key, query]), matrix.shape[1], matrix.shape[0])


def _from_torch_sparse_package(matrix: Any) -> EdgeListGraph:
    query, key, _ = matrix.coo()
    return EdgeListGraph(torch.stack([key, query]), matrix.size(0), matrix.size(1))


_FOREIGN_FORMS = (
    ("networkx", lambda module, x: isinstance(x, module.Graph), _from_networkx),
    ("scipy.sparse", lambda module, x: module.issparse(x), _from_scipy),
    ("torch_sparse", lambda module, x: isinstance(x, module.SparseTensor), _from_torch_sparse_package),
)


def to_networkx(graph: Graph) -> "networkx.DiGraph":
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


def to_scipy(graph: Graph) -> "scipy.sparse.coo_array":
    """See `Graph.to_scipy`."""
    from scipy.sparse import coo_array

    keys, queries = graph.edge_index("cpu").numpy()
    return coo_array((np.ones(len(keys)), (keys, queries)), shape=(graph.num_keys, graph.num_queries))
