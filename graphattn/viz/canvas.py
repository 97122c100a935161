"""What all pictures share: where to draw, in which colours, and how to finish."""

import math
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs import Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.per_head import PerHead
from graphattn.inputs.arrays import to_tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEEN = "#e9e9e9"  # an edge without weight; where there is none the paper is seen


def import_matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.patheffects
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            "pictures are drawn by matplotlib, which is not installed; run: pip install matplotlib"
        ) from error
    return matplotlib


def open_axes(ax: "Axes | None", size: tuple[float, float] = (5.5, 5.0)) -> Any:
    """`ax`, or the Axes of a new figure of `size` in inches."""
    if ax is not None:
        return ax
    _, ax = import_matplotlib().pyplot.subplots(figsize=size, layout="constrained")
    return ax


def finish(ax: Any, title: str | None, note: str | None = None, path: str | PathLike[str] | None = None) -> "Axes":
    """Writes the title and the note below it, saves the figure if there is a path; returns `ax`."""
    lines = [line for line in (title, note) if line]
    if lines:
        ax.set_title("\n".join(lines), fontsize=10)
    save(ax.figure, path)
    return ax


def save(figure: Any, path: str | PathLike[str] | None) -> None:
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # In SVG and PDF text stays text: it is searched, and set in the font of the paper around it.
        with import_matplotlib().rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):
            figure.savefig(path, dpi=150)


def weight_colours() -> Any:
    """From the grey of an edge without weight to black for the largest weight."""
    matplotlib = import_matplotlib()
    share = np.linspace(0, 1, 256)[:, None]
    strong = matplotlib.colormaps["inferno_r"]((share[:, 0] + 0.4) / 1.6)[:, :3]
    weak = np.array(matplotlib.colors.to_rgb(SEEN))
    return matplotlib.colors.ListedColormap(share * strong + (1 - share) * weak, name="weights")


def scale_of(weights: Tensor, vmax: float | None = None) -> Any:
    """From 0, or the smallest weight if one is below, to `vmax`, by default the largest weight, or 0 if all are below."""
    if vmax is not None and (isinstance(vmax, bool) or not isinstance(vmax, (int, float)) or not 0 < vmax < math.inf):
        raise ValueError(f"'vmax' must be a positive number, the weight with the strongest colour (got {vmax!r})")
    smallest, largest = (
        (min(0.0, float(weights.min())), max(0.0, float(weights.max()))) if weights.numel() else (0.0, 0.0)
    )
    largest = largest if vmax is None else float(vmax)
    return import_matplotlib().colors.Normalize(smallest, largest if largest > smallest else 1.0)


def add_colour_bar(ax: Any, scale: Any, label: str = "attention weight") -> None:
    """Explains the colours beside `ax`, one Axes or an array of them."""
    mappable = import_matplotlib().cm.ScalarMappable(scale, weight_colours())
    axes = np.atleast_1d(ax)
    axes.flat[0].figure.colorbar(mappable, ax=ax, label=label, shrink=0.8, pad=0.02)


def read_graph(graph: GraphLike) -> Graph:
    """The one graph that is drawn: a Graph, or what `as_graph` makes one of, such as a list (a batch, example by example)."""
    if isinstance(graph, PerHead):
        raise ValueError(f"a picture shows one graph (got {graph}); draw that of one head, graph.graphs[0]")
    if (
        isinstance(graph, (Tensor, np.ndarray))
        and graph.ndim == 2
        and len(graph) == 2
        and graph.dtype not in (bool, torch.bool)
    ):
        raise ValueError(f"'graph' is an edge_index of {graph.shape[1]} edges, which does not tell how many nodes there are;"
                         " draw as_graph(edge_index, num_nodes)")  # fmt: skip
    return as_graph(graph)


def one_per_edge(weights: Tensor | None, graph: Graph) -> Tensor | None:
    """The weight of each edge, [num_edges] on the CPU: the mean over heads; None if no weights were given."""
    if weights is None:
        return None
    weights = to_tensor("weights", weights).detach().cpu().float()
    if weights.dim() not in (1, 2) or weights.size(0) != graph.num_edges:
        raise ValueError(
            f"'weights' must be [num_edges] or [num_edges, heads] with {graph.num_edges} edges in the order of"
            f" graph.edge_index() (got {list(weights.shape)})"
        )
    if not weights.isfinite().all():
        broken = int((~weights.isfinite()).sum())
        raise ValueError(f"'weights' must be finite (got {broken} of {weights.numel()} that are not)")
    return weights.mean(1) if weights.dim() == 2 else weights


def weights_of_query(graph: Graph, weights: Tensor | None, query: int) -> Tensor:
    """What `query` gives to each key, [num_keys]: NaN where there is no edge; equal shares without weights."""
    if not 0 <= query < graph.num_queries:
        raise ValueError(f"'node' must be in 0 .. {graph.num_queries - 1} (got {query})")
    row = torch.full((graph.num_keys,), torch.nan)
    allowed = graph.allows(query, torch.arange(graph.num_keys)).cpu()
    of_edges = one_per_edge(weights, graph)
    row[allowed] = 0.0 if of_edges is not None else 1 / max(1, int(allowed.sum()))
    if of_edges is not None:
        key, target = graph.edge_index("cpu")
        mine = target == query
        row.index_add_(0, key[mine], of_edges[mine])
    return row


def check_nodes(name: str, entries: Any, count: int) -> None:
    if entries is not None and len(entries) != count:
        raise ValueError(f"{name!r} must have one entry for each of {count} nodes (got {len(entries)})")


def words_of(entry: Any) -> str:
    """The name of a node as it is written; numbers may be entries of arrays or tensors. To be drawn with parse_math=False:
    what stands between two dollar signs is no formula."""
    return str(entry.item() if isinstance(entry, (Tensor, np.generic)) else entry)
