"""A banded graph as runs: neighbouring nodes of a strip (see tiles.py), and the rows of the strip that they see."""

from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph
from graphattn.kernels.fused.tiles import strips_of
from graphattn.kernels.native.border import readable


class Runs(NamedTuple):
    """All queries in lanes and keys as rows, or the other way round; computed head by head.

    `numbers` int64 [num_runs, 5] are first node of the lanes, lanes, first node of the rows, rows, and `low`: lane i sees
    the rows low + i ... low + i + window of those that there are. Every node is in the lanes of one run.
    """

    numbers: Tensor
    step: int  # from node to node
    window: int
    num_lanes: int
    turns: tuple[tuple[int, int], ...]  # first run and the one after the last: no two runs of one turn see the same row

    def bounds(self, heads: int, pieces: int) -> list[Tensor]:
        """For each turn int64 [pieces + 1], from where to where each piece goes through runs times heads."""
        return [bounds_of(first * heads, last * heads, pieces) for first, last in self.turns]

    def all_bounds(self, heads: int, pieces: int) -> Tensor:
        """The same for all runs in one turn."""
        return bounds_of(0, self.numbers.size(0) * heads, pieces)


def bounds_of(first: int, last: int, pieces: int) -> Tensor:
    """From where to where each of at most so many pieces goes, and at least one does."""
    bounds = torch.linspace(first, last, max(1, min(pieces, last - first)) + 1, dtype=torch.float64)
    return readable(bounds, torch.int64)


def runs_of(graph: BandedGraph, longest: int, is_by_key: bool = False) -> Runs:
    """With queries in the lanes, at most so many, or keys; laid out once for a graph."""

    def lay_out() -> Runs:
        with torch.device("cpu"):  # whatever the default device is
            return in_runs(graph, longest, is_by_key)

    return graph.remember(("runs", longest, is_by_key), lay_out)


def in_runs(graph: BandedGraph, longest: int, is_by_key: bool) -> Runs:
    """Key w is seen by the queries w - offset - after ... w - offset + before."""
    strips, window = strips_of(graph), graph.before + graph.after
    first_lane, num_lanes = strips.first_query, strips.num_queries
    first_row, num_rows, low = strips.first_key, strips.num_keys, strips.offset - graph.before
    if is_by_key:
        first_lane, num_lanes, first_row, num_rows = first_row, num_rows, first_lane, num_lanes
        low = -strips.offset - graph.after
    counts = -(num_lanes // -longest)
    strip = torch.repeat_interleave(torch.arange(counts.numel()), counts)
    place = torch.arange(strip.numel()) - (counts.cumsum(0) - counts)[strip]
    start = place * longest
    lanes = (num_lanes[strip] - start).clamp(max=longest)
    columns = first_lane[strip] + graph.dilation * start, lanes, first_row[strip], num_rows[strip], low[strip] + start
    # A run sees at most longest + window rows, from `longest` rows further on than the run before it in its strip.
    turn, order = torch.sort(place % (1 - window // -longest), stable=True)
    ends = turn.unique_consecutive(return_counts=True)[1].cumsum(0).tolist()
    numbers = readable(torch.stack(columns, 1)[order], torch.int64)
    return Runs(numbers, graph.dilation, window, int(lanes.sum()), tuple(zip([0, *ends], ends)))
