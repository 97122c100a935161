"""How many times as fast as its peer each piece of work is, as bars; a mark where the peer's products alone would be."""

from itertools import groupby
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.report import Row

COLOURS = {"forward": "C0", "forward + backward": "C1"}
FARTHEST = 12.0  # a bound beyond is written, not drawn: it would make bars short
WIDTH_OF_NUMBER = 0.6  # on the axis: a mark so near would stand in it


def ratios(rows: list[Row], bound: str) -> list[tuple[str, str, float, float]]:
    """(work, pass, the peer's time over that of the first, the peer's time over that of `bound`), in the order of the rows."""
    found = []
    for (work, pass_), group in groupby(rows, lambda row: (row.work, row.pass_)):
        times = {row.peer: row.timing.median for row in group}
        alone = times.pop(bound)
        first, peer = times.values()
        found.append((work, pass_, peer / first, peer / alone))
    return found


def draw_ratios(rows: list[Row], path: Path, bound: str, title: str) -> None:
    """A bar for each work and pass. `bound` names what attention alone could not be faster than, drawn as a line."""
    found = ratios(rows, bound)
    works = list(dict.fromkeys(work for work, *_ in found))
    figure, axes = plt.subplots(figsize=(9, 0.7 * len(works) + 1.6), layout="constrained")
    for work, pass_, ratio, most in found:
        is_forward = pass_ == "forward"
        place = works.index(work) + (-0.2 if is_forward else 0.2)
        label = pass_ if work == works[0] else None
        axes.barh(place, ratio, height=0.36, color=COLOURS[pass_], label=label)
        end = max(ratio, most) if abs(most - ratio) < WIDTH_OF_NUMBER else ratio
        axes.text(end + 0.08, place, f"{ratio:.1f}", va="center", fontsize="small")
        if most <= FARTHEST:
            axes.plot([most] * 2, [place - 0.2, place + 0.2], color="black", linewidth=2)
    axes.plot([], [], color="black", linewidth=2, label=f"{bound} (where nearer than {FARTHEST:.0f})")
    axes.axvline(1, color="grey", linewidth=1)
    axes.set(yticks=range(len(works)), xlabel="times as fast as the peer", title=title)
    axes.set_yticklabels(works, fontsize="small")
    axes.invert_yaxis()
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)
