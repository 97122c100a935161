"""Batches of rows of a large graph with all that their layers see: exact, without sampling."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from graphattn.graphs import EdgeListGraph, Graph, LocalGraph, as_graph
from graphattn.graphs.csr import CSR, row_pointer, rows_of
from graphattn.graphs.local import frame_of
from graphattn.graphs.sizes import parse_integer
from graphattn.graphs.spread import SpreadGraph


class Level(NamedTuple):
    """What one layer computes: from the nodes of this level to those of the next.

    `x = layer((x, x[level.targets]), level.graph)`, where x [nodes of this level, channels].
    """

    graph: LocalGraph  # queries: the nodes of the next level; keys: those of this one
    targets: Tensor  # places of the next level's nodes among this level's
    edges: Tensor  # places of the edges in edge_index() of the whole graph


class RowBatch(NamedTuple):
    """Some nodes, and all that the last layer's result for them depends on."""

    rows: Tensor  # the nodes asked for, rising
    nodes: Tensor  # the nodes whose features the first layer reads, rising
    levels: tuple[Level, ...]  # one for each layer, the first layer's first


class RowLoader(DataLoader):
    """Batches of nodes, with the neighbourhood of as many hops as layers as rectangular graphs: results are exact.

    As a `torch.utils.data.DataLoader` it takes workers and samplers: under DistributedDataParallel give
    `sampler=DistributedSampler(nodes)`. Where neighbourhoods grow to the whole graph, sample them: `NeighborLoader` of PyG with
    pyg-lib.

    Args:
        graph: A Graph over one set of nodes, or anything `as_graph` takes that knows its number of nodes.
        num_layers: Layers of the model.
        nodes: The nodes to batch, all by default: integers [num_rows], or a mask, bool [num_nodes].
        **options: Of DataLoader: batch_size, shuffle, num_workers, sampler, ...

    Example:
        >>> from graphattn import BandedGraph
        >>> from graphattn.nn import GraphAttention
        >>> x, layers = torch.randn(1000, 8), [GraphAttention(8, 4, 2), GraphAttention(8, 4, 2)]
        >>> for batch in RowLoader(BandedGraph(1000, 2, 1), num_layers=2, batch_size=250):
        ...     h = x[batch.nodes]
        ...     for layer, level in zip(layers, batch.levels):
        ...         h = layer((h, h[level.targets]), level.graph)
        >>> h.shape, len(batch.nodes)
        (torch.Size([250, 8]), 254)
    """

    def __init__(self, graph: Any, num_layers: int, nodes: Tensor | None = None, **options: Any):
        whole: Graph = as_graph(graph)
        if isinstance(whole, SpreadGraph):
            raise ValueError(f"RowLoader makes batches of the rows of a whole graph (got {whole!r}); give that")
        if any(queries != keys for queries, keys in whole.sizes):
            raise ValueError(f"'graph' must have as many keys as queries (got {whole!r})")
        if "collate_fn" in options:
            raise ValueError("RowLoader makes its batches itself (got 'collate_fn'); change them in the loop")
        self.graph, self.num_layers = whole, parse_integer("num_layers", num_layers, minimum=1)
        super().__init__(parse_nodes(nodes, whole.num_queries), collate_fn=Batches(whole, self.num_layers), **options)  # type: ignore[arg-type]


def parse_nodes(nodes: Any, count: int) -> Tensor:
    """int64 [num_rows]: nodes, or those where a mask is True."""
    if nodes is None:
        return torch.arange(count)
    found = torch.as_tensor(nodes).cpu()
    if found.dtype is torch.bool and found.shape == (count,):
        return found.nonzero().flatten()
    if (
        found.dim() != 1
        or found.dtype is torch.bool
        or (found.numel() and (found.is_floating_point() or found.is_complex()))
    ):
        raise ValueError(
            f"'nodes' must be integers [num_rows] or a mask, bool [{count}] (got {found.dtype} {list(found.shape)})"
        )
    found = found.long()
    if found.numel() and (found.min() < 0 or found.max() >= count):
        raise ValueError(f"'nodes' must be in 0 .. {count - 1} (got {int(found.min())} .. {int(found.max())})")
    return found


class Batches:
    """Makes batches; workers have one each."""

    def __init__(self, graph: Graph, num_layers: int):
        self.graph, self.num_layers = graph, num_layers

    def __call__(self, nodes: list[Tensor] | Tensor) -> RowBatch:
        """Of a batch, or of what a sampler of whole batches gives."""
        rows = (nodes.flatten() if isinstance(nodes, Tensor) else torch.stack(nodes)).unique()
        csr, level, levels = self.graph.by_query("cpu"), rows, []
        for _ in range(self.num_layers):
            found, level = level_of(self.graph, csr, level)
            levels.append(found)
        return RowBatch(rows, level, tuple(reversed(levels)))


def level_of(graph: Graph, csr: CSR, queries: Tensor) -> tuple[Level, Tensor]:
    """The edges of some queries, rising, and the nodes that they and their keys are."""
    starts, degrees = csr.rowptr[queries].long(), (csr.rowptr[queries + 1] - csr.rowptr[queries]).long()
    ptr = row_pointer(degrees)
    row = rows_of(ptr)
    entries = starts[row] + torch.arange(len(row)) - ptr[row]
    key = csr.col[entries].long()
    nodes = torch.cat([key, queries]).unique()
    edges = torch.stack([torch.searchsorted(nodes, key), row])
    local = EdgeListGraph.owning(edges, sizes_among(graph, queries), sizes_among(graph, nodes))
    places = entries if csr.edge_id is None else csr.edge_id[entries].long()
    level = Level(LocalGraph(local, frame_of(graph), queries, nodes), torch.searchsorted(nodes, queries), places)
    return level, nodes


def sizes_among(graph: Graph, nodes: Tensor) -> list[int]:
    """How many of some nodes, rising, each example has."""
    return torch.searchsorted(nodes, torch.tensor(graph.query_ptr)).diff().tolist()
