"""Time and memory against size, both axes logarithmic."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.report import Row

PANELS = (
    ("time of one call [ms]", lambda row: row.timing.median * 1e3),
    (
        "peak memory beyond inputs and results [MiB],\nless than 0.1 drawn as 0.1",
        lambda row: None if row.extra is None else row.extra / 2**20,
    ),
)
SMALLEST = 0.1  # MiB; a page or two of noise is not drawn below this
MARKERS = "osD^vP"


def draw(rows: list[Row], path: Path, axis: str = "edges") -> None:
    """One line for each peer (colour, marker) and pass (dashed and hollow: forward); none hides another."""
    figure, panels = plt.subplots(1, len(PANELS), figsize=(11, 4.5), layout="constrained")
    peers = list(dict.fromkeys(row.peer for row in rows))
    for panel, (title, measure) in zip(panels, PANELS):
        for peer, pass_ in dict.fromkeys((row.peer, row.pass_) for row in rows):
            points = [(row.size, measure(row)) for row in rows if (row.peer, row.pass_) == (peer, pass_)]
            points = [(size, max(value, SMALLEST)) for size, value in points if value is not None]
            if points:
                panel.plot(*zip(*points), **style_of(peers.index(peer), pass_), label=f"{peer}, {pass_}")
        panel.set(xscale="log", yscale="log", xlabel=axis, title=title)
        panel.grid(alpha=0.3)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small", handlelength=5
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def style_of(peer: int, pass_: str) -> dict:
    """Line and marker of the peer of this number."""
    is_forward, size = pass_ == "forward", max(9 - 1.5 * peer, 4)
    line = {"linestyle": (0, (4, 2)) if is_forward else "-", "linewidth": max(3 - 0.6 * peer, 1.2), "color": f"C{peer}"}
    filling = {"markerfacecolor": "white"} if is_forward else {}
    return line | filling | {"marker": MARKERS[peer % len(MARKERS)], "markersize": size}
