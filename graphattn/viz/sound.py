"""Attention on a sound."""

from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.inputs.arrays import to_tensor
from graphattn.viz.canvas import finish, open_axes, read_graph, weights_of_query

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_sound(
    data: Data,
    weights: Tensor | None = None,
    *,
    node: int | None = None,
    waveform: Tensor | None = None,
    sample_rate: int | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
    path: str | PathLike[str] | None = None,
) -> "Axes":
    """The spectrogram of a sound, or its waveform, and above it where one frame looks.

    The line is the attention of frame `node` (dashed) to each frame; it ends where the graph has no edge.

    Args:
        data: A Data of `from_wav` or `from_waveform`: x [frames, num_mels], pos [frames, 1] in seconds, graph.
        weights: [num_edges] or [num_edges, heads], in the order of `data.graph.edge_index()`; equal ones by default.
        node: The frame that looks; the middle one by default.
        waveform: Samples [samples] or [channels, samples] to draw instead of the spectrogram, with `sample_rate` in Hz.
        ax, path: Axes to draw into; file to save the figure as.

    Returns:
        The Axes of the sound; the line has its own, with the scale on the right.
    """
    if (waveform is None) != (sample_rate is None):
        raise ValueError(f"'waveform' and 'sample_rate' go together (got sample_rate={sample_rate})")
    node = data.num_nodes // 2 if node is None else node
    row = weights_of_query(read_graph(data.graph), weights, node)
    ax = open_axes(ax, (7.5, 3.6))
    seconds = data.pos.flatten().cpu()
    if waveform is None or sample_rate is None:
        draw_spectrogram(ax, data.x.detach().cpu(), seconds)
    else:
        samples = torch.atleast_2d(to_tensor("waveform", waveform)).float().mean(0)
        ax.plot(torch.arange(len(samples)) / sample_rate, samples, color="0.6", linewidth=0.5)
        ax.set_ylabel("sample")
    ax.set_xlabel("time in seconds")
    over = ax.twinx()
    over.plot(seconds, row, color="tab:orange", linewidth=1.8)
    over.axvline(float(seconds[node]), color="tab:orange", linewidth=1.2, linestyle="--")
    over.set_ylim(0, 1.6 * float(row.nan_to_num().max()) or 1.0)
    over.set_ylabel(f"attention of the frame at {float(seconds[node]):.2f} s", color="tab:orange")
    over.tick_params(axis="y", colors="tab:orange")
    return finish(ax, title, None, path)


def draw_spectrogram(ax: Any, x: Tensor, seconds: Tensor) -> None:
    half = float(seconds[1] - seconds[0]) / 2 if len(seconds) > 1 else 0.005
    extent = (float(seconds[0]) - half, float(seconds[-1]) + half, -0.5, x.size(1) - 0.5)
    ax.imshow(x.t().numpy(), origin="lower", aspect="auto", cmap="Greys", extent=extent)
    ax.set_ylabel("mel band")
