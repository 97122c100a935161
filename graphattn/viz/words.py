"""Attention on the words of a sentence."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import Tensor

from graphattn.graphs import Graph
from graphattn.graphs.convert import GraphLike
from graphattn.viz.canvas import (
    add_colour_bar,
    check_nodes,
    finish,
    one_per_edge,
    open_axes,
    read_graph,
    save,
    scale_of,
    weight_colours,
    words_of,
)
from graphattn.viz.mask import draw_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = ("heat", "lines")
MOST_WORDS = 60


def draw_words(
    tokens: Sequence[str],
    graph: GraphLike,
    weights: Tensor | None = None,
    *,
    kind: str = "heat",
    query_tokens: Sequence[str] | None = None,
    title: str | None = None,
    colour_bar: bool = True,
    vmax: float | None = None,
    ax: "Axes | None" = None,
    path: str | PathLike[str] | None = None,
) -> "Axes":
    """Which words attend to which: a heat map, or lines from each word (left) to those it attends to (right).

    Args:
        tokens: The words of the keys, and of the queries unless `query_tokens` are given (cross attention).
        graph, weights, colour_bar, vmax, ax, path: As for `draw_mask`.
        kind: 'heat' or 'lines'. Of more than 60 words lines show the first 60.

    Returns:
        The Axes.
    """
    if kind not in KINDS:
        raise ValueError(f"'kind' must be one of {KINDS} (got {kind!r})")
    graph = read_graph(graph)
    query_tokens = tokens if query_tokens is None else query_tokens
    check_nodes("tokens", tokens, graph.num_keys)
    check_nodes("query_tokens", query_tokens, graph.num_queries)
    longest = max(len(tokens), len(query_tokens), 1)
    if kind == "heat":
        side = min(12.0, 2.5 + 0.25 * longest)
        ax = open_axes(ax, (side + 1, side))
        names: dict[str, Any] = {"labels": tokens, "query_labels": query_tokens, "title": title}
        ax = draw_mask(graph, weights, **names, colour_bar=colour_bar, vmax=vmax, ax=ax)
        ax.set_xlabel("attends to")
        ax.set_ylabel("word")
        save(ax.figure, path)
        return ax
    ax = open_axes(ax, (5.0, 1.2 + 0.25 * min(longest, MOST_WORDS)))
    weights = one_per_edge(weights, graph)
    scale = draw_lines(ax, graph, weights, vmax)
    if scale is not None and colour_bar:
        add_colour_bar(ax, scale)
    for words, place, where in ((query_tokens, 0, "right"), (tokens, 1, "left")):
        for row, word in enumerate(words[:MOST_WORDS]):
            at = place + 0.03 * (2 * place - 1)
            ax.text(at, row, words_of(word), ha=where, va="center", fontsize=9, parse_math=False)
    ax.set_xlim(-0.6, 1.6)
    ax.set_ylim(min(longest, MOST_WORDS) - 0.5, -1.2)
    ax.text(0, -0.9, "word", ha="right", va="center", fontsize=8, color="grey")
    ax.text(1, -0.9, "attends to", ha="left", va="center", fontsize=8, color="grey")
    ax.axis("off")
    note = f"the first {MOST_WORDS} of {longest} words" if longest > MOST_WORDS else None
    return finish(ax, title, note, path)


def draw_lines(ax: Any, graph: Graph, weights: Tensor | None, vmax: float | None) -> Any:
    """Draws a line for each edge among the first words, the strong ones on top; the scale of their colours, if they have."""
    keys, queries = graph.edge_index("cpu")
    shown = (keys < MOST_WORDS) & (queries < MOST_WORDS)
    lines = list(zip(keys[shown].tolist(), queries[shown].tolist()))
    if weights is None:
        for key, query in lines:
            ax.plot([0, 1], [query, key], solid_capstyle="round", color="0.75", linewidth=0.8)
        return None
    strength = weights[shown]
    scale, colours = scale_of(strength, vmax), weight_colours()
    for edge in strength.argsort().tolist():
        (key, query), share = lines[edge], float(scale(strength[edge]))
        ax.plot(
            [0, 1], [query, key], solid_capstyle="round", color=colours(share), linewidth=0.3 + 2.2 * min(1.0, share)
        )
    return scale
