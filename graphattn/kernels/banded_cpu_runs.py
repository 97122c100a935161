"""A banded graph as runs: neighbouring nodes of a strip (see tiles.py), and the rows of the strip that they see."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from graphattn.graphs import BandedGraph
from graphattn.kernels.arrays import integers
from graphattn.kernels.tiles import strips_of

NUMBERS_OF_A_RUN = 5


class Runs(NamedTuple):
    """All queries in lanes and keys as rows, or the other way round; computed head by head.

    `numbers` int64 [num_runs * 5] are first node of the lanes, lanes, first node of the rows, rows, and `low`: lane i sees
    the rows low + i ... low + i + window of those that there are. Every node is in the lanes of one run.
    """

    numbers: np.ndarray
    step: int  # from node to node
    window: int
    heads: int

    @property
    def num_lanes(self) -> int:
        return int(self.numbers[1::NUMBERS_OF_A_RUN].sum())

    @property
    def num_rows(self) -> int:
        """Parts of the work that may be done apart."""
        return self.numbers.size // NUMBERS_OF_A_RUN * self.heads

    def pieces(self, count: int) -> list[tuple[int, int]]:
        """At most `count` ranges of parts, at least one."""
        bounds = np.linspace(0, self.num_rows, max(1, min(count, self.num_rows)) + 1).astype(np.int64).tolist()
        return list(pairwise(bounds))


def runs_of(graph: BandedGraph, heads: int, longest: int, is_by_key: bool = False) -> Runs:
    """With queries in the lanes, at most so many, or keys; laid out once for a graph."""

    def lay_out() -> np.ndarray:
        with torch.device("cpu"):  # whatever the default device is
            return integers(in_runs(graph, longest, is_by_key))

    numbers = graph.remember(f"runs of {longest} {'keys' if is_by_key else 'queries'}", lay_out)
    return Runs(numbers, graph.dilation, graph.before + graph.after, heads)


def in_runs(graph: BandedGraph, longest: int, is_by_key: bool) -> torch.Tensor:
    """[num_runs, 5]. Key w is seen by the queries w - offset - after ... w - offset + before."""
    strips = strips_of(graph)
    first_lane, num_lanes = strips.first_query, strips.num_queries
    first_row, num_rows, low = strips.first_key, strips.num_keys, strips.offset - graph.before
    if is_by_key:
        first_lane, num_lanes, first_row, num_rows = first_row, num_rows, first_lane, num_lanes
        low = -strips.offset - graph.after
    counts = -(num_lanes // -longest)
    strip = torch.repeat_interleave(torch.arange(counts.numel()), counts)
    start = (torch.arange(strip.numel()) - (counts.cumsum(0) - counts)[strip]) * longest
    lanes = (num_lanes[strip] - start).clamp(max=longest)
    columns = first_lane[strip] + graph.dilation * start, lanes, first_row[strip], num_rows[strip], low[strip] + start
    return torch.stack(columns, 1)
