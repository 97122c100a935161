"""Edges read from files in pieces, each of which goes to the process that owns its query: none holds all of them."""

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from graphattn.distributed.agreement import Agreement
from graphattn.distributed.exchange import exchange_counted, total_of
from graphattn.distributed.features import map_file
from graphattn.distributed.ranges import Ptr, cut_evenly, even_ptr, owners, parse_ptr
from graphattn.distributed.sharding import group_of_mesh
from graphattn.graphs import EdgeListGraph
from graphattn.graphs.sizes import parse_flag, parse_integer


class OwnEdges(NamedTuple):
    """The edges of the queries of one process.

    `shard(own.graph, query_ptr=own.query_ptr, own_edges=True)` takes them; `MappedRows("edge_attr.npy")[own.places]` reads what a
    file has for each of them.
    """

    graph: EdgeListGraph  # of the size of the whole graph
    places: Tensor  # int64 [num_own_edges], rising: their columns, counted through all files
    query_ptr: Ptr  # where the queries of each process start, and their number


def read_edges(
    files: Sequence[Any],
    num_queries: int,
    num_keys: int | None = None,
    mesh: DeviceMesh | dist.ProcessGroup | None = None,
    *,
    query_ptr: Sequence[int] | None = None,
    balanced: bool = False,
    chunk: int = 2**22,
    timeout: float = 60.0,
) -> OwnEdges:
    """The edges of this process's queries, from files that hold those of all.

    Collective. Each process reads its share of the columns, `chunk` at a time, and sends each edge to the owner of its query: all
    files are read once (twice with `balanced`), and no process holds more than its own edges and a chunk.

    Args:
        files: Files of NumPy (.npy), or arrays or tensors, memory-mapped ones among them: integers [2, num_edges] each, row 0 =
            key (source), row 1 = query (target); their columns follow one another. Every process gives the same.
        num_queries: Of the whole graph.
        num_keys: Likewise; as many as queries by default.
        mesh: A DeviceMesh of one axis, a process group, or None for all processes.
        query_ptr: Where the queries of each process start, and their number; equal ranges by default.
        balanced: Ranges of equal numbers of edges instead, for which the edges of each query are counted first.
        chunk: Columns that are read at a time.
        timeout: Seconds to wait for a process that does not call.

    Raises:
        ValueError: on every process, where files or arguments differ or an edge leads to no node.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "edges.npy")
        >>> np.save(path, np.array([[0, 1, 2], [2, 0, 1]]))
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> own = read_edges([path], num_queries=3)
        >>> own.graph.edge_index().tolist(), own.places.tolist(), own.query_ptr
        ([[0, 1, 2], [2, 0, 1]], [0, 1, 2], (0, 3))
        >>> dist.destroy_process_group()
    """
    agreement = Agreement.of(group_of_mesh(mesh), timeout)
    columns, ptr = agreed(files, num_queries, num_keys, query_ptr, balanced, chunk, agreement)
    edges = torch.cat([columns.sent(piece, ptr, agreement) for piece in columns.pieces(agreement)])
    key, query, places = edges[edges[:, 2].argsort()].t().contiguous()
    graph = EdgeListGraph.owning(torch.stack([key, query]), columns.num_queries, columns.num_keys)
    return OwnEdges(graph, places, ptr)


def agreed(
    files: Any, num_queries: Any, num_keys: Any, query_ptr: Any, balanced: Any, chunk: Any, agreement: Agreement
) -> tuple["Columns", Ptr]:
    """The arguments of `read_edges`, checked and compared over all processes."""
    found: list[tuple[Columns, Ptr | None]] = []

    def facts() -> dict[str, Any]:
        sizes = [parse_integer("num_queries", num_queries)]
        sizes.append(sizes[0] if num_keys is None else parse_integer("num_keys", num_keys))
        if parse_flag("balanced", balanced) and query_ptr is not None:
            raise ValueError(f"'balanced' makes the ranges itself (got query_ptr={query_ptr}); leave one of them out")
        columns = Columns.of(files, sizes[0], sizes[1], parse_integer("chunk", chunk, minimum=1))
        ptr = None if query_ptr is None else parse_ptr("query_ptr", query_ptr, sizes[0], agreement.size)
        found.append((columns, ptr))
        return {"files": columns.counts, "sizes": sizes, "query_ptr": ptr, "balanced": balanced, "chunk": chunk}

    agreement.compare("read_edges", facts)
    columns, ptr = found[0]
    if balanced:
        return columns, balanced_ranges(columns, agreement)
    return columns, even_ptr(columns.num_queries, agreement.size) if ptr is None else ptr


class Columns(NamedTuple):
    """The columns of several arrays [2, num_edges], laid end to end."""

    arrays: tuple[Any, ...]
    num_queries: int
    num_keys: int
    chunk: int

    @classmethod
    def of(cls, files: Sequence[Any], num_queries: int, num_keys: int, chunk: int) -> "Columns":
        """ValueError or TypeError where a file is none of edges."""
        if isinstance(files, (str, PathLike)) or not hasattr(files, "__len__") or not len(files):
            raise ValueError(f"'files' must be a sequence of files or arrays (got {files!r}); put one into a list")
        arrays: tuple[Any, ...] = tuple(map_file(x) if isinstance(x, (str, PathLike)) else x for x in files)
        for file, array in zip(files, arrays):
            if not hasattr(array, "dtype") or not hasattr(array, "shape"):
                raise TypeError(f"'files' must hold names of files, arrays or tensors (got {type(array).__name__})")
            kind = torch.empty(0, dtype=array.dtype).numpy().dtype if isinstance(array, Tensor) else array.dtype
            if len(array.shape) != 2 or array.shape[0] != 2 or kind.kind not in "iu":
                name = file if isinstance(file, (str, PathLike)) else type(file).__name__
                raise ValueError(
                    f"'files' must hold integers [2, num_edges] (got {kind} {list(array.shape)} in {name}); a file of"
                    " [num_edges, 2] is given as numpy.load(file, mmap_mode='r').T"
                )
        return cls(arrays, num_queries, num_keys, chunk)

    @property
    def counts(self) -> list[int]:
        return [int(array.shape[1]) for array in self.arrays]

    def pieces(self, agreement: Agreement) -> Iterator[tuple[int, Tensor]]:
        """The share of this process, piece after piece: number of the first column, and int64 [2, columns].

        All processes have as many pieces, of which some may be empty. ValueError on all if an edge of one leads to no node.
        """
        total, size, rank = sum(self.counts), agreement.size, agreement.rank
        share = even_ptr(total, size)
        most = max(last - first for first, last in zip(share, share[1:]))  # noqa: RUF007
        first, last = share[rank : rank + 2]
        for start in range(first, first + max(most, 1), self.chunk):
            found: list[Tensor] = []

            def facts(start=start, found=found) -> dict[str, Any]:
                found.append(self.read(min(start, last), min(start + self.chunk, last)))
                return {}

            agreement.compare("read_edges", facts)
            yield start, found[0]

    def read(self, first: int, last: int) -> Tensor:
        """Some columns as int64 [2, last - first]."""
        parts, begin = [np.empty((2, 0), np.int64)], 0
        for array, count in zip(self.arrays, self.counts):
            low, high = (min(max(place - begin, 0), count) for place in (first, last))
            if low < high:
                parts.append(np.asarray(array[:, low:high]).astype(np.int64))
            begin += count
        edges = torch.from_numpy(np.concatenate(parts, 1))
        for row, name, count in ((0, "keys", self.num_keys), (1, "queries", self.num_queries)):
            outside = ((edges[row] < 0) | (edges[row] >= count)).nonzero()
            if len(outside):
                place = int(outside[0])
                raise ValueError(
                    f"edges must join {name} 0 .. {count - 1} (got {int(edges[row, place])} in column {first + place} of all"
                    " files); row 0 holds keys, row 1 queries"
                )
        return edges

    def sent(self, piece: tuple[int, Tensor], ptr: Ptr, agreement: Agreement) -> Tensor:
        """[own edges, 3]: key, query and place of those of this round's edges that end at own queries; collective."""
        start, edges = piece
        owner = owners(ptr, edges[1])
        order = owner.argsort(stable=True)
        rows = torch.stack([*edges, torch.arange(start, start + edges.size(1))], 1)[order]
        return exchange_counted(rows, torch.bincount(owner, minlength=agreement.size), agreement.group)


def balanced_ranges(columns: Columns, agreement: Agreement) -> Ptr:
    """Ranges of queries with equal numbers of edges; collective."""
    degrees = torch.zeros(columns.num_queries, dtype=torch.int64)
    for _, edges in columns.pieces(agreement):
        degrees += torch.bincount(edges[1], minlength=columns.num_queries)
    return cut_evenly(total_of(degrees, agreement.group), agreement.size)
