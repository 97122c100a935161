"""BandedGraph: a window along the order of the nodes; causal attention is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch
from torch import Tensor
from typing_extensions import Self

from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.csr import row_pointer, rows_of
from graphattn.graphs.graph import Graph, Index
from graphattn.graphs.sizes import Counts, abbreviate, parse_counts, parse_flag, parse_integer, parse_pairs, parse_sizes
from graphattn.graphs.starts import AT_ZERO, MOST, Starts, common_starts, parse_starts


@dataclass(frozen=True, init=False, repr=False)
class BandedGraph(Graph):
    """Query i attends to keys i + offset + dilation * t for t in -before .. after, both ends included.

    Windows are clipped to the steps that reach a key, so that equal graphs are equal objects.

    Given `num_keys`, the keys are nodes of their own and the queries stand beside them from `offset` on: that is where
    the positions of the queries start, for biases and for layers with positions. Without it each node is query and key
    in one, with its index as its one position, and the offset moves the window alone.

    Args:
        num_queries: number of queries, or one int per example of a batch.
        before: steps towards smaller indices, None for all.
        after: steps towards larger indices, None for all.
        dilation: distance in nodes between neighbouring keys of a window, at least 1.
        num_keys: number of keys, or one int per example; by default the same nodes as the queries.
        offset: key on which query 0 is centred, an int or one per example. `num_keys - num_queries` with
            `before=None, after=0` is causal attention aligned to the last key, as with a cache of keys.

    >>> BandedGraph(4, before=1, after=0).mask().int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 1, 1, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    >>> BandedGraph(2, None, 0, num_keys=4, offset=2).mask().int()
    tensor([[1, 1, 1, 0],
            [1, 1, 1, 1]], dtype=torch.int32)
    """

    before: int  # steps, clipped
    after: int
    dilation: int
    offsets: tuple[int, ...]  # one per example
    first_positions: Starts

    def __init__(
        self,
        num_queries: Counts,
        before: SupportsIndex | None,
        after: SupportsIndex | None,
        dilation: SupportsIndex = 1,
        num_keys: Counts | None = None,
        offset: Counts = 0,
    ):
        sizes = parse_sizes(num_queries, num_keys)
        first = None if before is None else -parse_integer("before", before)
        last = None if after is None else parse_integer("after", after)
        dilation = parse_integer("dilation", dilation, minimum=1)
        offsets = _parse_offsets(offset, len(sizes))
        starts = None if num_keys is None else tuple((offset, 0) for offset in offsets)
        self._set(sizes, first, last, dilation, offsets, starts=starts)

    def _set(
        self,
        sizes: Sequence[tuple[int, int]],
        first: int | None,
        last: int | None,
        dilation: int,
        offsets: tuple[int, ...],
        edges_by_key: bool = False,
        starts: Starts | None = None,
    ) -> None:
        """The window is the steps t = first .. last, which need not hold 0; None is no limit."""
        lowest, highest = _useful_steps(sizes, dilation, offsets)
        first = lowest if first is None else max(first, lowest)
        last = highest if last is None else min(last, highest)
        if first > last:  # no edge at all: one spelling for every such graph
            first = last = 0
            offsets = tuple(max(size) for size in sizes)
        numbers = [*offsets, *(number for start in starts or () if start is not None for number in start)]
        if any(abs(number) >= MOST for number in numbers):
            raise ValueError(f"'offset' must lie within 2^60 (got {max(numbers, key=abs)})")
        centre = max(first, min(last, 0))
        self._freeze(
            sizes=tuple(sizes),
            edges_by_key=edges_by_key,
            before=centre - first,
            after=last - centre,
            dilation=dilation if last > first else 1,
            offsets=tuple(offset + dilation * centre for offset in offsets),
            first_positions=(AT_ZERO,) * len(sizes) if starts is None else starts,
        )

    def _restore(self, sizes, edges_by_key, before, after, dilation, offsets, first_positions=None):
        first, last = -parse_integer("before", before), parse_integer("after", after)
        dilation = parse_integer("dilation", dilation, minimum=1)
        if len(offsets) != len(sizes):
            raise ValueError(f"'offsets' must hold one int per example (got {len(offsets)} for {len(sizes)} examples)")
        offsets, sizes = _parse_offsets(offsets, len(sizes)), parse_pairs(sizes)
        starts = None if first_positions is None else parse_starts(first_positions, len(sizes))
        self._set(sizes, first, last, dilation, offsets, parse_flag("edges_by_key", edges_by_key), starts)

    @classmethod
    def _of(cls, *args: Any, **kwargs: Any) -> Self:
        graph = cls.__new__(cls)
        graph._set(*args, **kwargs)
        return graph

    def allows(self, query: Index, key: Index) -> Tensor:
        query, key, example, same = self._locate(query, key)
        distance = key - query - self._per_example(self.offsets, example)
        inside = (distance >= -self.before * self.dilation) & (distance <= self.after * self.dilation) & same
        return inside if self.dilation == 1 else inside & (distance % self.dilation == 0)

    @property
    def num_edges(self) -> int:
        steps = range(-self.before, self.after + 1)
        return sum(count_edges(size, offset, self.dilation, steps) for size, offset in zip(self.sizes, self.offsets))

    @property
    def starts(self) -> Starts:
        return self.first_positions

    @property
    def is_symmetric(self) -> bool:
        centred = self.before == self.after and not any(self.offsets)
        return centred and all(queries == keys for queries, keys in self.sizes)

    def _windows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """First key (in the batch) and number of keys of each query: `[num_queries]` each."""
        query, example, first_key = self._local_queries(device)
        num_keys = self._per_example([keys for _, keys in self.sizes], example)
        centre = query + self._per_example(self.offsets, example)
        # Steps t with 0 <= centre + dilation * t < num_keys; -(x // d) is x / d rounded up.
        first = (-(centre // self.dilation)).clamp(min=-self.before)
        last = ((num_keys - 1 - centre) // self.dilation).clamp(max=self.after)
        return first_key + centre + first * self.dilation, (last - first + 1).clamp(min=0)

    def _build_degrees(self, device: torch.device) -> Tensor:
        return self._windows(device)[1]

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        first, degrees = self._windows(device)
        start = row_pointer(degrees)
        row = rows_of(start)
        return degrees, first[row] + (torch.arange(row.numel(), device=device) - start[row]) * self.dilation

    def normal_form(self) -> Graph:
        if self.num_edges == sum(queries * keys for queries, keys in self.sizes):
            return CompleteGraph._of(self.sizes, self.edges_by_key)
        # The same window can be centred on several keys: take the offset nearest to 0.
        centre = max(-self.before, min(-(self.offsets[0] // self.dilation), self.after))
        return self._moved(centre, -self.before, self.after)

    def _moved(self, centre: int, first: int, last: int, starts: Starts | None = None) -> "BandedGraph":
        """The window first .. last in steps of this graph, centred on step `centre`; positions start at 0 or at `starts`."""
        offsets = tuple(offset + self.dilation * centre for offset in self.offsets)
        return self._of(self.sizes, first - centre, last - centre, self.dilation, offsets, self.edges_by_key, starts)

    def _transposed(self) -> Graph:
        sizes = [(keys, queries) for queries, keys in self.sizes]
        offsets = tuple(-offset for offset in self.offsets)
        starts = tuple(start and start[::-1] for start in self.starts)
        return self._of(sizes, -self.after, self.before, self.dilation, offsets, not self.edges_by_key, starts)

    def _split(self) -> list[Graph]:
        return [
            self._of([size], -self.before, self.after, self.dilation, (offset,), self.edges_by_key, (start,))
            for size, offset, start in zip(self.sizes, self.offsets, self.starts)
        ]

    @classmethod
    def _join(cls, graphs: list[Self]) -> Graph | None:
        # A short example has its window clipped: it joins if the widest window, clipped to it, is its own.
        widest = max(graphs, key=lambda graph: graph.before + graph.after)
        before, after = max(graph.before for graph in graphs), max(graph.after for graph in graphs)
        window = (-before, after, widest.dilation)
        own = (cls._of(graph.sizes, *window, graph.offsets, widest.edges_by_key, graph.starts) for graph in graphs)
        if any(one != graph for one, graph in zip(own, graphs)):
            return None
        sizes = [size for graph in graphs for size in graph.sizes]
        offsets = tuple(offset for graph in graphs for offset in graph.offsets)
        starts = tuple(start for graph in graphs for start in graph.starts)
        return cls._of(sizes, *window, offsets, widest.edges_by_key, starts)

    def _describe(self) -> str:
        queries, keys = ([size[axis] for size in self.sizes] for axis in (0, 1))
        words = [abbreviate(queries), f"before={self.before}", f"after={self.after}"]
        if self.dilation != 1:
            words.append(f"dilation={self.dilation}")
        if keys != queries or any(start != AT_ZERO for start in self.starts):
            words.append(f"num_keys={abbreviate(keys)}")
        if any(self.offsets):
            words.append(f"offset={abbreviate(self.offsets)}")
        if self.starts not in ((AT_ZERO,) * len(keys), tuple((offset, 0) for offset in self.offsets)):
            words.append(f"first_positions={self.starts[0] if len(keys) == 1 else abbreviate(self.starts)}")
        return f"BandedGraph({', '.join(words)})"


def causal(num_nodes: Counts) -> BandedGraph:
    """Every node attends to itself and to all nodes before it; `num_nodes` is an int or one int per example.

    >>> causal(3).mask().int()
    tensor([[1, 0, 0],
            [1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    return BandedGraph(num_nodes, before=None, after=0)


def intersect_bands(one: BandedGraph, other: BandedGraph) -> BandedGraph | None:
    """The band that both allow; None if that is no band (other dilations or unaligned offsets)."""
    aligned = _align(one, other)
    if aligned is None:
        return None
    starts = common_starts((one.starts, other.starts))
    one, first, last = aligned
    return one._moved(0, max(-one.before, first), min(one.after, last), starts)


def unite_bands(one: BandedGraph, other: BandedGraph) -> BandedGraph | None:
    """The band that either allows; None if that is no band."""
    aligned = _align(one, other)
    if aligned is None:
        return None
    starts = common_starts((one.starts, other.starts))
    one, first, last = aligned
    if first > one.after + 1 or last < -one.before - 1:  # a gap between them
        return None
    return one._moved(0, min(-one.before, first), max(one.after, last), starts)


def _align(one: BandedGraph, other: BandedGraph) -> tuple[BandedGraph, int, int] | None:
    """One of the two, and the window first .. last of the other in its steps and from its offset."""
    if one.before + one.after < other.before + other.after:  # a window of one key goes with any dilation
        one, other = other, one
    moves = {theirs - ours for ours, theirs in zip(one.offsets, other.offsets)}
    if len(moves) > 1:
        return None
    steps, rest = divmod(moves.pop(), one.dilation)
    if rest or (one.dilation != other.dilation and other.before + other.after > 0):
        return None
    return one, steps - other.before, steps + other.after


def _parse_offsets(offset: Any, num_examples: int) -> tuple[int, ...]:
    offsets = parse_counts("offset", offset, minimum=None)
    if len(offsets) == 1:
        return offsets * num_examples
    if len(offsets) != num_examples:
        raise ValueError(
            f"'offset' must be an int or one per example (got {len(offsets)} offsets for {num_examples} examples)"
        )
    return offsets


def _useful_steps(sizes: Sequence[tuple[int, int]], dilation: int, offsets: Sequence[int]) -> tuple[int, int]:
    """Smallest and largest step t that leads from some query to some key, over all examples."""
    reach = [(1 - queries - offset, keys - 1 - offset) for (queries, keys), offset in zip(sizes, offsets)
             if queries and keys]  # fmt: skip
    if not reach:
        return 1, 0
    return min(-(-low // dilation) for low, _ in reach), max(high // dilation for _, high in reach)


def count_edges(size: tuple[int, int], offset: int, dilation: int, steps: range) -> int:
    """Pairs (query, key) whose difference key - query is offset + dilation * t for a t in `steps`.

    A difference s belongs to max(0, min(queries, keys, queries + s, keys - s)) pairs: a trapezoid, summed here
    over an arithmetic progression in three pieces, so that no window is too long to be counted.
    """
    queries, keys = size
    rises, falls = min(0, keys - queries), max(0, keys - queries)

    def progression(low: int, high: int) -> tuple[int, int]:
        """How many differences lie in low .. high, and their sum."""
        first = max(steps.start, -((offset - low) // dilation))
        last = min(steps.stop - 1, (high - offset) // dilation)
        count = max(0, last - first + 1)
        return count, count * (2 * offset + dilation * (first + last)) // 2

    count_rising, sum_rising = progression(1 - queries, rises)
    count_level, _ = progression(rises + 1, falls)
    count_falling, sum_falling = progression(falls + 1, keys - 1)
    return count_rising * queries + sum_rising + count_level * min(queries, keys) + count_falling * keys - sum_falling
