"""Attention on the patches of an image."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs import Graph, GridGraph
from graphattn.graphs.convert import GraphLike
from graphattn.inputs.pixels import read_pixels
from graphattn.viz.canvas import (
    add_colour_bar,
    finish,
    import_matplotlib,
    open_axes,
    read_graph,
    scale_of,
    weight_colours,
    weights_of_query,
)

if TYPE_CHECKING:
    pass

WINDOW = "tab:green"  # around what may be seen
PALE = 0.35  # opacity of an image under weights


def draw_image(
    image: Any,
    graph: GraphLike,
    weights: Tensor | None = None,
    *,
    node: int | None = None,
    sides: Sequence[int] | None = None,
    title: str | None = None,
    colour_bar: bool = True,
    vmax: float | None = None,
    ax=None,
    path: str | PathLike | None = None,
    channels: str | None = None,
):
    """An image and, over the patches that one patch (framed) attends to, how much it does; the others are paler
    where no weights are given. Under weights the whole image is pale, so that their colours are seen.

    Args:
        image: [height, width], or with 1 or 3 channels before or behind that; 3 are red, green and blue. Or a PIL image.
        graph: Over the patches in C order, such as `from_image(image, patch).graph`.
        weights: [num_edges] or [num_edges, heads], in the order of `graph.edge_index()`.
        node: The patch that looks; the middle one by default.
        sides: Patches along each axis; a GridGraph knows them.
        colour_bar, vmax, ax, path: As for `draw_mask`. By default the strongest colour is that of the largest weight, or of
            twice an equal share if that is more: attention that is spread evenly is pale.
        channels: 'first' or 'last', where the shape of the image does not tell.

    Returns:
        The Axes.
    """
    graph = read_graph(graph)
    sides = sides_of(graph) if sides is None else tuple(sides)
    if len(sides) != 2 or sides[0] * sides[1] != graph.num_keys or graph.num_queries != graph.num_keys:
        raise ValueError(f"'sides' must be (rows, columns) of the patches of a square graph (got {sides} and {graph})")
    pixels = to_pixels(image, channels)
    height, width = pixels.shape[:2]
    rows, columns = sides
    node = (rows // 2) * columns + columns // 2 if node is None else node
    row = weights_of_query(graph, weights, node).view(sides)
    ax, extent = open_axes(ax, (5.5, 4.8)), (0, width, height, 0)
    ax.imshow(pixels, cmap="Greys", extent=extent, alpha=1.0 if weights is None else PALE)
    if weights is None:
        ax.imshow(
            torch.ones(sides).numpy(), cmap="Greys_r", vmin=0, vmax=1, alpha=0.75 * row.isnan().numpy(), extent=extent
        )
    else:
        shares = row.nan_to_num()
        even = float(shares.clamp(min=0).sum()) / max(1, int((~row.isnan()).sum()))
        scale = scale_of(shares, vmax if vmax is not None else max(2 * even, float(shares.max())) or None)
        opacity = torch.where(row.isnan(), 0.0, 0.25 + 0.5 * (shares / scale.vmax).clamp(0, 1))
        ax.imshow(shares.numpy(), cmap=weight_colours(), norm=scale, alpha=opacity.numpy(), extent=extent)
        if colour_bar:
            add_colour_bar(ax, scale)
    outline(ax, ~row.isnan(), width / columns, height / rows)
    frame_patch(ax, node // columns, node % columns, width / columns, height / rows)
    ax.set_xticks([])
    ax.set_yticks([])
    return finish(ax, title, None, path)


def frame_patch(ax: Any, row: int, column: int, width: float, height: float) -> None:
    """A frame around one patch, to be seen on any picture."""
    frame = import_matplotlib().patches.Rectangle
    for colour, line in (("white", 4), ("tab:blue", 2)):
        ax.add_patch(frame((column * width, row * height), width, height, fill=False, edgecolor=colour, linewidth=line))


def outline(ax: Any, seen: Tensor, width: float, height: float) -> None:
    """A line around the patches that may be seen, [rows, columns]: on white paper, too, it is seen how far that is."""
    padded = torch.nn.functional.pad(seen.int(), (1, 1, 1, 1))
    for row, column in (padded[:, 1:] != padded[:, :-1]).nonzero().tolist():  # between two patches side by side
        if 1 <= row <= seen.size(0):
            ax.plot([column * width] * 2, [(row - 1) * height, row * height], color=WINDOW, linewidth=1.2)
    for row, column in (padded[1:] != padded[:-1]).nonzero().tolist():  # between two, one above the other
        if 1 <= column <= seen.size(1):
            ax.plot([(column - 1) * width, column * width], [row * height] * 2, color=WINDOW, linewidth=1.2)


def sides_of(graph: Graph) -> tuple[int, ...]:
    if not isinstance(graph, GridGraph) or graph.num_examples != 1:
        raise ValueError(f"'sides' (rows, columns) are needed: only one GridGraph knows them (got {graph})")
    return graph.key_sides[0]


def to_pixels(image: Any, channels: str | None = None) -> np.ndarray:
    """numpy [height, width], or [height, width, 3] in 0 .. 1."""
    image = read_pixels(image, channels=channels, counts=(1, 3)).detach().cpu()
    if image.size(0) == 1:
        return image[0].numpy()
    if image.size(0) != 3:
        raise ValueError(f"'image' must be [height, width], or 1 or 3 channels of that (got {list(image.shape)})")
    low, high = image.min(), image.max()
    return ((image - low) / (high - low).clamp(min=1e-12)).permute(1, 2, 0).numpy()
