"""The edges of the own rows in parts, each with the way in which its keys come."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor

from graphattn.distributed.exchange import Halo, make_halo
from graphattn.distributed.ranges import Ptr
from graphattn.graphs import BandedGraph, CompleteGraph, EdgeListGraph, Graph, GridGraph, LocalGraph, UnionGraph
from graphattn.graphs.local import frame_of
from graphattn.graphs.rows import Places, block_of, by_query, cut_edges, edges_of_rows, rows_between

Line = CompleteGraph | BandedGraph


class Where(NamedTuple):
    """The place of this process among those that share a graph."""

    group: dist.ProcessGroup
    rank: int
    query_ptr: Ptr
    key_ptr: Ptr

    @property
    def size(self) -> int:
        return len(self.query_ptr) - 1

    @property
    def rows(self) -> tuple[int, int]:
        return self.query_ptr[self.rank], self.query_ptr[self.rank + 1]


class Part(NamedTuple):
    """Some edges of the own rows. Parts share no edge."""

    graph: LocalGraph  # own queries x the keys that the halo fetches
    halo: Halo
    edges: Places | None  # places among the edges of the own rows; None where they were not looked for
    rows: slice | None = None  # among the own rows, where it has some of them only
    keys: slice | None = None  # among the keys that the halo fetches, where parts share one

    @property
    def own_keys(self) -> tuple[int, int]:
        """The range of keys, among those that the halo fetches, that are this process's own."""
        return self.halo.before, self.halo.before + self.graph.num_keys - self.halo.num_received

    def is_foreign(self, key: Tensor) -> Tensor:
        """Which keys have come from other processes."""
        first, last = self.own_keys
        return (key < first) | (key >= last)


class Parts(NamedTuple):
    """Parts that share no edge and hold all edges of the own rows."""

    parts: tuple[Part, ...]
    is_whole: bool  # whether the one part holds all edges in their order
    strategy: str


def fetches(parts: Sequence[Part]) -> list[list[int]]:
    """Numbers of parts that share what is fetched, which follow one another."""
    return [list(numbers) for _, numbers in groupby(range(len(parts)), key=lambda number: id(parts[number].halo))]


def whole_part(graph: Graph, where: Where) -> Part:
    """All edges of the own rows in one part."""
    local, keys, _ = rows_between(graph, *where.rows)
    return Part(local, make_halo(keys, where.key_ptr, where.rank, where.group), slice(0, local.num_edges))


def seen_keys(graph: Line, where: Where, rank: int) -> tuple[int, int]:
    """The range of keys that the rows of a rank see."""
    keys = rows_between(graph, *where.query_ptr[rank : rank + 2]).keys
    assert isinstance(keys, slice)  # as those of complete graphs and bands are
    return keys.start, keys.stop


def sees_most(graph: Graph, where: Where) -> TypeGuard[Line]:
    """Whether the rows of some rank see more than half of the keys of others, so that blocks of keys go round."""
    if not is_line(graph) or where.size == 1:
        return False
    for rank in range(where.size):
        (low, high), (first, last) = seen_keys(graph, where, rank), where.key_ptr[rank : rank + 2]
        own = max(0, min(high, last) - max(low, first))
        if 2 * (high - low - own) > graph.num_keys - (last - first):
            return True
    return False


def is_line(graph: Graph) -> TypeGuard[Line]:
    return isinstance(graph, (CompleteGraph, BandedGraph)) and graph.num_examples == 1 and not graph.edges_by_key


def ring_parts(graph: Line, where: Where) -> list[Part]:
    """The keys of each rank in turn, from the own ones on: two blocks of keys are in memory at a time."""
    size, rank = where.size, where.rank
    seen = [seen_keys(graph, where, other) for other in range(size)]

    def shared(owner: int, reader: int) -> tuple[int, int]:
        """The keys of `owner` that `reader` sees."""
        low, high = (max(where.key_ptr[owner], seen[reader][0]), min(where.key_ptr[owner + 1], seen[reader][1]))
        return low, max(low, high)

    parts = []
    for step in range(size):
        owner, reader = (rank - step) % size, (rank + step) % size
        low, high = shared(owner, rank)
        local = block_of(graph, *where.rows, low, high)
        if step == 0:
            own = slice(low - where.key_ptr[rank], high - where.key_ptr[rank])
            parts.append(Part(local, Halo(where.group, slice(0, 0), (), (), own, 0), None))
            continue
        sent = [place - where.key_ptr[rank] for place in shared(rank, reader)]
        send, recv = [0] * size, [0] * size
        send[reader], recv[owner] = sent[1] - sent[0], high - low
        halo = Halo(where.group, slice(*sent), tuple(send), tuple(recv), slice(0, 0), 0)
        parts.append(Part(local, halo, None))
    return parts


def base_of(graph: UnionGraph) -> Graph | None:
    """The largest structured member of a union."""
    structured = [
        member
        for member in graph.graphs
        if is_line(member) or (isinstance(member, GridGraph) and member.num_examples == 1)
    ]
    return max(structured, key=lambda member: member.num_edges, default=None)


def union_parts(graph: UnionGraph, where: Where, parts_of: Callable[[Graph, Where], list[Part]]) -> list[Part] | None:
    """A structured member in its own way, and what the others add to it as edges; None where no member is structured."""
    base = base_of(graph)
    if base is None or graph.num_examples > 1 or graph.edges_by_key:
        return None
    start, stop = where.rows
    others = [edges_of_rows(member, start, stop) for member in graph.graphs if member is not base]
    rest = by_query(torch.cat(others, 1).unique(dim=1))
    rest = rest[:, ~base.allows(rest[1], rest[0])]
    local, keys = cut_edges(graph, rest, start, stop)
    first = keys.start if isinstance(keys, slice) else keys
    frame = frame_of(graph)
    parts = [part._replace(graph=reframed(part.graph, frame), edges=None) for part in parts_of(base, where)]
    halo = make_halo(keys, where.key_ptr, where.rank, where.group)
    return [*parts, Part(LocalGraph(local, frame, start, first), halo, None)]


def reframed(local: LocalGraph, frame: Graph) -> LocalGraph:
    """With the positions that the union says, which may start elsewhere than those of its member."""
    return LocalGraph(local.graph, frame, local.query_numbers, local.key_numbers)


def rounds_of(part: Part, where: Where, rounds: int) -> list[Part]:
    """Own keys first, then the others in so many rounds of equal size: their rows are in memory two rounds at a time."""
    local, halo = part.graph, part.halo
    num_keys, before, num_own = local.num_keys, halo.before, local.num_keys - halo.num_received
    place = torch.arange(num_keys)
    is_own = (place >= before) & (place < before + num_own)
    foreign = (~is_own).nonzero().flatten()
    chunks = [is_own.nonzero().flatten(), *foreign.tensor_split(rounds)]
    parts = []
    for number, chunk in enumerate(chunks):
        graph, edges = over_keys(local, chunk)
        keys = graph.key_numbers
        assert isinstance(keys, Tensor)
        own = Halo(where.group, slice(0, 0), (), (), halo.own, 0)
        chunk_halo = make_halo(keys, where.key_ptr, where.rank, where.group) if number else own
        parts.append(Part(graph, chunk_halo, edges))
    return parts


def over_keys(local: LocalGraph, keys: Tensor) -> tuple[LocalGraph, Tensor]:
    """The edges of a graph that lead to some of its keys, written out, and their places."""
    new = torch.full((local.num_keys,), -1)
    new[keys] = torch.arange(len(keys))
    edges = local.edge_index("cpu")
    places = (new[edges[0]] >= 0).nonzero().flatten()
    key, query = edges[:, places]
    counts = torch.searchsorted(keys, torch.tensor(local.key_ptr)).diff().tolist()
    graph = EdgeListGraph.owning(torch.stack([new[key], query]), [size[0] for size in local.sizes], counts)
    if local.device is not None:
        graph = graph.to(local.device)
    numbers = local.key_numbers
    numbers = numbers.cpu()[keys] if isinstance(numbers, Tensor) else keys + numbers
    return LocalGraph(graph, local.frame, local.query_numbers, numbers), places
