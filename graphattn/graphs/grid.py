"""GridGraph: a neighbourhood on an image, a volume, a sequence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from graphattn.graphs.banded import BandedGraph
from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.csr import row_pointer, rows_of
from graphattn.graphs.graph import Graph, Index
from graphattn.graphs.sizes import Counts, is_sequence, parse_counts, parse_flag
from graphattn.graphs.transposed import TransposedGraph
from graphattn.graphs.windows import BORDERS, Window, intersect_windows

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
            `before + after + 1` keys, for a dilation among the keys of its own residue, as in NATTEN
            (https://arxiv.org/abs/2204.07143); it needs stride 1 and enough keys. A name for all axes or one per axis.
        key_sides: number of keys along each axis; `sides * stride` by default: the graph from a grid to one
            that is `stride` times coarser. A convolution with kernel size 2p + 1 and padding p over an odd side
            `n` has `sides = ceil(n / stride)`, `before = p`, `key_sides = n`.
        group: neighbouring queries along an axis that share a window, an int or one per axis: places 0 .. group - 1,
            group .. 2 * group - 1, ... among the nodes of one residue modulo `dilation`. It is the window of their
            leader, which is in their middle (the right one of two), or the last node if that comes before. The
            `stride` of generalized neighborhood attention (https://arxiv.org/abs/2504.16922); it needs stride 1.
        is_causal: whether a query sees no key after itself, a bool or one per axis. There `after` is 0 and the border
            clips, whatever it is elsewhere, and the leader of a group is its last query: the others see what
            it sees, up to themselves. Without a group, `after=0` and `border='clip'` say the same. For video:
            `GridGraph((frames, height, width), 3, border="shift", is_causal=(True, False, False))`.

    Raises:
        ValueError: on negative counts, a wrong number of axes, an unknown border, too few keys to shift, keys
            after a causal query, or groups where queries are not the keys.

    >>> GridGraph((2, 3), 1).mask()[0].int()
    tensor([1, 1, 0, 1, 1, 0], dtype=torch.int32)
    >>> GridGraph((4,), 1, border="shift").mask().int()
    tensor([[1, 1, 1, 0],
            [1, 1, 1, 0],
            [0, 1, 1, 1],
            [0, 1, 1, 1]], dtype=torch.int32)
    >>> GridGraph((2, 4), 1, border="shift", is_causal=(True, False)).mask()[4].int()
    tensor([1, 1, 1, 0, 1, 1, 1, 0], dtype=torch.int32)
    >>> GridGraph((6,), 1, group=3).mask().int()
    tensor([[1, 1, 1, 0, 0, 0],
            [1, 1, 1, 0, 0, 0],
            [1, 1, 1, 0, 0, 0],
            [0, 0, 0, 1, 1, 1],
            [0, 0, 0, 1, 1, 1],
            [0, 0, 0, 1, 1, 1]], dtype=torch.int32)
    """

    query_sides: tuple[tuple[int, ...], ...]  # of each example
    key_sides: tuple[tuple[int, ...], ...]
    before: tuple[int, ...]  # steps along each axis, clipped
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    stride: tuple[int, ...]
    border: str | tuple[str, ...]  # one name where all axes have it
    group: tuple[int, ...]
    is_causal: tuple[bool, ...]  # also where it follows from `after` and `border`

    def __init__(
        self,
        sides: Sides | Sequence[Sides],
        before: Counts,
        after: Counts | None = None,
        dilation: Counts = 1,
        stride: Counts = 1,
        border: str | Sequence[str] = "clip",
        key_sides: Sides | Sequence[Sides] | None = None,
        *,
        group: Counts = 1,
        is_causal: bool | Sequence[bool] = False,
    ):
        query_sides = _parse_sides("sides", sides)
        num_axes = len(query_sides[0])
        causal = _parse_flags("is_causal", is_causal, num_axes)
        low = _parse_axes("before", before, num_axes, 0)
        if after is None:
            high = tuple(0 if is_last else steps for steps, is_last in zip(low, causal))
        else:
            high = _parse_axes("after", after, num_axes, 0)
        steps = _parse_axes("dilation", dilation, num_axes, 1)
        strides = _parse_axes("stride", stride, num_axes, 1)
        borders = _parse_borders(border, num_axes)
        groups = _parse_axes("group", group, num_axes, 1)
        if key_sides is None:
            parsed = tuple(tuple(side * step for side, step in zip(lengths, strides)) for lengths in query_sides)
        else:
            parsed = _parse_sides("key_sides", key_sides)
        self._set(
            query_sides, parsed, [Window(*axis) for axis in zip(low, high, steps, strides, borders, groups, causal)]
        )

    @classmethod
    def natten(
        cls,
        sides: Sides | Sequence[Sides],
        kernel_size: Counts,
        stride: Counts = 1,
        dilation: Counts = 1,
        is_causal: bool | Sequence[bool] = False,
    ) -> Self:
        """The neighbourhood that `na1d`, `na2d`, `na3d` of NATTEN attend to, in NATTEN's words.

        This is generalized neighborhood attention (https://arxiv.org/abs/2504.16922). Windows shift at the border; along a
        causal axis they are the last `kernel_size` keys that end at the query. NATTEN's `stride` is `group` here.

        Args:
            sides: nodes along each axis; a list of such tuples is a batch.
            kernel_size: keys of a window along each axis, an int or one per axis; an even one has its odd key before.
            stride: neighbouring queries that share a window, at most `kernel_size`.
            dilation: distance between neighbouring keys of a window.
            is_causal: whether queries see no key after them, a bool or one per axis.

        Raises:
            ValueError: if a stride exceeds its kernel size, or a window its axis.

        >>> GridGraph.natten((8, 16, 16), kernel_size=(4, 7, 7), is_causal=(True, False, False))
        GridGraph((8, 16, 16), before=3, after=(0, 3, 3), border=('clip', 'shift', 'shift'))
        >>> GridGraph.natten((6,), kernel_size=3, stride=3).mask().int()
        tensor([[1, 1, 1, 0, 0, 0],
                [1, 1, 1, 0, 0, 0],
                [1, 1, 1, 0, 0, 0],
                [0, 0, 0, 1, 1, 1],
                [0, 0, 0, 1, 1, 1],
                [0, 0, 0, 1, 1, 1]], dtype=torch.int32)
        """
        num_axes = len(_parse_sides("sides", sides)[0])
        sizes = _parse_axes("kernel_size", kernel_size, num_axes, 1)
        strides = _parse_axes("stride", stride, num_axes, 1)
        causal = _parse_flags("is_causal", is_causal, num_axes)
        for axis, (size, step) in enumerate(zip(sizes, strides)):
            if step > size:
                raise ValueError(
                    f"'stride' must be at most 'kernel_size' (got {step} and {size} along axis {axis}): between the windows"
                    f" would be keys that no query sees; GridGraph(..., group={step}) makes such a graph"
                )
        before = tuple(size - 1 if is_last else size // 2 for size, is_last in zip(sizes, causal))
        after = tuple(0 if is_last else (size - 1) // 2 for size, is_last in zip(sizes, causal))
        return cls(sides, before, after, dilation, border="shift", group=strides, is_causal=causal)

    def _set(
        self,
        query_sides: SidesOfExamples,
        key_sides: SidesOfExamples,
        windows: Sequence[Window],
        edges_by_key: bool = False,
    ) -> None:
        if len(query_sides) != len(key_sides) or len(query_sides[0]) != len(key_sides[0]):
            raise ValueError(
                f"'key_sides' must have the axes and examples of 'sides' (got {len(key_sides)} x {len(key_sides[0])} "
                f"and {len(query_sides)} x {len(query_sides[0])})"
            )
        plain = []
        for axis, window in enumerate(windows):
            if window.is_causal and window.after:
                raise ValueError(
                    f"where 'is_causal' is set no key comes after its query (got after={window.after} along axis {axis});"
                    " leave 'after' out, or give one for each axis"
                )
            window = window._replace(border="clip") if window.is_causal else window
            sides = [(queries[axis], keys[axis]) for queries, keys in zip(query_sides, key_sides)]
            _check_axis(axis, window, sides, [queries[axis] for queries in query_sides if prod(queries)])
            plain.append(window.plain(max(queries for queries, _ in sides), max(keys for _, keys in sides)))
        columns: Any = zip(*plain)
        before, after, dilation, stride, _, group, is_causal = columns
        self._freeze(
            sizes=tuple((prod(queries), prod(keys)) for queries, keys in zip(query_sides, key_sides)),
            edges_by_key=edges_by_key,
            query_sides=query_sides,
            key_sides=key_sides,
            before=before,
            after=after,
            dilation=dilation,
            stride=stride,
            border=_border_of(plain),
            group=group,
            is_causal=is_causal,
        )

    def _restore(
        self,
        sizes,
        edges_by_key,
        query_sides,
        key_sides,
        before,
        after,
        dilation,
        stride,
        border,
        group=None,
        is_causal=None,
    ):  # `sizes` follow from the sides
        query_sides, key_sides = _parse_sides("query_sides", query_sides), _parse_sides("key_sides", key_sides)
        num_axes = len(query_sides[0])
        group = (1,) * num_axes if group is None else group  # of files from before there were groups
        is_causal = (False,) * num_axes if is_causal is None else is_causal
        minima = {"before": 0, "after": 0, "dilation": 1, "stride": 1, "group": 1}
        before, after, dilation, stride, group = (
            _parse_axes(name, tuple(values), num_axes, minimum)
            for values, (name, minimum) in zip((before, after, dilation, stride, group), minima.items())
        )
        axes = zip(
            *(before, after, dilation, stride, _parse_borders(border, num_axes), group),
            _parse_flags("is_causal", is_causal, num_axes),
        )
        self._set(query_sides, key_sides, [Window(*axis) for axis in axes], parse_flag("edges_by_key", edges_by_key))

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

    @property
    def windows(self) -> list[Window]:
        """What holds along each axis."""
        names = (self.border,) * self.num_axes if isinstance(self.border, str) else self.border
        # A window of one key has no border, whatever the other axes have.
        borders = [name if any(steps) else "clip" for name, *steps in zip(names, self.before, self.after)]
        axes = zip(self.before, self.after, self.dilation, self.stride, borders, self.group, self.is_causal)
        return [Window(*axis) for axis in axes]

    def window(self, axis: int, query: Tensor, key_side: Index) -> tuple[Tensor, Tensor]:
        """First key and number of keys along `axis` of the queries at coordinates `query`."""
        return self.windows[axis].keys(query, key_side)

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
        return self.remember("num_edges", self._count_edges)

    def _count_edges(self) -> int:
        return sum(
            prod(window.count_edges(*sides) for window, *sides in zip(self.windows, queries, keys))
            for queries, keys in zip(self.query_sides, self.key_sides)
        )

    @property
    def is_symmetric(self) -> bool:
        uniform = self.border == "clip" and set(self.stride) <= {1} and set(self.group) <= {1}
        return uniform and self.before == self.after and self.query_sides == self.key_sides

    def normal_form(self) -> Graph:
        if self.num_edges == sum(queries * keys for queries, keys in self.sizes):
            return CompleteGraph._of(self.sizes, self.edges_by_key)
        sides = self.query_sides + self.key_sides
        long = [axis for axis in range(self.num_axes) if any(lengths[axis] != 1 for lengths in sides)]
        if len(long) == 1:
            window = self.windows[long[0]]
            if window.border == "clip" and window.stride == window.group == 1:
                steps = (-window.before, window.after, window.dilation)
                offsets = (0,) * self.num_examples
                return BandedGraph._of(self.sizes, *steps, offsets, self.edges_by_key).normal_form()
        return self

    def _transposed(self) -> Graph:
        if self.border != "clip" or set(self.stride) - {1} or set(self.group) - {1}:
            return TransposedGraph(self)
        windows = [Window(after, before, step) for before, after, step in zip(self.before, self.after, self.dilation)]
        return self._of(self.key_sides, self.query_sides, windows, not self.edges_by_key)

    def _split(self) -> list[Graph]:
        windows, by_key = self.windows, self.edges_by_key
        return [
            self._of((queries,), (keys,), windows, by_key) for queries, keys in zip(self.query_sides, self.key_sides)
        ]

    @classmethod
    def _join(cls, graphs: list[Self]) -> Graph | None:
        # Small grids have their windows clipped: they join if the widest window, clipped to them, is their own.
        if len({graph.num_axes for graph in graphs}) > 1:
            return None
        axes = list(zip(*(graph.windows for graph in graphs)))
        windows = [_widest(along) for along in axes]
        if any(
            window.border == "shift" and len({each[:2] for each in along}) > 1 for window, along in zip(windows, axes)
        ):
            return None  # such a window is never clipped
        try:
            if any(
                cls._of(graph.query_sides, graph.key_sides, windows, graph.edges_by_key) != graph for graph in graphs
            ):
                return None
        except ValueError:  # it is not defined on the sides of all
            return None
        query_sides = tuple(sides for graph in graphs for sides in graph.query_sides)
        key_sides = tuple(sides for graph in graphs for sides in graph.key_sides)
        return cls._of(query_sides, key_sides, windows, graphs[0].edges_by_key)

    def _describe(self) -> str:
        words = [_shown_sides(self.query_sides), f"before={_shown(self.before)}", f"after={_shown(self.after)}"]
        if set(self.dilation) - {1}:
            words.append(f"dilation={_shown(self.dilation)}")
        if set(self.stride) - {1}:
            words.append(f"stride={_shown(self.stride)}")
        if self.border != "clip":
            words.append(f"border={self.border!r}")
        if set(self.group) - {1}:
            words.append(f"group={_shown(self.group)}")
            if any(causal and group > 1 for causal, group in zip(self.is_causal, self.group)):
                words.append(f"is_causal={_shown(self.is_causal)}")
        if self.key_sides != self.query_sides:
            words.append(f"key_sides={_shown_sides(self.key_sides)}")
        return f"GridGraph({', '.join(words)})"


def intersect_grids(one: GridGraph, other: GridGraph) -> GridGraph | None:
    """The grid that both allow; None if it is no grid."""
    if any(getattr(one, name) != getattr(other, name) for name in ("query_sides", "key_sides")):
        return None
    windows = []
    for axis, (ours, theirs) in enumerate(zip(one.windows, other.windows)):
        sides = [(queries[axis], keys[axis]) for queries, keys in zip(one.query_sides, one.key_sides)]
        both = intersect_windows(ours, theirs, sides)
        if both is None:
            return None
        windows.append(both)
    return GridGraph._of(one.query_sides, one.key_sides, windows)


def _widest(along: Sequence[Window]) -> Window:
    """A window that may be each of these, clipped to the sides of its grid."""
    before, after, dilation, stride = (max(numbers) for numbers in list(zip(*along))[:4])
    with_keys = [window for window in along if window.before + window.after] or along
    group, is_causal = max(window.group for window in along), all(window.is_causal for window in along)
    return Window(before, after, dilation, stride, with_keys[0].border, group, is_causal)


def _border_of(windows: Sequence[Window]) -> str | tuple[str, ...]:
    """One name for all axes if one is true; where a window is its own query, every border is."""
    names = {window.border for window in windows if window.before + window.after} or {"clip"}
    return names.pop() if len(names) == 1 else tuple(window.border for window in windows)


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


def _parse_flags(name: str, value: Any, num_axes: int) -> tuple[bool, ...]:
    values = value.tolist() if isinstance(value, (Tensor, np.ndarray)) else value
    if not is_sequence(values):
        return (parse_flag(name, values),) * num_axes
    if len(values) != num_axes:
        raise ValueError(f"{name!r} must be a bool or one per axis (got {len(values)} for {num_axes} axes)")
    return tuple(parse_flag(name, flag) for flag in values)


def _parse_borders(border: Any, num_axes: int) -> tuple[str, ...]:
    names = tuple(border) if is_sequence(border) else (border,) * num_axes
    if len(names) != num_axes:
        raise ValueError(f"'border' must be one of {BORDERS} or one per axis (got {len(names)} for {num_axes} axes)")
    for name in names:
        if name not in BORDERS:
            raise ValueError(f"'border' must be one of {BORDERS} (got {name!r})")
    return names


def _check_axis(axis: int, window: Window, sides: list[tuple[int, int]], seen: list[int]) -> None:
    """Raises ValueError unless windows of this kind are defined along the axis.

    Args:
        sides: queries and keys along the axis.
        seen: queries along the axis, of the examples that have any.
    """
    for queries, _ in sides:
        if queries * window.stride >= 2**62:  # coordinates of keys are int64
            raise ValueError(
                f"'stride' leads beyond 2^62 keys along axis {axis} (got {window.stride} for {queries} queries)"
            )
    shifts = window.border == "shift" and window.before + window.after > 0
    if (shifts or window.group > 1) and (window.stride > 1 or any(queries != keys for queries, keys in sides)):
        what = "border='shift'" if shifts else f"group={window.group}"
        instead = "border='clip'" if shifts else "group=1"
        raise ValueError(
            f"{what} needs stride 1 and as many keys as queries (got stride {window.stride} and (queries, keys) "
            f"{sides[0] if len(sides) == 1 else sides} along axis {axis}); use {instead}"
        )
    for side in seen if shifts else ():
        width, available = window.before + window.after + 1, side // window.dilation if side >= window.dilation else 1
        if width > available:
            raise ValueError(
                f"border='shift' needs {width} keys along axis {axis} for before={window.before}, after={window.after} "
                f"(got {available} in side {side} with dilation {window.dilation}); take a smaller window or border='clip'"
            )


def _shown(values: tuple[int, ...]) -> str:
    """The values of all axes as the repr writes them: one where they are equal, else a tuple."""
    return str(values[0]) if len(set(values)) == 1 else str(values)


def _shown_sides(sides: tuple[tuple[int, ...], ...]) -> str:
    if len(sides) == 1:
        return str(sides[0])
    if len(sides) <= 4:
        return str(list(sides))
    return f"[{sides[0]}, {sides[1]}, ..., {sides[-1]}] ({len(sides)} examples)"
