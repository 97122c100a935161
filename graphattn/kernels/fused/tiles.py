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
from graphattn.kernels.crossovers import CROSSOVERS

# Tiles inside strips share their mask; fewer neighbours than compute so many scores are not worth calls of their own.
LEAST_AREA_INSIDE = 2**18


def block_size(window: int, is_backward: bool) -> int:
    """Queries of a tile, whose window has so many keys beside the query's own."""
    blocks = CROSSOVERS.blocks_of_bands_backward if is_backward else CROSSOVERS.blocks_of_bands
    return next((block for up_to, block in blocks if window <= up_to), CROSSOVERS.largest_block_of_bands)


def tiles_of(graph: BandedGraph, is_backward: bool = False) -> "Tiles":
    """The tiles of a graph, laid out once for each size of block."""
    block = block_size(graph.before + graph.after, is_backward)

    def lay_out():
        with torch.device("cpu"):  # whatever the default device is
            return Tiles(graph, block)

    return graph.remember(f"tiles of {block}", lay_out)


def area_of_tiles(graph: BandedGraph) -> int:
    """Scores per head that its tiles compute forward, roughly and without laying them out."""
    window = graph.before + graph.after
    block = block_size(window, is_backward=False)
    return (graph.num_queries + block) * (block + window)


class Run(NamedTuple):
    """Neighbouring tiles that are computed in one call, with slots from first to last, the last not included."""

    num_tiles: int
    first_query: int
    last_query: int
    first_key: int
    last_key: int
    is_inside: bool  # of strips: the mask is `band` of the tiles


class Tiles:
    """Tile t has the `block` queries from slot t * block on and the `width` keys from slot t * block on.

    Slots of keys are counted from `before` slots earlier than those of queries, so that none is negative. Neighbouring
    tiles share all keys but `block`.

    Attributes:
        num_queries: In all tiles.
        band: bool [block, width], which keys a query sees inside a strip.
        steps: [block, width], from the first key of its window to a key that it sees; of others any.
        stretches: (first tile, last tile + 1, whether all are inside strips), of all tiles that hold queries.
    """

    def __init__(self, graph: BandedGraph, block: int):
        num_slots, queries, keys = place(strips_of(graph), graph.before, graph.after, graph.dilation)
        window = graph.before + graph.after
        self.block = max(1, min(block, num_slots))
        self.width = self.block + window
        tiles = -(-num_slots // self.block)
        self.queries = Side(queries, graph.dilation, tiles * self.block, nobody=-2)
        self.keys = Side(keys, graph.dilation, tiles * self.block + window, nobody=-1)
        self.num_queries = int(queries.num_nodes.sum())
        self.key_slots = (graph.before, graph.before + num_slots)
        distance = torch.arange(self.width) - torch.arange(self.block)[:, None]
        self.band = (distance >= 0) & (distance <= window)
        self.steps = distance.clamp(0, window)
        self.stretches = list(self.lay_out_stretches())

    def lay_out_stretches(self) -> Iterator[tuple[int, int, bool]]:
        has_queries = (self.queries.strip.view(-1, self.block) >= 0).any(1)
        # Keys of a strip lie side by side: between two of one strip all are, and so are the queries in whose windows they lie.
        first, last = self.keys.strip[:: self.block][: len(has_queries)], self.keys.strip[self.width - 1 :: self.block]
        kind = has_queries + (has_queries & (first == last) & (first >= 0)).int()  # 2 inside strips
        kinds, counts = kind.unique_consecutive(return_counts=True)
        kinds[(kinds == 2) & (counts * self.band.numel() < LEAST_AREA_INSIDE)] = 1
        kinds, counts = torch.repeat_interleave(kinds, counts).unique_consecutive(return_counts=True)
        stop = 0
        for kind, count in zip(kinds.tolist(), counts.tolist()):
            start, stop = stop, stop + count
            if kind:
                yield start, stop, kind == 2

    def runs(self, longest_inside: int, longest: int) -> Iterator[Run]:
        """All tiles that hold queries, at most so many neighbours together, inside strips and elsewhere."""
        for first, last, is_inside in self.stretches:
            at_once = longest_inside if is_inside else longest
            for tile in range(first, last, at_once):
                yield self.run(tile, min(at_once, last - tile), is_inside)

    def run(self, tile: int, count: int, is_inside: bool) -> Run:
        first, last = tile * self.block, (tile + count) * self.block
        first_key, last_key = first, last - self.block + self.width
        if count == 1:  # several tiles must be equally wide; one alone need not have slots that hold no key
            first_key, last_key = max(first_key, self.key_slots[0]), min(last_key, self.key_slots[1])
        return Run(count, first, last, first_key, last_key, is_inside)

    def split_keys(self, rows: Tensor, run: Run) -> Tensor:
        """[slots, heads, dim] -> [count, heads, width, dim], where tiles overlap in memory as they do on the line."""
        return rows.unfold(0, self.keys_of_tile(run), self.block).transpose(-1, -2)

    def keys_of_tile(self, run: Run) -> int:
        return run.last_key - run.first_key - (run.num_tiles - 1) * self.block

    def mask(self, run: Run) -> Tensor:
        """Which keys its queries see, wherever it lies: bool [count, 1, block, width]."""
        width = self.keys_of_tile(run)
        query = self.queries.strip[run.first_query : run.last_query]
        key = self.keys.strip[run.first_key : run.last_key]
        same = query.view(run.num_tiles, self.block, 1) == key.unfold(0, width, self.block)[:, None]
        return (self.of_run(self.band, run) & same)[:, None]

    def places(self, run: Run) -> Tensor:
        """`steps` of its queries and keys: [1, block, width]."""
        return self.of_run(self.steps, run)[None]

    def of_run(self, pairs: Tensor, run: Run) -> Tensor:
        """[block, width] of a whole tile -> of the keys of a run's tiles."""
        skipped = run.first_key - run.first_query
        return pairs[:, skipped : skipped + self.keys_of_tile(run)]


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
    num_nodes: Tensor


class Side:
    """Where the queries, or the keys, lie on the line.

    `strip` [num_slots] int32 is the strip of each slot, `nobody` where no node with edges lies. Node i lies in slot
    i + shift, or, where this holds for no shift, `node` [num_slots] is the node of each slot, -1 for none.
    """

    def __init__(self, pieces: Pieces, step: int, num_slots: int, nobody: int):
        strip = torch.repeat_interleave(torch.arange(pieces.num_nodes.numel()), pieces.num_nodes)
        place = torch.arange(strip.numel()) - (pieces.num_nodes.cumsum(0) - pieces.num_nodes)[strip]
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
