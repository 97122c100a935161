"""A grid as tiles: blocks of queries that are near on every axis, each with the box of keys that they may see.

Windows are products over axes, so everything is laid out along one axis at a time: which queries make a block, which
keys they see, and the mask between the two. Under dilation d the queries of a block have one residue modulo d, and so
have their keys. Tiles are the products of blocks, and their masks the products of masks.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.formulas.offsets import steps_of_axes
from graphattn.graphs import GridGraph
from graphattn.graphs.windows import Window
from graphattn.kernels.crossovers import CROSSOVERS


def grid_tiles_of(graph: GridGraph) -> "GridTiles":
    """The tiles of a graph, laid out once."""

    def lay_out():
        with torch.device("cpu"):  # whatever the default device is
            return GridTiles(graph)

    return graph.remember("tiles", lay_out)


def area_of_grid_tiles(graph: GridGraph) -> int:
    """Scores per head that its tiles compute, roughly and without laying them out."""
    area, blocks, windows = 0, block_of(graph), graph.windows
    for query_sides, key_sides in zip(graph.query_sides, graph.key_sides, strict=True):
        area_of_axes = 1
        for queries, keys, block, window in zip(query_sides, key_sides, blocks, windows, strict=True):
            area_of_axes *= -(-queries // block) * block * min(window.span(block), keys)
        area += area_of_axes
    return area


def block_of(graph: GridGraph) -> list[int]:
    """Queries of a tile along each axis."""
    longest = [max(sides) for sides in zip(*graph.query_sides)]
    axes, blocks = sum(side > 1 for side in longest), CROSSOVERS.blocks_of_grids
    block = blocks[axes] if axes < len(blocks) else CROSSOVERS.block_of_more_axes
    return [
        max(1, min(of_groups(window.group, best_block(window, block)), -(-side // window.dilation)))
        for side, window in zip(longest, graph.windows, strict=True)
    ]


def best_block(window: Window, block: int) -> int:
    return 2 * block if window.before + window.after > CROSSOVERS.wide_window else block


def of_groups(group: int, block: int) -> int:
    """About `block` queries that begin and end where groups do, or that are an equal part of one: they share their keys."""
    if group <= block:
        return block // group * group
    parts = [part for part in range(block // 2 + 1, 2 * block + 1) if group % part == 0]
    return max(parts, default=group if group <= 4 * block else block)


class Axis(NamedTuple):
    """Blocks along one axis of the grids of one size, in coordinates; -1 where there is no query or key."""

    query: Tensor  # [num_blocks, block]
    key: Tensor  # [num_blocks, width]
    mask: Tensor  # bool [num_blocks, block, width]
    step: Tensor  # [num_blocks, block, width], of a query to a key it sees, counted from the first that any query has


def lay_out_axis(graph: GridGraph, axis: int, query_side: int, key_side: int, block: int) -> Axis:
    """All queries of an axis in blocks, and the keys from the first to the last that each block sees."""
    step = graph.dilation[axis]
    residues = range(min(step, query_side))
    query = torch.cat([in_blocks(torch.arange(residue, query_side, step), block) for residue in residues])
    first, count = graph.window(axis, query.clamp(min=0), torch.tensor(key_side))
    count = count.masked_fill(query < 0, 0)
    last = first + step * (count - 1)
    start = first.masked_fill(count == 0, key_side).amin(1, keepdim=True)
    stop = last.masked_fill(count == 0, -1).amax(1, keepdim=True)
    width = max(1, int((stop - start).max()) // step + 1)
    key = start + step * torch.arange(width)
    mask = (key[:, None] >= first[..., None]) & (key[:, None] <= last[..., None])
    first_step, num_steps = (of_axes[axis] for of_axes in steps_of_axes(graph))
    distance = key[:, None] - query[..., None] * graph.stride[axis]
    of_edges = (torch.div(distance, step, rounding_mode="floor") - first_step).clamp(0, num_steps - 1)
    return Axis(query, key.masked_fill(key > stop, -1), mask, of_edges)


def in_blocks(rows: Tensor, block: int) -> Tensor:
    """[n] -> [blocks, block], filled up with -1."""
    return torch.nn.functional.pad(rows, (0, -rows.numel() % block), value=-1).view(-1, block)


class GridTiles:
    """Tile t has the queries `query[t]` and the keys `key[t]`: nodes of the batch, -1 for none.

    Args:
        lengths: Queries of a tile along each axis, by default as many as suit torch's attention.

    Attributes:
        query: [num_tiles, block].
        key: [num_tiles, width].
        num_queries: In all tiles.
        inside: Tiles that share a mask, most of a large grid.
        border: The other tiles.
        inside_with_offsets, border_with_offsets: Likewise, where they also have the same offsets between queries and keys:
            windows that are as long as an axis, or shared by a group, have one mask and many offsets.
    """

    def __init__(self, graph: GridGraph, lengths: list[int] | None = None):
        examples: dict[tuple, list[int]] = {}  # of each size that has queries and keys
        for example, size in enumerate(zip(graph.query_sides, graph.key_sides, strict=True)):
            if min(graph.sizes[example]):
                examples.setdefault(size, []).append(example)
        lengths = block_of(graph) if lengths is None else lengths
        axes = [
            same_width([lay_out_axis(graph, axis, size[0][axis], size[1][axis], lengths[axis]) for size in examples])
            for axis in range(graph.num_axes)
        ]
        query, key, block = [], [], []
        first_block = torch.zeros(graph.num_axes, dtype=torch.long)
        for place, ((query_sides, key_sides), members) in enumerate(examples.items()):
            along = [sizes[place] for sizes in axes]
            query.append(in_batch(product([axis.query for axis in along], query_sides), graph.query_ptr, members))
            key.append(in_batch(product([axis.key for axis in along], key_sides), graph.key_ptr, members))
            counts = torch.tensor([axis.query.size(0) for axis in along])
            block.append((first_block + coordinates(counts)).repeat(len(members), 1))
            first_block = first_block + counts
        self.query, self.key, self.block = (torch.cat(x) if x else torch.empty(0, 1) for x in (query, key, block))
        self.num_queries = int((self.query >= 0).sum())
        self.masks = [torch.cat([of_size.mask for of_size in sizes]) for sizes in axes] if examples else []
        self.steps = [torch.cat([of_size.step for of_size in sizes]) for sizes in axes] if examples else []
        self.num_steps = steps_of_axes(graph)[1]
        # The block in the middle of an axis is as far from its borders as can be.
        middles = [max(sizes.query.size(0) for sizes in along) // 2 for along in axes] if examples else []
        self.inside, self.border = self.shared(self.masks, middles)
        seen = [steps.masked_fill(~masks, -1) for steps, masks in zip(self.steps, self.masks, strict=True)]
        self.inside_with_offsets, self.border_with_offsets = self.shared(seen, middles)

    def shared(self, blocks: list[Tensor], middles: list[int]) -> tuple[Tensor, Tensor]:
        """The tiles whose blocks [num_blocks, block, width] are along every axis as that in the middle, and the others."""
        is_inside = torch.ones(self.query.size(0), dtype=torch.bool)
        for axis, (along, middle) in enumerate(zip(blocks, middles, strict=True)):
            is_inside &= (along == along[middle]).all(2).all(1)[self.block[:, axis]]
        return is_inside.nonzero().flatten(), (~is_inside).nonzero().flatten()

    def mask(self, tiles: Tensor) -> Tensor:
        """Which keys the queries of some tiles see: bool [tiles, 1, block, width]."""
        mask = torch.ones(tiles.numel(), 1, 1, dtype=torch.bool)
        for axis, masks in enumerate(self.masks):
            mask = outer(mask, masks[self.block[tiles, axis]], torch.logical_and)
        return mask[:, None]

    def places(self, tiles: Tensor) -> Tensor:
        """The place of each pair among the offsets of the graph, of hidden keys any place: [tiles, block, width]."""
        place = torch.zeros(tiles.numel(), 1, 1, dtype=torch.long)
        for axis, steps in enumerate(self.steps):
            place = outer(place * self.num_steps[axis], steps[self.block[tiles, axis]], torch.add)
        return place


def outer(pairs: Tensor, along: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """[tiles, a, b] of some axes and [tiles, c, d] of the next -> [tiles, a * c, b * d] of both."""
    return join(pairs[:, :, None, :, None], along[:, None, :, None, :]).flatten(3, 4).flatten(1, 2)


def same_width(sizes: list[Axis]) -> list[Axis]:
    """Blocks of grids of several sizes, with their keys filled up to the largest number."""
    width = max((size.key.size(1) for size in sizes), default=0)

    def fill(rows: Tensor, value: int) -> Tensor:
        return torch.nn.functional.pad(rows, (0, width - rows.size(-1)), value=value)

    return [Axis(size.query, fill(size.key, -1), fill(size.mask, False), fill(size.step, 0)) for size in sizes]


def product(along: list[Tensor], sides: tuple[int, ...]) -> Tensor:
    """Coordinates [blocks, length] along each axis -> nodes [tiles, nodes of a tile], in C order; -1 for none."""
    nodes = torch.zeros(1, 1, dtype=torch.long)
    for axis, side in zip(along, sides, strict=True):
        before, now = nodes[:, None, :, None], axis[None, :, None, :]
        nodes = (before * side + now).masked_fill((before < 0) | (now < 0), -1).flatten(2, 3).flatten(0, 1)
    return nodes


def coordinates(counts: Tensor) -> Tensor:
    """[tiles, axes]: the block of each tile along each axis, in the order of `product`."""
    axes = [torch.arange(count) for count in counts.tolist()]
    return torch.stack([x.flatten() for x in torch.meshgrid(*axes, indexing="ij")], 1)


def in_batch(nodes: Tensor, ptr: tuple[int, ...], members: list[int]) -> Tensor:
    """The nodes [tiles, n] of one example -> those of several, [examples * tiles, n]."""
    start = torch.tensor([ptr[member] for member in members])[:, None, None]
    return (nodes + start).masked_fill(nodes < 0, -1).flatten(0, 1)
