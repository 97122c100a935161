"""A banded graph as tiles: blocks of neighbouring queries, each with all keys that one of them may see.

The examples of a batch and, under dilation d, the queries of each residue modulo d are bands of their own without
dilation: strips. They are laid end to end on a line of slots, such that a query sees those keys of its strip that lie
at most `before` slots before its own and at most `after` slots after it. One mask serves all tiles inside strips.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph


def block_size(window: int) -> int:
    """Queries of a tile: more would leave more of its area unused, fewer would make many small products.

    Measured for windows of 16 ... 4096 keys, forward and backward, one thread of an AMD EPYC: twice or half as many
    cost up to 20 % more.
    """
    return 32 if window <= 128 else 64 if window <= 1024 else 128


def tiles_of(graph: BandedGraph) -> "Tiles":
    """The tiles of a graph, laid out once."""

    def lay_out():
        with torch.device("cpu"):  # whatever the default device is
            return Tiles(graph)

    return graph.remember("tiles", lay_out)


def area_of_tiles(graph: BandedGraph) -> int:
    """Scores per head that its tiles compute, roughly and without laying them out."""
    window = graph.before + graph.after
    block = block_size(window)
    return (graph.num_queries + block) * (block + window)


class Run(NamedTuple):
    """Neighbouring tiles that are computed in one call, with slots from first to last, the last not included."""

    count: int
    first_query: int
    last_query: int
    first_key: int
    last_key: int


class Tiles:
    """Tile t has the `block` queries from slot t * block on and the `width` keys from slot t * block on.

    Slots of keys are counted from `before` slots earlier than those of queries, so that none is negative. Neighbouring
    tiles share all keys but `block`.
    """

    def __init__(self, graph: BandedGraph):
        num_slots, queries, keys = place(strips_of(graph), graph.before, graph.after, graph.dilation)
        window = graph.before + graph.after
        self.block = max(1, min(block_size(window), num_slots))
        self.width = self.block + window
        tiles = -(-num_slots // self.block)
        self.queries = Side(queries, graph.dilation, tiles * self.block, nobody=-2)
        self.keys = Side(keys, graph.dilation, tiles * self.block + window, nobody=-1)
        self.num_queries = int(queries.count.sum())
        self.key_slots = (graph.before, graph.before + num_slots)
        self.occupied = (self.queries.strip.view(tiles, self.block) >= 0).any(1).nonzero().flatten().tolist()
        distance = torch.arange(self.width) - torch.arange(self.block)[:, None]
        self.band = (distance >= 0) & (distance <= window)  # [block, width], the mask that tiles share

    def runs(self, longest: int) -> Iterator[Run]:
        """All tiles that hold queries, at most `longest` neighbours together."""
        first = 0
        for last in range(1, len(self.occupied) + 1):
            goes_on = last < len(self.occupied) and self.occupied[last] == self.occupied[last - 1] + 1
            if not goes_on or last - first == longest:
                yield self.run(self.occupied[first], last - first)
                first = last

    def run(self, tile: int, count: int) -> Run:
        first, last = tile * self.block, (tile + count) * self.block
        first_key, last_key = first, last - self.block + self.width
        if count == 1:  # several tiles must be equally wide; one alone need not have slots that hold no key
            first_key, last_key = max(first_key, self.key_slots[0]), min(last_key, self.key_slots[1])
        return Run(count, first, last, first_key, last_key)

    def split_keys(self, rows: Tensor, run: Run) -> Tensor:
        """[slots, heads, dim] -> [count, heads, width, dim], where tiles overlap in memory as they do on the line."""
        return rows.unfold(0, self.keys_of_tile(run), self.block).transpose(-1, -2)

    def keys_of_tile(self, run: Run) -> int:
        return run.last_key - run.first_key - (run.count - 1) * self.block

    def mask(self, run: Run) -> Tensor:
        """Which keys its queries see: bool [count, 1, block, width], with count 1 where tiles share their mask."""
        skipped, width = run.first_key - run.first_query, self.keys_of_tile(run)
        band = self.band[:, skipped : skipped + width]
        key = self.keys.strip[run.first_key : run.last_key]
        # Keys of a strip lie side by side: all of these are of one, and so are the queries in whose windows they lie.
        if key[0].item() == key[-1].item() >= 0:
            return band[None, None]
        query = self.queries.strip[run.first_query : run.last_query]
        same = query.view(run.count, self.block, 1) == key.unfold(0, width, self.block)[:, None]
        return (band & same)[:, None]


def add_up(tiles: Tensor, block: int) -> Tensor:
    """[count, heads, width, dim] -> [slots, heads, dim]: the sum over tiles, the reverse of `split_keys`."""
    count, heads, width, dim = tiles.shape
    shifts = range(0, width, block)
    total = tiles.new_zeros((count + len(shifts) - 1) * block, heads, dim)
    for shift in shifts:  # tiles do not overlap in any one block of their keys
        piece = tiles[:, :, shift : shift + block].transpose(1, 2)
        total[shift : shift + count * block].unflatten(0, (count, block))[:, : piece.size(1)] += piece
    return total[: (count - 1) * block + width]


class Pieces(NamedTuple):
    """Of each strip the nodes that have edges, evenly spaced: [num_strips] each."""

    first_slot: Tensor
    first_node: Tensor
    count: Tensor


class Side:
    """Where the queries, or the keys, lie on the line.

    `strip` [num_slots] int32 is the strip of each slot, `nobody` where no node with edges lies. Node i lies in slot
    i + shift, or, where this holds for no shift, `node` [num_slots] is the node of each slot, -1 for none.
    """

    def __init__(self, pieces: Pieces, step: int, num_slots: int, nobody: int):
        strip = torch.repeat_interleave(torch.arange(pieces.count.numel()), pieces.count)
        place = torch.arange(strip.numel()) - (pieces.count.cumsum(0) - pieces.count)[strip]
        slot = pieces.first_slot[strip] + place
        self.strip = torch.full((num_slots,), nobody, dtype=torch.int32)
        self.strip[slot] = strip.to(torch.int32)
        shift = pieces.first_slot - pieces.first_node
        self.shift, self.node = 0, None
        if step == 1 and bool((shift == shift[:1]).all()):
            self.shift = int(shift[0]) if shift.numel() else 0
        else:
            self.node = torch.full((num_slots,), -1)
            self.node[slot] = pieces.first_node[strip] + step * place

    def match(self, first: int, last: int, num_nodes: int):
        """The nodes in slots first .. last, and the rows where they come among these slots."""
        if self.node is not None:
            node = self.node[first:last]
            rows = (node >= 0).nonzero().flatten()
            return node[rows], rows
        start, stop = (min(max(slot - self.shift, 0), num_nodes) for slot in (first, last))
        row = start + self.shift - first
        return slice(start, stop), slice(row, row + stop - start) if stop > start else slice(0, 0)

    def take(self, nodes: Tensor, first: int, last: int) -> Tensor:
        """[num_nodes, ...] -> [slots, ...] from slot first to last, zeros where no node lies; a view if it can be."""
        at, rows = self.match(first, last, nodes.size(0))
        found = nodes[at]
        if found.size(0) == last - first:
            return found
        taken = nodes.new_zeros(last - first, *nodes.shape[1:])
        taken[rows] = found
        return taken

    def put(self, nodes: Tensor, first: int, last: int, values: Tensor) -> None:
        """Writes [slots, ...] to their nodes."""
        at, rows = self.match(first, last, nodes.size(0))
        nodes[at] = values[rows].to(nodes.dtype)

    def add(self, nodes: Tensor, first: int, last: int, values: Tensor) -> None:
        """Adds [slots, ...] to their nodes."""
        at, rows = self.match(first, last, nodes.size(0))
        nodes[at] += values[rows].to(nodes.dtype)


class Strips(NamedTuple):
    """Bands without dilation: [num_strips] each."""

    first_query: Tensor  # node
    num_queries: Tensor
    first_key: Tensor  # node
    num_keys: Tensor
    offset: Tensor  # query u is centred on key u + offset, both counted within the strip


def strips_of(graph: BandedGraph) -> Strips:
    """Query residue + d * u is centred on key residue + offset + d * u, which has a residue of its own."""
    step = graph.dilation
    query_ptr, key_ptr = (torch.tensor(ptr[:-1])[:, None] for ptr in (graph.query_ptr, graph.key_ptr))
    num_queries, num_keys = torch.tensor(graph.sizes)[..., None].unbind(1)
    residue = torch.arange(step)  # [num_examples, step] from here on
    centre = residue + torch.tensor(graph.offsets)[:, None]
    strips = (
        query_ptr + residue,
        -((residue - num_queries) // step),  # rounded up
        key_ptr + centre % step,
        -((centre % step - num_keys) // step),
        centre // step,
    )
    return Strips(*(x.flatten() for x in torch.broadcast_tensors(*strips)))


def place(strips: Strips, before: int, after: int, step: int) -> tuple[int, Pieces, Pieces]:
    """Number of slots, and where the queries and the keys that have edges lie; those without are left out.

    Key w of a strip lies w - offset slots after query 0, so that every window is `before` and `after` its query.
    """
    first_query = (-strips.offset - after).clamp(min=0)
    last_query = torch.minimum(strips.num_queries, strips.num_keys - strips.offset + before) - 1
    has_edges = (first_query <= last_query) & (strips.num_keys > 0)
    strips = Strips(*(x[has_edges] for x in strips))
    first_query, last_query = first_query[has_edges], last_query[has_edges]
    first_key = torch.maximum(first_query - before, -strips.offset)
    last_key = torch.minimum(last_query + after, strips.num_keys - 1 - strips.offset)
    first, last = first_key.clamp(max=0), torch.maximum(strips.num_queries - 1, last_key)
    sizes = last - first + 1
    query_0 = sizes.cumsum(0) - sizes - first  # slot of query 0 of each strip
    queries = Pieces(query_0 + first_query, strips.first_query + step * first_query, last_query - first_query + 1)
    first_node = strips.first_key + step * (first_key + strips.offset)
    keys = Pieces(query_0 + first_key + before, first_node, last_key - first_key + 1)
    return int(sizes.sum()), queries, keys
