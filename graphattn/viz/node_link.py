"""A graph as nodes and links."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import networkx
import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.graphs import EdgeListGraph, Graph, GridGraph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.sizes import parse_integer
from graphattn.viz.canvas import (
    add_colour_bar,
    check_nodes,
    finish,
    import_matplotlib,
    one_per_edge,
    open_axes,
    read_graph,
    scale_of,
    weight_colours,
    words_of,
)
from graphattn.viz.sample import sample_nodes, weights_among

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LETTERS = 180  # of all names together: more cannot be read
CLASSES = "tab10"


def draw_graph(
    graph: GraphLike,
    weights: Tensor | None = None,
    *,
    pos: Tensor | None = None,
    labels: Sequence[str] | None = None,
    classes: Tensor | None = None,
    title: str | None = None,
    colour_bar: bool = True,
    vmax: float | None = None,
    max_nodes: int = 40,
    ax: "Axes | None" = None,
    path: str | PathLike[str] | None = None,
) -> "Axes":
    """Nodes and the links between them, each from a key to the query that attends to it.

    Grids lie as they are, given edges by a spring layout with a fixed seed, other graphs on a circle; where queries and
    keys differ in number, queries stand above keys. Links have arrows where they do not all go both ways. Where they do, the
    half of a link beside a node shows how much that node attends to the other one.

    Args:
        graph: Any graph, or a list of them, side by side. Of more than `max_nodes` nodes some are drawn: blocks of
            neighbours, or on given edges the surroundings of the nodes of most edges.
        weights: [num_edges] or [num_edges, heads], in the order of `graph.edge_index()`.
        pos: Places of the nodes, [num_nodes, 2].
        labels: Names of the nodes of a square graph; their numbers by default.
        classes: Class of each node, [num_nodes] ints: its colour.
        colour_bar, vmax, ax, path: As for `draw_mask`.

    Returns:
        The Axes.
    """
    graph, max_nodes = read_graph(graph), parse_integer("max_nodes", max_nodes, minimum=1)
    is_square = graph.num_queries == graph.num_keys
    for name, entries in (("pos", pos), ("labels", labels), ("classes", classes)):
        if entries is not None and not is_square:
            raise ValueError(f"{name!r} is for graphs on one set of nodes (got {graph})")
        check_nodes(name, entries, graph.num_queries)
    weights = one_per_edge(weights, graph)
    keys, queries, note = sample_nodes(graph, max_nodes)
    dense = weights_among(graph, weights, keys, queries)
    names = name_nodes(keys, queries, is_square)
    network = to_network(dense, *names)
    places = place_nodes(graph, network, keys, queries, names, pos)
    if is_square:
        texts = {name: words_of(name if labels is None else labels[name]) for name in names[1]}
    else:
        texts = {name: str(name[1]) for side in names for name in side}
    ax = open_axes(ax, (6.0, 5.5))
    draw_nodes(ax, network, places, texts, classes)
    scale = None if weights is None else scale_of(dense.nan_to_num(), vmax)
    draw_links(ax, network, places, scale, node_size(len(texts)))
    if scale is not None and colour_bar:
        add_colour_bar(ax, scale)
    if not is_square and len(keys) and len(queries):
        ax.text(-0.05, 1, "queries", ha="right", va="center", fontsize=9)
        ax.text(-0.05, 0, "keys", ha="right", va="center", fontsize=9)
    ax.axis("off")
    ax.margins(0.1)
    return finish(ax, title, note, path)


def draw_network(network: GraphLike, weights: Tensor | None = None, **options: Any) -> "Axes":
    """A network with the classes of its nodes as colours: `draw_graph` of a Data (graph, y if it has one) or of anything
    `as_graph` takes; the options are those of `draw_graph`."""
    graph = read_graph(network)
    classes = getattr(network, "y", None) if isinstance(network, Data) else None
    if isinstance(classes, Tensor) and classes.dim() == 1 and len(classes) == graph.num_queries:
        options.setdefault("classes", classes)
    return draw_graph(graph, weights, **options)


def name_nodes(keys: Tensor, queries: Tensor, is_square: bool) -> tuple[list[Any], list[Any]]:
    """What networkx calls keys and queries: numbers, or ("key", number) and ("query", number)."""
    if is_square:
        return keys.tolist(), queries.tolist()
    return [("key", node) for node in keys.tolist()], [("query", node) for node in queries.tolist()]


def to_network(dense: Tensor, keys: list[Any], queries: list[Any]) -> networkx.DiGraph:
    network = networkx.DiGraph()
    network.add_nodes_from(dict.fromkeys(keys + queries))
    for row, column in (~dense.isnan()).nonzero().tolist():
        network.add_edge(keys[column], queries[row], weight=float(dense[row, column]))
    return network


def place_nodes(
    graph: Graph,
    network: networkx.DiGraph,
    keys: Tensor,
    queries: Tensor,
    names: tuple[list[Any], list[Any]],
    pos: Tensor | None,
) -> dict[Any, Any]:
    """Where each node of the network is drawn, (right, up): at `pos`, on its grid, in two rows if bipartite, else by networkx."""
    if graph.num_queries != graph.num_keys:
        return {
            name: (np.linspace(0, 1, max(2, len(side)))[place], height)
            for side, height in zip(names, (0.0, 1.0))
            for place, name in enumerate(side)
        }
    if pos is not None:
        pos = torch.as_tensor(pos).detach().cpu()
        return {node: (float(pos[node, 0]), float(pos[node, 1])) for node in names[1]}
    if isinstance(graph, GridGraph) and graph.num_examples == 1 and graph.num_axes == 2:
        width = graph.query_sides[0][1]
        return {node: (node % width, -(node // width)) for node in names[1]}
    if isinstance(graph, EdgeListGraph):
        return networkx.spring_layout(network.to_undirected(), seed=0, k=2.5 / max(1, len(network)) ** 0.5, weight=None)
    return networkx.circular_layout(network)


def draw_nodes(
    ax: Any, network: networkx.DiGraph, places: dict[Any, Any], labels: dict[Any, str], classes: Tensor | None
) -> None:
    colours: Any = "#d9e6f2"
    if classes is not None:
        palette = import_matplotlib().colormaps[CLASSES]
        colours = [palette(int(classes[node]) % palette.N, alpha=0.55) for node in network]
    size = node_size(len(network))
    networkx.draw_networkx_nodes(
        network, places, ax=ax, node_size=size, node_color=colours, edgecolors="0.4", linewidths=0.6
    )
    if sum(map(len, labels.values())) <= MOST_LETTERS:
        font_size = 8 if max(map(len, labels.values()), default=0) <= 4 else 6.5
        for text in networkx.draw_networkx_labels(network, places, labels, ax=ax, font_size=font_size).values():
            text.set_parse_math(False)


def node_size(num_nodes: int) -> float:
    """The area of the circle of each node, in points²: the more nodes, the smaller."""
    return float(np.clip(9000 / max(1, num_nodes), 30, 350))


def draw_links(ax: Any, network: networkx.DiGraph, places: dict[Any, Any], scale: Any, size: float) -> None:
    """Draws the links: halves where all of them go both ways, arrows otherwise; a self loop is a property of the node."""
    links = [(key, query, data["weight"]) for key, query, data in network.edges(data=True) if key != query]
    links.sort(key=lambda link: link[2])  # the strong ones on top
    pairs = [link[:2] for link in links]
    if scale is None:
        style: dict[str, Any] = {"width": 0.6, "edge_color": "0.6"}
    else:
        shares = [min(1.0, float(scale(weight))) for *_, weight in links]
        style = {"width": [0.5 + 2.5 * share for share in shares], "edge_color": list(map(weight_colours(), shares))}
    if not all(network.has_edge(query, key) for key, query in pairs):
        arrows: dict[str, Any] = {"arrowsize": 8, "connectionstyle": "arc3,rad=0.08", "node_size": size}
        networkx.draw_networkx_edges(network, places, pairs, ax=ax, **style, **arrows)
    elif scale is None:
        once = list(dict.fromkeys(tuple(sorted(pair)) for pair in pairs))
        networkx.draw_networkx_edges(network, places, once, ax=ax, arrows=False, **style)
    else:
        draw_halves(ax, places, pairs, style)


def draw_halves(ax: Any, places: dict[Any, Any], pairs: list[tuple[Any, Any]], style: dict[str, Any]) -> None:
    """Draws each link (key, query) from its query to the middle, in one collection under the nodes."""
    halves = []
    for key, query in pairs:
        start, end = np.asarray(places[query], float), np.asarray(places[key], float)
        halves.append([start, (start + end) / 2])
    lines = import_matplotlib().collections.LineCollection
    ax.add_collection(lines(halves, linewidths=style["width"], colors=style["edge_color"], zorder=1, capstyle="butt"))
