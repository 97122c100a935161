"""One graph in the forms of other libraries: tensors, arrays, sparse matrices, networkx."""

import os
import sys
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric import EdgeIndex

from graphattn.graphs.copied import copied, held
from graphattn.graphs.csr import rows_of
from graphattn.graphs.edge_list import INDEX_DTYPES, EdgeListGraph, check_rowptr
from graphattn.graphs.graph import Graph
from graphattn.graphs.recording import refuse_make_fx
from graphattn.graphs.sizes import Counts, Sizes, parse_counts, parse_sizes
from graphattn.graphs.snapshots import Read, graph_of_tensor, plain, snapshot
from graphattn.graphs.spread import SpreadGraph

NO_SIZES = (
    "an edge_index does not tell how many nodes there are (got no 'num_queries'); give it, or a graph,"
    " EdgeListGraph(edge_index, num_nodes)"
)
FORMS = (
    "a Graph, edge_index [2, num_edges] of integers, a bool mask [num_queries, num_keys], a sparse matrix (torch, "
    "torch_sparse, scipy), a networkx graph, a Data with 'graph' or 'edge_index', or a list of these (a batch)"
)


def graph_of_form(x: Any, num_queries: Counts | None = None, num_keys: Counts | None = None) -> Graph:
    """What `as_graph` makes of anything but a Data and a list: a Graph, edge_index, a mask, a sparse matrix, networkx.

    Raises:
        TypeError: if `x` is no such thing.
        ValueError: if sizes are missing or differ from those of `x`.
    """
    if isinstance(x, Graph):
        return check_sizes(x, num_queries, num_keys)
    if isinstance(x, np.ndarray):
        x = torch.from_numpy(np.array(x, dtype=x.dtype.newbyteorder("="), order="C"))
    if isinstance(x, Tensor):
        return _from_tensor(x, num_queries, num_keys)
    for module, is_form, read in _FOREIGN_FORMS:
        # Whoever holds an object of a library has imported it.
        if module in sys.modules and is_form(sys.modules[module], x):
            return check_sizes(read(x), num_queries, num_keys)
    if hasattr(x, "graphs"):  # a PerHead, whose file is above this one
        raise TypeError(f"one graph for all heads is needed here (got {x}); give one of {FORMS}")
    if isinstance(x, type) and issubclass(x, Graph):
        raise TypeError(f"no graph can be made of a class (got {x.__name__}); make one, as {x.__name__}(...)")
    if isinstance(x, (int, float)):  # as in a list of edges, which stands for a batch of graphs
        raise TypeError(
            f"no graph can be made of {type(x).__name__}; a list is a batch of graphs: of edges make a tensor "
            f"[2, num_edges] first, torch.tensor([sources, targets]) or torch.tensor(pairs).t()"
        )
    raise TypeError(f"no graph can be made of {type(x).__name__}{advice_on(x)}; give {FORMS}")


def advice_on(x: Any) -> str:
    """What leads from things that are often taken for a graph to one."""
    if isinstance(x, str | PathLike):
        return (
            f" (got {os.fspath(x)!r}): files are not read here, but by graphattn.datasets.from_tables(edges, nodes), numpy.load,"
            " networkx.read_edgelist or pandas"
        )
    if hasattr(x, "columns") and hasattr(x, "to_numpy"):  # a table of pandas, polars, ...
        return (
            f" (got the columns {[str(name) for name in x.columns][:8]}): networkx.from_pandas_edgelist(table, source, target)"
            " makes a network of two columns with names, table[[source, target]].to_numpy().T an edge_index of two with numbers"
        )
    if isinstance(x, dict):
        return ": networkx.from_dict_of_lists(neighbours) makes a network of lists of neighbours"
    return ""


def check_sizes(graph: Graph, num_queries: Counts | None, num_keys: Counts | None) -> Graph:
    """The same graph; ValueError if it has other numbers of queries or keys than those given (None: any)."""
    if num_queries is None or (num_queries, num_queries if num_keys is None else num_keys) == graph.shape:
        return graph
    for name, counts, own in (("num_queries", num_queries, 0), ("num_keys", num_keys, 1)):
        if counts is None:
            counts = num_queries
        counts = parse_counts(name, counts)
        sizes = tuple(size[own] for size in graph.sizes)
        if counts != sizes and (len(counts) > 1 or counts[0] != sum(sizes)):
            advice = (
                "pass the rows of this process, x[graph.rows]"
                if isinstance(graph, SpreadGraph)
                else "a graph does not follow when nodes are removed from a Data: take graph.subgraph(nodes)"
            )
            raise ValueError(
                f"the graph joins {graph.num_queries} queries to {graph.num_keys} keys in {graph.num_examples} "
                f"example(s) (got {name}={list(counts) if len(counts) > 1 else counts[0]}); {advice}"
            )
    return graph


# Tensors --------------------------------------------------------------------------------------------------------------


def _from_tensor(x: Tensor, num_queries: Counts | None, num_keys: Counts | None) -> Graph:
    refuse_make_fx()
    if torch._C._functorch.is_batchedtensor(x):
        raise ValueError(
            f"torch.vmap cannot map over edges, which differ in number from graph to graph (got {list(x.shape)} of each); give"
            " it one graph for all, or call for a batch, as_graph([...]), or for one after the other"
        )
    if x.layout != torch.strided:
        return check_sizes(_from_torch_sparse(x), num_queries, num_keys)
    if x.dtype == torch.bool:
        return check_sizes(_from_mask(x), num_queries, num_keys)
    if x.dtype not in INDEX_DTYPES:
        raise TypeError(
            f"a dense tensor must hold integers (edge_index) or bools (a mask) (got {x.dtype}); {_what_of_floats(x)}"
        )
    if x.dim() != 2 or x.size(0) != 2:
        raise ValueError(
            f"a tensor of integers is an edge_index [2, num_edges] (got shape {list(x.shape)}); {_what_of_integers(x)}"
        )
    if isinstance(x, EdgeIndex) and num_queries is None:
        num_keys, num_queries = x.sparse_size()
        if num_keys is None and num_queries is not None:
            num_keys = num_queries
    if num_queries is None:
        raise ValueError(NO_SIZES)
    return _from_edge_index(x, parse_sizes(num_queries, num_keys))


def _what_of_floats(x: Tensor) -> str:
    if x.dim() == 2 and x.size(0) == 2:
        return "write edge_index.long() if it is one"
    return (
        "values are never a bias: give the mask, `x != 0` (of a mask of torch's, 0 where a key is seen and -inf elsewhere, "
        "`x == 0`), and the values to the layer as edge features or bias"
    )


def _what_of_integers(x: Tensor) -> str:
    if x.dim() == 1:
        return "the graph of a batch vector, all nodes of an example, is CompleteGraph(batch.bincount().tolist())"
    if x.dim() == 2 and x.size(1) == 2:
        return "write edge_index.t() if it holds a pair in each row"
    return "give an adjacency matrix as a bool mask [num_queries, num_keys]"


def _from_edge_index(x: Tensor, sizes: Sizes) -> Graph:
    is_undirected = isinstance(x, EdgeIndex) and x.is_undirected

    def build(edge_index: Tensor) -> Read:
        copy = copied(edge_index, sizes)
        return Read(EdgeListGraph.of_copy(copy, sizes, is_undirected), (copy.numbers,))

    return graph_of_tensor(x, ("edge_index", sizes, is_undirected), lambda x: (plain(x),), build)


def _from_mask(x: Tensor) -> Graph:
    if x.dim() != 2:
        raise ValueError(f"a mask must have shape [num_queries, num_keys] (got {list(x.shape)})")

    def build(mask: Tensor) -> Read:
        mask = snapshot(mask)
        return Read(EdgeListGraph.owning(held(mask.nonzero().t().flip(0)), *mask.shape), (mask,))

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
        edges = held(torch.stack([snapshot(key), snapshot(query)]))
        return Read(EdgeListGraph.owning(edges, *sizes), (edges[1], edges[0]))

    return graph_of_tensor(x, ("coo", sizes), lambda x: tuple(x._indices()), build)


def _from_compressed(x: Tensor) -> Graph:
    sizes, is_by_row = (x.size(0), x.size(1)), x.layout == torch.sparse_csr

    def numbers_of(x: Tensor) -> tuple[Tensor, Tensor]:
        return (x.crow_indices(), x.col_indices()) if is_by_row else (x.ccol_indices(), x.row_indices())

    def build(starts: Tensor, inner: Tensor) -> Read:
        starts, inner = snapshot(starts), snapshot(inner)
        check_rowptr(starts, inner)
        pair = [inner.long(), rows_of(starts)]
        edges = torch.stack(pair if is_by_row else pair[::-1])  # rows are queries
        own = edges[0 if is_by_row else 1]
        return Read(EdgeListGraph.owning(edges, *sizes), (starts, own if inner.dtype == own.dtype else inner))

    return graph_of_tensor(x, (x.layout, sizes), numbers_of, build)


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
