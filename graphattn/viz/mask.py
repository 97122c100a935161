"""A graph as its mask, with or without attention."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphattn.graphs.convert import GraphLike
from graphattn.graphs.sizes import parse_integer
from graphattn.viz.canvas import (
    add_colour_bar,
    check_nodes,
    finish,
    one_per_edge,
    open_axes,
    read_graph,
    scale_of,
    weight_colours,
    words_of,
)
from graphattn.viz.sample import BLOCKS, describe_blocks, sample_blocks, weights_among

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LABELS = 40  # along one axis; of more, every second (third, ...) is written


def draw_mask(
    graph: GraphLike,
    weights: Tensor | None = None,
    *,
    labels: Sequence[str] | None = None,
    query_labels: Sequence[str] | None = None,
    title: str | None = None,
    colour_bar: bool = True,
    vmax: float | None = None,
    max_nodes: int = 256,
    ax: "Axes | None" = None,
    path: str | PathLike[str] | None = None,
) -> "Axes":
    """Who may attend to whom: rows are queries, columns are keys, grey where there is an edge, coloured by its weight.

    Args:
        graph: Any graph, or a list of them, side by side. Of more than `max_nodes` nodes blocks are drawn, spread over all;
            nothing larger is made.
        weights: [num_edges] or [num_edges, heads], in the order of `graph.edge_index()`.
        labels: Names of the keys, and of the queries unless `query_labels` are given.
        colour_bar: Whether the colours of the weights are explained.
        vmax: The weight with the strongest colour, so that several pictures have one scale; the largest by default.
        ax, path: Axes to draw into; file to save the figure as, .png, .svg or .pdf.

    Returns:
        The Axes.
    """
    graph, max_nodes = read_graph(graph), parse_integer("max_nodes", max_nodes, minimum=1)
    query_labels = labels if query_labels is None and graph.num_queries == graph.num_keys else query_labels
    check_nodes("labels", labels, graph.num_keys)
    check_nodes("query_labels", query_labels, graph.num_queries)
    keys, key_block = sample_blocks(graph.num_keys, max_nodes)
    queries, query_block = sample_blocks(graph.num_queries, max_nodes)
    dense = weights_among(graph, one_per_edge(weights, graph), keys, queries)
    ax, scale = open_axes(ax), scale_of(dense.nan_to_num(), vmax)
    if dense.numel():
        ax.imshow(dense.numpy(), cmap=weight_colours(), norm=scale, interpolation="nearest")
    ax.locator_params(integer=True)
    name_nodes(ax.set_xticks, keys, key_block, labels, rotation=90)
    name_nodes(ax.set_yticks, queries, query_block, query_labels)
    for block, separate in ((key_block, ax.axvline), (query_block, ax.axhline)):
        for edge in range(1, BLOCKS if block else 0):
            separate(edge * block - 0.5, color="black", linewidth=0.6)
    ax.set_xlabel("key: is attended to")
    ax.set_ylabel("query: attends")
    if weights is not None and colour_bar:
        add_colour_bar(ax, scale)
    note = describe_blocks(graph, keys, queries) if key_block or query_block else None
    return finish(ax, title, note, path)


def name_nodes(
    set_ticks: Callable[..., Any], nodes: Tensor, block: int, labels: Sequence[str] | None, **style: Any
) -> None:
    """Puts ticks at the nodes that have a name, at the first of each block, or wherever matplotlib puts them."""
    if labels is not None:
        places = torch.arange(0, len(nodes), -(-len(nodes) // MOST_LABELS) or 1)
        names = [words_of(labels[int(nodes[place])]) for place in places]
        set_ticks(places.tolist(), names, fontsize=8, parse_math=False, **style)
    elif block:
        places = torch.arange(0, len(nodes), block)
        set_ticks(places.tolist(), [f"{nodes[place]:,}" for place in places], fontsize=8, **style)
