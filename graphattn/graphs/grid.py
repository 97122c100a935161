"""GridGraph: a neighbourhood on an image, a volume, a sequence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from graphattn.graphs.banded import BandedGraph, count_edges
from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.csr import row_pointer, rows_of
from graphattn.graphs.graph import Graph, Index
from graphattn.graphs.sizes import Counts, is_sequence, parse_counts, parse_flag
from graphattn.graphs.transposed import TransposedGraph

BORDERS = ("clip", "shift")

Sides = Sequence[SupportsIndex] | Tensor | np.ndarray  # number of nodes along each axis
SidesOfExamples = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, init=False, repr=False)
class GridGraph(Graph):
    """Along every axis, the query at coordinate i attends to keys i * stride + dilation * t, t in -before .. after.

    Nodes are in C order (the last axis varies fastest), any number of axes. The neighbourhood is the product of
    the windows of the axes. Windows are clipped to what the sides need, so that equal graphs are equal objects.

    Args:
        sides: number of queries along each axis, `(height, width)`; a list of such tuples is a batch.
        before: steps towards smaller coordinates, an int for all axes or one per axis.
        after: steps towards larger coordinates, likewise; as many as `before` by default.
            Uneven windows are those of even size: 1 and 2 make a window of 4.
        dilation: distance between neighbouring keys of a window, an int or one per axis.
        stride: keys from the centre of one query to the next, an int or one per axis.
        border: 'clip': windows lose what lies outside. 'shift': they move inwards, so that every query has
            `before + after + 1` keys per axis, for a dilation among the keys of its own residue, as in NATTEN
            (https://arxiv.org/abs/2204.07143); it needs stride 1 and enough keys along every axis.
        key_sides: number of keys along each axis; `sides * stride` by default: the graph from a grid to one
            that is `stride` times coarser. A convolution with kernel size 2p + 1 and padding p over an odd side
            `n` has `sides = ceil(n / stride)`, `before = p`, `key_sides = n`.

    Raises:
        ValueError: on negative counts, a wrong number of axes, an unknown border, or too few keys to shift.

    >>> GridGraph((2, 3), 1).mask()[0].int()
    tensor([1, 1, 0, 1, 1, 0], dtype=torch.int32)
    >>> GridGraph((4,), 1, border="shift").mask().int()
    tensor([[1, 1, 1, 0],
            [1, 1, 1, 0],
            [0, 1, 1, 1],
            [0, 1, 1, 1]], dtype=torch.int32)
    """

    query_sides: tuple[tuple[int, ...], ...]  # of each example
    key_sides: tuple[tuple[int, ...], ...]
    before: tuple[int, ...]  # steps along each axis, clipped
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    stride: tuple[int, ...]
    border: str

    def __init__(
        self,
        sides: Sides | Sequence[Sides],
        before: Counts,
        after: Counts | None = None,
        dilation: Counts = 1,
        stride: Counts = 1,
        border: str = "clip",
        key_sides: Sides | Sequence[Sides] | None = None,
    ):
        query_sides = _parse_sides("sides", sides)
        num_axes = len(query_sides[0])
        low = _parse_axes("before", before, num_axes, 0)
        high = low if after is None else _parse_axes("after", after, num_axes, 0)
        steps = _parse_axes("dilation", dilation, num_axes, 1)
        strides = _parse_axes("stride", stride, num_axes, 1)
        if key_sides is None:
            parsed = tuple(tuple(side * step for side, step in zip(lengths, strides)) for lengths in query_sides)
        else:
            parsed = _parse_sides("key_sides", key_sides)
        _check_axes(query_sides, parsed, border)
        self._set(query_sides, parsed, low, high, steps, strides, border)

    def _set(
        self,
        query_sides: SidesOfExamples,
        key_sides: SidesOfExamples,
        before: tuple[int, ...],
        after: tuple[int, ...],
        dilation: tuple[int, ...],
        stride: tuple[int, ...],
        border: str,
        edges_by_key: bool = False,
    ) -> None:
        _check_reach(query_sides, stride)
        if border == "shift" and any(before + after):
            _check_shift(query_sides, key_sides, before, after, dilation, stride)
        else:
            border = "clip"
            before = tuple(
                min(steps, max(max(0, sides[axis] - 1) for sides in query_sides) * stride[axis] // dilation[axis])
                for axis, steps in enumerate(before)
            )
            after = tuple(
                min(steps, max(max(0, sides[axis] - 1) for sides in key_sides) // dilation[axis])
                for axis, steps in enumerate(after)
            )
        self._freeze(
            sizes=tuple((prod(queries), prod(keys)) for queries, keys in zip(query_sides, key_sides)),
            edges_by_key=edges_by_key,
            query_sides=query_sides,
            key_sides=key_sides,
            before=before,
            after=after,
            # Where there is nothing to step over, dilation and stride have one spelling.
            dilation=tuple(step if low + high else 1 for step, low, high in zip(dilation, before, after)),
            stride=tuple(
                step if any(sides[axis] > 1 for sides in query_sides) else 1 for axis, step in enumerate(stride)
            ),
            border=border,
        )

    def _restore(
        self, sizes, edges_by_key, query_sides, key_sides, before, after, dilation, stride, border
    ):  # `sizes` follow from the sides
        query_sides, key_sides = _parse_sides("query_sides", query_sides), _parse_sides("key_sides", key_sides)
        minima = {"before": 0, "after": 0, "dilation": 1, "stride": 1}
        window = [
            _parse_axes(name, tuple(values), len(query_sides[0]), minimum)
            for values, (name, minimum) in zip((before, after, dilation, stride), minima.items())
        ]
        _check_axes(query_sides, key_sides, border)
        self._set(query_sides, key_sides, *window, border, parse_flag("edges_by_key", edges_by_key))

    @classmethod
    def _of(cls, *args: Any, **kwargs: Any) -> Self:
        graph = cls.__new__(cls)
        graph._set(*args, **kwargs)
        return graph

    @property
    def num_axes(self) -> int:
        """Number of axes: 1 for a sequence, 2 for an image, 3 for a volume."""
        return len(self.before)

    def allows(self, query: Index, key: Index) -> Tensor:
        query, key, example, allowed = self._locate(query, key)
        for axis in reversed(range(self.num_axes)):
            query_side, key_side = self._sides_along(axis, example)
            first, count = self.window(axis, query % query_side, key_side)
            step = key % key_side - first
            dilation = self.dilation[axis]
            allowed = allowed & (step >= 0) & (step < count * dilation) & (step % dilation == 0)
            query, key = query // query_side, key // key_side
        return allowed

    def _sides_along(self, axis: int, example: Index) -> Iterator[Index]:
        """Queries and keys along `axis` in each example of `example`, at least 1 so that one can divide by them."""
        return (
            self._per_example([max(1, sides[axis]) for sides in sides_of_examples], example)
            for sides_of_examples in (self.query_sides, self.key_sides)
        )

    def window(self, axis: int, query: Tensor, key_side: Index) -> tuple[Tensor, Tensor]:
        """First key and number of keys along `axis` of the queries at coordinates `query`."""
        before, after, dilation = self.before[axis], self.after[axis], self.dilation[axis]
        if self.border == "shift":
            place, residue = query // dilation, query % dilation
            available = (key_side - 1 - residue) // dilation + 1  # keys with the residue of the query
            count = before + after + 1
            first = torch.minimum((place - before).clamp(min=0), torch.as_tensor(available - count))
            return first * dilation + residue, torch.full_like(query, count)
        centre = query * self.stride[axis]
        # Steps t with 0 <= centre + dilation * t < key_side; -(x // d) is x / d rounded up.
        first = (-(centre // dilation)).clamp(min=-before)
        last = ((key_side - 1 - centre) // dilation).clamp(max=after)
        return centre + first * dilation, (last - first + 1).clamp(min=0)

    def _windows(self, device: torch.device) -> Iterator[tuple[int, Tensor, Tensor]]:
        """First keys and numbers of keys of each query, `[num_queries]` each, from the last axis to the first."""
        query, example, _ = self._local_queries(device)
        for axis in reversed(range(self.num_axes)):
            query_side, key_side = self._sides_along(axis, example)
            yield axis, *self.window(axis, query % query_side, key_side)
            query = query // query_side

    def _build_degrees(self, device: torch.device) -> Tensor:
        degrees = torch.ones(self.num_queries, dtype=torch.int64, device=device)
        for _, _, count in self._windows(device):
            degrees = degrees * count
        return degrees * torch.as_tensor(self._has_keys(device))

    def _has_keys(self, device: torch.device) -> Index:
        """False for queries of an example without any key (a side of 0 was taken as 1)."""
        _, example, _ = self._local_queries(device)
        return self._per_example([keys > 0 for _, keys in self.sizes], example)

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        degrees = self.degrees(device)
        start = row_pointer(degrees)
        row = rows_of(start)
        rest = torch.arange(row.numel(), device=device) - start[row]  # place in the row: digits, last axis fastest
        _, example, first_key = self._local_queries(device)
        key = torch.as_tensor(first_key, device=device).expand(self.num_queries)[row]
        step = torch.ones_like(row)  # distance in nodes of neighbours along the axis
        for axis, first, count in self._windows(device):
            key = key + step * (first[row] + rest % count[row] * self.dilation[axis])
            rest = rest // count[row]
            _, key_side = self._sides_along(axis, example)
            step = step * torch.as_tensor(key_side, device=device).expand(self.num_queries)[row]
        return degrees, key

    @property
    def num_edges(self) -> int:
        return sum(
            prod(self._count_along(axis, queries[axis], keys[axis]) for axis in range(self.num_axes))
            for queries, keys in zip(self.query_sides, self.key_sides)
        )

    def _count_along(self, axis: int, queries: int, keys: int) -> int:
        before, after, dilation, stride = (
            values[axis] for values in (self.before, self.after, self.dilation, self.stride)
        )
        if self.border == "shift":
            return queries * (before + after + 1)
        steps = range(-before, after + 1)
        if stride == 1:
            return count_edges((queries, keys), 0, dilation, steps)
        return sum(
            max(0, min(queries - 1, (keys - 1 - dilation * t) // stride) - max(0, -(dilation * t // stride)) + 1)
            for t in steps
        )

    @property
    def is_symmetric(self) -> bool:
        uniform = self.border == "clip" and set(self.stride) <= {1}
        return uniform and self.before == self.after and self.query_sides == self.key_sides

    def normal_form(self) -> Graph:
        if self.num_edges == sum(queries * keys for queries, keys in self.sizes):
            return CompleteGraph._of(self.sizes, self.edges_by_key)
        sides = self.query_sides + self.key_sides
        long = [axis for axis in range(self.num_axes) if any(lengths[axis] != 1 for lengths in sides)]
        if len(long) == 1 and self.border == "clip" and self.stride[long[0]] == 1:
            (axis,) = long
            offsets = (0,) * self.num_examples
            window = (-self.before[axis], self.after[axis], self.dilation[axis])
            return BandedGraph._of(self.sizes, *window, offsets, self.edges_by_key).normal_form()
        return self

    def _transposed(self) -> Graph:
        if self.border == "shift" or set(self.stride) - {1}:
            return TransposedGraph(self)
        window = (self.after, self.before, self.dilation, self.stride, self.border)
        return self._of(self.key_sides, self.query_sides, *window, not self.edges_by_key)

    def _split(self) -> list[Graph]:
        window = (self.before, self.after, self.dilation, self.stride, self.border, self.edges_by_key)
        return [self._of((queries,), (keys,), *window) for queries, keys in zip(self.query_sides, self.key_sides)]

    @classmethod
    def _join(cls, graphs: list[Self]) -> Graph | None:
        # Small grids have their windows clipped: they join if the widest window, clipped to them, is their own.
        if len({(graph.num_axes, graph.border) for graph in graphs}) > 1:
            return None
        window = [
            tuple(map(max, zip(*(getattr(graph, name) for graph in graphs))))
            for name in ("before", "after", "dilation", "stride")
        ]
        if graphs[0].border == "shift" and any((graph.before, graph.after) != tuple(window[:2]) for graph in graphs):
            return None
        rest = (*window, graphs[0].border, graphs[0].edges_by_key)
        if any(cls._of(graph.query_sides, graph.key_sides, *rest) != graph for graph in graphs):
            return None
        query_sides = tuple(sides for graph in graphs for sides in graph.query_sides)
        key_sides = tuple(sides for graph in graphs for sides in graph.key_sides)
        return cls._of(query_sides, key_sides, *rest)

    def _describe(self) -> str:
        words = [_shown_sides(self.query_sides), f"before={_shown(self.before)}", f"after={_shown(self.after)}"]
        if set(self.dilation) - {1}:
            words.append(f"dilation={_shown(self.dilation)}")
        if set(self.stride) - {1}:
            words.append(f"stride={_shown(self.stride)}")
        if self.border != "clip":
            words.append(f"border={self.border!r}")
        if self.key_sides != self.query_sides:
            words.append(f"key_sides={_shown_sides(self.key_sides)}")
        return f"GridGraph({', '.join(words)})"


def intersect_grids(one: GridGraph, other: GridGraph) -> GridGraph | None:
    """The grid that both allow; None if it is no grid."""
    fixed = ("query_sides", "key_sides", "stride", "border")
    if any(getattr(one, name) != getattr(other, name) for name in fixed) or one.border != "clip":
        return None
    before, after = (tuple(map(min, getattr(one, name), getattr(other, name))) for name in ("before", "after"))
    dilation = tuple(map(max, one.dilation, other.dilation))
    windows = zip(one.dilation, other.dilation, before, after)
    if any(ours != theirs and low + high > 0 for ours, theirs, low, high in windows):
        return None
    return GridGraph._of(one.query_sides, one.key_sides, before, after, dilation, one.stride, "clip")


def _parse_sides(name: str, sides: Any) -> SidesOfExamples:
    if not is_sequence(sides):
        raise TypeError(f"{name!r} must be a tuple of ints, or a list of such tuples (got {sides!r})")
    ragged = len(sides) > 0 and all(is_sequence(entry) for entry in sides)
    parsed = tuple(parse_counts(name, entry) for entry in (sides if ragged else [sides]))
    if len({len(entry) for entry in parsed}) > 1:
        raise ValueError(f"{name!r} must have equally many axes in every example (got {list(parsed)})")
    return parsed


def _parse_axes(name: str, value: Any, num_axes: int, minimum: int) -> tuple[int, ...]:
    values = parse_counts(name, value, minimum)
    if not is_sequence(value):
        return values * num_axes
    if len(values) != num_axes:
        raise ValueError(f"{name!r} must be an int or one per axis (got {len(values)} for {num_axes} axes)")
    return values


def _check_axes(query_sides: SidesOfExamples, key_sides: SidesOfExamples, border: object) -> None:
    if border not in BORDERS:
        raise ValueError(f"'border' must be one of {BORDERS} (got {border!r})")
    if len(query_sides) != len(key_sides) or len(query_sides[0]) != len(key_sides[0]):
        raise ValueError(
            f"'key_sides' must have the axes and examples of 'sides' (got {len(key_sides)} x {len(key_sides[0])} "
            f"and {len(query_sides)} x {len(query_sides[0])})"
        )


def _check_reach(query_sides: SidesOfExamples, stride: tuple[int, ...]) -> None:
    for sides in query_sides:
        for axis, (side, step) in enumerate(zip(sides, stride)):
            if side * step >= 2**62:  # coordinates of keys are int64
                raise ValueError(f"'stride' leads beyond 2^62 keys along axis {axis} (got {step} for {side} queries)")


def _check_shift(
    query_sides: SidesOfExamples,
    key_sides: SidesOfExamples,
    before: tuple[int, ...],
    after: tuple[int, ...],
    dilation: tuple[int, ...],
    stride: tuple[int, ...],
) -> None:
    if set(stride) - {1} or query_sides != key_sides:
        raise ValueError(
            f"border='shift' needs stride 1 and as many keys as queries (got stride {_shown(stride)}, sides "
            f"{_shown_sides(query_sides)}, key_sides {_shown_sides(key_sides)}); use border='clip'"
        )
    for sides in query_sides:
        for axis, (side, low, high, step) in enumerate(zip(sides, before, after, dilation)):
            window, available = low + high + 1, side // step if side >= step else 1
            if prod(sides) and window > available:
                raise ValueError(
                    f"border='shift' needs {window} keys along axis {axis} for before={low}, after={high} "
                    f"(got {available} in side {side} with dilation {step}); take a smaller window or border='clip'"
                )


def _shown(values: tuple[int, ...]) -> str:
    """The values of all axes as the repr writes them: one int where they are equal, else a tuple."""
    return str(values[0]) if len(set(values)) == 1 else str(values)


def _shown_sides(sides: tuple[tuple[int, ...], ...]) -> str:
    if len(sides) == 1:
        return str(sides[0])
    if len(sides) <= 4:
        return str(list(sides))
    return f"[{sides[0]}, {sides[1]}, ..., {sides[-1]}] ({len(sides)} examples)"
