"""Attention on a sound."""

from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.inputs.arrays import to_tensor
from graphattn.inputs.audio import hertz_to_mel
from graphattn.viz.canvas import finish, open_axes, read_graph, scale_of, weights_of_query

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
    vmax: float | None = None,
    ax: "Axes | None" = None,
    path: str | PathLike[str] | None = None,
) -> "Axes":
    """The spectrogram of a sound, or its waveform, and above it where one frame looks.

    The line is the attention of frame `node` (dashed) to each frame; it ends where the graph has no edge.

    Args:
        data: A Data of `from_wav` or `from_waveform`: x [frames, num_mels], pos [frames, 1] in seconds, graph; with
            sample_rate, the bands are named in Hz.
        weights: [num_edges] or [num_edges, heads], in the order of `data.graph.edge_index()`; equal ones by default.
        node: The frame that looks; the middle one by default.
        waveform: Samples [samples] or [channels, samples] to draw instead of the spectrogram, with `sample_rate` in Hz.
        vmax: The weight at three fifths of the height, so that several pictures have one scale; the largest by default.
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
        draw_spectrogram(ax, data.x.detach().cpu(), seconds, getattr(data, "sample_rate", None))
    else:
        samples = torch.atleast_2d(to_tensor("waveform", waveform)).float().mean(0)
        ax.plot(torch.arange(len(samples)) / sample_rate, samples, color="0.6", linewidth=0.5)
        ax.set_ylabel("sample")
    ax.set_xlabel("time in seconds")
    over = ax.twinx()
    over.plot(seconds, row, color="tab:orange", linewidth=1.8)
    over.axvline(float(seconds[node]), color="tab:orange", linewidth=1.2, linestyle="--")
    scale = scale_of(row.nan_to_num(), vmax)
    over.set_ylim(1.6 * scale.vmin, 1.6 * scale.vmax)
    over.set_ylabel(f"attention of the frame at {float(seconds[node]):.2f} s", color="tab:orange")
    over.tick_params(axis="y", colors="tab:orange")
    return finish(ax, title, None, path)


def draw_spectrogram(ax: Any, x: Tensor, seconds: Tensor, sample_rate: float | None) -> None:
    half = float(seconds[1] - seconds[0]) / 2 if len(seconds) > 1 else 0.005
    extent = (float(seconds[0]) - half, float(seconds[-1]) + half, -0.5, x.size(1) - 0.5)
    ax.imshow(x.t().numpy(), origin="lower", aspect="auto", cmap="Greys", extent=extent)
    if sample_rate is None:
        ax.set_ylabel("mel band")
        return
    marks = marks_in_hertz(x.size(1), float(sample_rate))
    ax.set_yticks([height for height, _ in marks], [name for _, name in marks])
    ax.set_ylabel("frequency, on the mel scale")


def marks_in_hertz(bands: int, sample_rate: float) -> list[tuple[float, str]]:
    """(height in bands, name) of round frequencies on the mel scale from 0 to sample_rate / 2, as `from_waveform` has it.

    >>> [(round(height, 1), name) for height, name in marks_in_hertz(40, 8000)]
    [(5.6, '250 Hz'), (10.6, '0.5 kHz'), (18.1, '1 kHz'), (28.1, '2 kHz'), (39.5, '4 kHz')]
    """
    top = hertz_to_mel(sample_rate / 2)
    marks = []
    for hertz in (250, 500, 1000, 2000, 4000, 8000, 16000):
        height = float(hertz_to_mel(hertz) / top) * (bands + 1) - 1  # centres of the bands are whole numbers
        if hertz <= sample_rate / 2:
            marks.append((min(height, bands - 0.5), f"{hertz} Hz" if hertz < 500 else f"{hertz / 1000:g} kHz"))
    return marks
