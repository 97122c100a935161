"""A causal graph of which each process owns a block from the head and one from the tail, so that all have equal work.

Late rows of a causal graph see most keys. The nodes are cut into twice as many blocks as processes, and the first process gets the
first and the last, the second the second and the last but one, and so on (Brandon et al. 2023, Striped attention, and Li et al.
2024, DistFlashAttn, balance rings in like ways).
"""

import torch
from torch import Tensor

from graphattn.distributed.exchange import Halo, as_range, indices, make_halo
from graphattn.distributed.parts import Line, Part, Where
from graphattn.distributed.ranges import Ptr, even_ptr, ptr_of_counts
from graphattn.graphs import EdgeListGraph, LocalGraph
from graphattn.graphs.local import frame_of
from graphattn.graphs.rows import Places, block_of, cut, edges_between, rows_between

Range = tuple[int, int]


def blocks_of(count: int, size: int) -> list[tuple[Range, Range]]:
    """The two ranges of nodes of each process.

    >>> blocks_of(9, 2)
    [((0, 2), (6, 9)), ((2, 4), (4, 6))]
    """
    ends = even_ptr(count, 2 * size)
    return [((ends[rank], ends[rank + 1]), (ends[-rank - 2], ends[-rank - 1])) for rank in range(size)]


def ptr_of_blocks(count: int, size: int) -> Ptr:
    """How many nodes the processes before each one own."""
    return ptr_of_counts([sum(stop - start for start, stop in blocks) for blocks in blocks_of(count, size)])


def order_of(count: int, size: int) -> Tensor:
    """[count] int64: the nodes of one process after the other."""
    ranges = [torch.arange(*block) for blocks in blocks_of(count, size) for block in blocks]
    return torch.cat([torch.empty(0, dtype=torch.int64), *ranges])


def edges_of_blocks(graph: Line, where: Where) -> Tensor:
    """Places of the edges of the own rows in the whole graph."""
    blocks = blocks_of(graph.num_queries, where.size)[where.rank]
    return torch.cat([indices(edges_between(graph, *block)) for block in blocks])


def whole_part_of_blocks(graph: Line, where: Where) -> Part:
    """All edges of the own rows in one part, written out; collective."""
    order, before, edges = order_of(graph.num_queries, where.size), 0, []
    for start, stop in blocks_of(graph.num_queries, where.size)[where.rank]:
        local, keys, _ = rows_between(graph, start, stop)
        key, query = local.edge_index("cpu")
        edges.append(torch.stack([indices(keys)[key], query + before]))
        before += stop - start
    key, query = torch.cat(edges, 1)
    keys, key = order.argsort()[key].unique(return_inverse=True)
    own = EdgeListGraph.owning(torch.stack([key, query]), before, len(keys))
    numbers = order[where.rows[0] : where.rows[1]], order[keys]
    halo = make_halo(keys, where.key_ptr, where.rank, where.group)
    return Part(LocalGraph(own, frame_of(graph), *numbers), halo, slice(0, own.num_edges))


def ring_of_blocks(graph: Line, where: Where) -> list[Part]:
    """The two blocks of each process in turn, from the own ones on, as four parts that share what is fetched."""
    blocks, size, rank = blocks_of(graph.num_queries, where.size), where.size, where.rank
    seen = [[keys_of(graph, block) for block in own] for own in blocks]

    def shared(owner: int, reader: int) -> list[Range]:
        """Of each block of `owner` the range of nodes that `reader` sees."""
        found = []
        for start, stop in blocks[owner]:
            ranges = [(max(keys[0], start), min(keys[1], stop)) for keys in seen[reader]]
            ranges = [(low, high) for low, high in ranges if low < high] or [(start, start)]
            found.append((min(low for low, _ in ranges), max(high for _, high in ranges)))
        return found

    parts = []
    for step in range(size):
        owner, reader = (rank - step) % size, (rank + step) % size
        halo = halo_of_step(where, places_of(blocks[rank], shared(rank, reader)), shared(owner, rank), owner, reader)
        parts += parts_of_step(graph, where, blocks[rank], shared(owner, rank), halo)
    return parts


def keys_of(graph: Line, rows: Range) -> Range:
    """The range of keys that some rows see."""
    keys = cut(graph, *rows).keys
    assert isinstance(keys, slice)  # as those of complete graphs and bands are
    return keys.start, keys.stop


def places_of(blocks: tuple[Range, Range], ranges: list[Range]) -> Places:
    """Where ranges of nodes lie among the own rows."""
    (first, stop), (second, _) = blocks
    starts = first, second - (stop - first)
    return as_range(torch.cat([torch.arange(low, high) - start for start, (low, high) in zip(starts, ranges)]))


def halo_of_step(where: Where, send: Places, ranges: list[Range], owner: int, reader: int) -> Halo:
    if owner == where.rank:
        return Halo(where.group, slice(0, 0), (), (), send, 0)
    send_counts, recv_counts = [0] * where.size, [0] * where.size
    send_counts[reader] = send.stop - send.start if isinstance(send, slice) else len(send)
    recv_counts[owner] = sum(high - low for low, high in ranges)
    return Halo(where.group, send, tuple(send_counts), tuple(recv_counts), slice(0, 0), 0)


def parts_of_step(
    graph: Line, where: Where, blocks: tuple[Range, Range], ranges: list[Range], halo: Halo
) -> list[Part]:
    """Own blocks x ranges of keys that have come, those with edges; one at least, which fetches."""
    found = []
    first_row = 0
    for start, stop in blocks:
        first_key = 0
        for low, high in ranges:
            local = block_of(graph, start, stop, low, high)
            rows, keys = slice(first_row, first_row + stop - start), slice(first_key, first_key + high - low)
            found.append(Part(local, halo, None, rows, keys))
            first_key += high - low
        first_row += stop - start
    return [part for part in found if part.graph.num_edges] or found[:1]
