"""What `benchmarks.choose_kernel --write` leaves in graphattn/kernels/crossovers.json, and the thresholds that figures suggest."""

import json
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any, NamedTuple

WIDTH = 120  # of a line


class Point(NamedTuple):
    """One graph on which tiles and edges were timed."""

    share: float  # edges among the scores of the tiles
    tiles: float  # seconds
    edges: float


def least_share(points: Sequence[Point]) -> float | None:
    """The share from which tiles are to run, so that the times chosen are the best ones as nearly as can be (by their
    logarithms); the middle between two graphs, None where tiles or edges are always the best.

    >>> least_share([Point(0.1, 3.0, 1.0), Point(0.3, 2.0, 1.0), Point(0.5, 1.0, 2.0)])
    0.4
    """
    points = sorted(points)
    losses = [sum(log(x.edges if x.share < y.share else x.tiles) for x in points) for y in points]
    losses.append(sum(log(x.edges) for x in points))
    best = losses.index(min(losses))
    if best in (0, len(points)):
        return None
    return round((points[best - 1].share + points[best].share) / 2, 3)


def record(file: Path, topic: str, figures: dict[str, Any]) -> None:
    """Puts figures of this machine and command in the place of those that stand there, or behind the others of the topic.

    The constants stay: they are for a person to change, who has seen the figures of more than one machine.
    """
    topics = json.loads(file.read_text(encoding="utf-8"))
    same = "machine", "command"
    kept = [x for x in topics[topic]["figures"] if any(x.get(name) != figures[name] for name in same)]
    topics[topic]["figures"] = [*kept, figures]
    file.write_text(in_lines(topics) + "\n", encoding="utf-8")


def in_lines(value: Any, indent: str = "") -> str:
    """JSON with every list and object on one line if it is short, so that tables of figures read as tables."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or (len(indent) + len(flat) <= WIDTH and not holds_objects(value)):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        lines = [f"{json.dumps(name, ensure_ascii=False)}: {in_lines(x, inner)}" for name, x in value.items()]
        return "{\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + in_lines(x, inner) for x in value) + f"\n{indent}]"


def holds_objects(value: dict | list) -> bool:
    return any(isinstance(x, dict) for x in (value.values() if isinstance(value, dict) else value))
