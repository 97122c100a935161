"""Images: pixels or patches are the nodes of a grid; by default a node attends to its neighbours."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.graphs import GridGraph
from graphattn.graphs.sizes import is_sequence, parse_integer
from graphattn.inputs.assemble import assemble
from graphattn.inputs.pixels import read_pixels


def from_image(
    image: Any,
    patch: int | Sequence[int] = 1,
    reach: int | Sequence[int] = 1,
    axes: int = 2,
    edge_index: bool = False,
    channels: str | None = None,
) -> Data:
    """An image or a volume as a grid of pixels, or of patches.

    | attribute | shape                      | meaning
    |-----------|----------------------------|--------
    | x         | [N, channels * patch size] | values of a patch as float32, in the order channel, then axis after axis
    | pos       | [N, axes]                  | place in the grid, in patches, axis by axis (row, column)
    | sides     | tuple of `axes` ints       | patches along each axis; N is their product, the last axis runs fastest
    | graph     | N nodes                    | GridGraph(sides, reach): up to `reach` patches away along every axis

    Args:
        image: a tensor or array [*sides], [channels, *sides] or [*sides, channels] of any real dtype, or a PIL image
            whose numbers are intensities (convert those of a palette before). Values are kept: 0 .. 255 stay so.
        patch: side of a patch in pixels, for all axes or one for each. 1 makes every pixel a node.
        reach: of the attention, in patches, for all axes or one for each.
        axes: how many trailing axes are space: 2 for an image, 3 for a volume.
        edge_index: also store graph.edge_index().
        channels: 'first' or 'last'; needed where the shape does not tell. Where one end of it is at most 4 and the other
            is not, that end is the channels.

    A linear layer on x is a convolution with stride = kernel = patch.

    >>> data = from_image(torch.rand(3, 8, 8), patch=4)
    >>> data.x.shape, data.sides
    (torch.Size([4, 48]), (2, 2))
    """
    axes = parse_integer("axes", axes, minimum=None)
    if axes < 1:
        raise ValueError(f"'axes' needs to be 1 or more (got {axes})")
    image = read_pixels(image, axes, channels)  # [channels, *image sides]
    patch = per_axis("patch", patch, axes, least=1)
    reach = per_axis("reach", reach, axes, least=0)
    x, sides = cut_patches(image, patch)
    return assemble(x, grid_positions(sides), GridGraph(sides, reach), edge_index, sides=sides)


def per_axis(name: str, value: int | Sequence[int], axes: int, least: int) -> tuple[int, ...]:
    """One int for each axis; integers of NumPy and torch are as good."""
    given: Any = value
    try:
        values = tuple(
            parse_integer(name, entry, least) for entry in (given if is_sequence(given) else (given,) * axes)
        )
    except (TypeError, ValueError):
        values = ()
    if len(values) != axes:
        raise ValueError(
            f"'{name}' needs to be an int of at least {least}, or one for each of {axes} axes (got {value!r})"
        )
    return values


def cut_patches(image: Tensor, patch: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """[channels, *image sides] -> ([num_patches, channels * patch size], patches along each axis)."""
    spare = [side % size for side, size in zip(image.shape[1:], patch)]
    if any(spare):
        raise ValueError(
            f"'image' of sides {list(image.shape[1:])} does not divide into patches of {list(patch)} "
            f"(left over: {spare} pixels); crop or pad it (torch.nn.functional.pad), or change 'patch'"
        )
    for axis, size in enumerate(patch, start=1):
        image = image.unfold(axis, size, size)  # the patch axes gather at the end, in order
    sides = tuple(image.shape[1 : 1 + len(patch)])
    return image.movedim(0, len(patch)).reshape(math.prod(sides), -1), sides


def grid_positions(sides: tuple[int, ...]) -> Tensor:
    """Coordinates of the nodes of a grid in C order, [num_nodes, axes].

    >>> grid_positions((2, 2)).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    return torch.cartesian_prod(*(torch.arange(side, dtype=torch.float) for side in sides)).view(-1, len(sides))
