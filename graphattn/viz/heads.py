"""Every head of every layer, side by side."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from graphattn.explain.attention import LayerAttention
from graphattn.inputs.arrays import to_tensor
from graphattn.viz.canvas import add_colour_bar, import_matplotlib, save, scale_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_AXES = 64


def draw_heads(
    weights: Tensor | Sequence[Tensor] | Mapping[str, LayerAttention],
    draw: Callable[..., Any],
    *,
    title: str | None = None,
    size: float = 3.2,
    path: str | PathLike[str] | None = None,
) -> "Figure":
    """Draws the attention of all heads, one picture for each: a row for each layer, a column for each head; in one scale.

    Args:
        weights: [num_edges, heads], or a list with one for each layer, or what `attention_of` gives. Of more than 64
            pictures the first layers, and of these the first heads, are drawn, and the title says so.
        draw: Called as `draw(weights=[num_edges], ax=ax, title="layer 1, head 2")`, such as
            `functools.partial(draw_mask, graph)` or `functools.partial(draw_words, tokens, graph)`. What takes `vmax`, as
            all pictures of this module do, gets the largest weight of all heads, so that heads can be compared, and what
            takes `colour_bar` draws none: there is one for the figure.
        size: Side of one picture, in inches.
        path: File to save the figure as.

    Returns:
        The Figure.

    Example:
        >>> import functools, torch
        >>> from graphattn import causal
        >>> from graphattn.viz import draw_mask
        >>> figure = draw_heads([torch.rand(15, 2), torch.rand(15, 3)], functools.partial(draw_mask, causal(5)))
        >>> [ax.get_title() for ax in figure.axes if ax.get_title()][-1]
        'layer 2, head 3'
        >>> import matplotlib.pyplot
        >>> matplotlib.pyplot.close(figure)
    """
    layers = read_layers(weights)
    heads = min(MOST_AXES, max(layer.size(1) for layer in layers))
    shown = layers[: max(1, MOST_AXES // max(1, heads))]
    grid = {"nrows": len(shown), "ncols": heads, "figsize": (size * heads, size * len(shown))}
    figure, axes = import_matplotlib().pyplot.subplots(**grid, squeeze=False, layout="compressed")
    scale = scale_of(torch.cat([layer.detach().cpu().float().flatten() for layer in shown]))
    shared = options_for(draw, scale.vmax)
    for number, (layer, row) in enumerate(zip(shown, axes), start=1):
        for head, ax in enumerate(row):
            if head < layer.size(1):
                name = f"layer {number}, head {head + 1}" if len(layers) > 1 else f"head {head + 1}"
                draw(weights=layer[:, head], ax=ax, title=name, **shared)
            else:
                ax.axis("off")
    if {"vmax", "colour_bar"} <= set(shared):
        add_colour_bar(axes, scale)
    total, drawn = sum(layer.size(1) for layer in layers), sum(min(heads, layer.size(1)) for layer in shown)
    note = f"{drawn} of {total} heads" if drawn < total else None
    lines = [line for line in (title, note) if line]
    if lines:
        figure.suptitle("\n".join(lines), fontsize=12)
    save(figure, path)
    return figure


def read_layers(weights: Any) -> list[Tensor]:
    """The weights of each layer, [num_edges, heads]."""
    given = list(weights.values()) if isinstance(weights, Mapping) else weights
    is_one = isinstance(given, (Tensor, np.ndarray))
    layers = [to_tensor("weights", weights_in(layer)) for layer in ([given] if is_one else given)]
    if not layers or any(layer.dim() != 2 for layer in layers):
        shapes = [list(layer.shape) for layer in layers]
        raise ValueError(f"'weights' must be [num_edges, heads], or a list of such (got {shapes})")
    return layers


def options_for(draw: Callable[..., Any], vmax: float) -> dict[str, Any]:
    """What the pictures of one figure share, as far as they take it and were not told otherwise."""
    try:
        parameters = inspect.signature(draw).parameters
    except ValueError:  # what is written in C may have no signature
        return {}
    told = draw.keywords if isinstance(draw, functools.partial) else {}
    shared = {"vmax": vmax, "colour_bar": False}
    return {name: value for name, value in shared.items() if name in parameters and name not in told}


def weights_in(layer: Any) -> Any:
    return layer.weights if isinstance(layer, LayerAttention) else layer
