"""Edges as pairs (row, column): copied, looked through, sorted and turned round by the loops of `indices.c` and `sorting.c`.

Indices are on the CPU, int64 or int32, both of one dtype; what is made of them is int32, which their sizes must fit.
"""

import ctypes
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor

from graphattn.kernels.native.border import Struct, hand_over, readable
from graphattn.kernels.native.library import library
from graphattn.kernels.native.threads import count_pieces, even_bounds, run

PIECE = 2**16  # numbers that are looked through at a time, in some 10 us


class Pairs(Struct):
    """Pairs of indices.h."""

    _fields_ = (
        *((name, c_int64) for name in ("num_edges", "num_rows", "num_cols", "is_64")),
        *((name, c_void_p) for name in ("row", "col", "row_starts", "place", "starts", "sorted", "places")),
        *((name, c_void_p) for name in ("scratch", "found")),
    )

    def arrays(self, real):
        turned = bool(self.row_starts)
        sorting = 2 * self.num_edges + self.num_cols + 1 + max(self.num_rows, self.num_cols) + 1
        return {
            "row": (real, self.num_edges),
            "col": (real, self.num_edges),
            "row_starts": (torch.int32, self.num_rows + 1),
            "place": (torch.int32, self.num_edges),
            "starts": (torch.int32, (self.num_cols if turned else self.num_rows) + 1),
            "sorted": (torch.int32, self.num_edges),
            "places": (torch.int32, self.num_edges),
            "scratch": (torch.int32, self.num_cols + 1 if turned else sorting),
            "found": (torch.int64, count_pieces(self.num_edges, PIECE)),
        }


IS_SORTED, FALLS, IS_OUTSIDE = range(3)  # of indices.h


class Copying(Struct):
    """Copying of indices.h."""

    _fields_ = (
        *((name, c_int64) for name in ("num_edges", "num_rows", "num_cols", "is_64", "copy_is_64")),
        *((name, c_void_p) for name in ("index", "copy", "found")),
    )

    def arrays(self, real):
        numbers = 2 * self.num_edges
        copy = torch.int64 if self.copy_is_64 else torch.int32
        found = torch.int64, count_pieces(self.num_edges, PIECE)
        return {"index": (real, numbers), "copy": (copy, numbers), "found": found}


class Comparison(Struct):
    """Comparison of indices.h."""

    _fields_ = (
        *((name, c_int64) for name in ("count", "is_64")),
        *((name, c_void_p) for name in ("shown", "stored", "found")),
    )

    def arrays(self, real):
        found = torch.int64, count_pieces(self.count, PIECE)
        return {"shown": (torch.int64, self.count), "stored": (real, self.count), "found": found}


def copy_pairs(index: Tensor, num_rows: int, num_cols: int, dtype: torch.dtype) -> tuple[Tensor, bool] | None:
    """A copy of an index [2, num_edges], columns before rows, and whether its pairs go by (row, column); None if a number is
    out of range.

    Each number is read once, so that all this is true of the copy, whoever writes the index meanwhile.

    Args:
        index: int64, or int32 for a copy in int32.
        num_rows, num_cols: Any number, of which the first 2^31 are in range.
        dtype: Of the copy, int64 or int32.
    """
    copying = Copying(
        index.size(1), min(num_rows, 2**31), min(num_cols, 2**31), index.dtype == torch.int64, dtype == torch.int64
    )
    bounds = _bounds(copying.num_edges)
    copy = torch.empty(index.shape, dtype=dtype, device="cpu")
    found = torch.empty(bounds.numel() - 1, dtype=torch.int64, device="cpu")
    index = readable(index, index.dtype)
    run("pairs_copied", hand_over(copying, index.dtype, index=index, copy=copy, found=found), bounds)
    pieces = found.tolist()
    if IS_OUTSIDE in pieces:
        return None
    return copy, FALLS not in pieces and _meet_in_order(copy, bounds)


def _meet_in_order(copy: Tensor, bounds: Tensor) -> bool:
    """Whether no piece begins with a pair that goes before the last one of the piece before it."""
    if bounds.numel() == 2:
        return True
    col, row = copy[:, (bounds[1:-1, None] + torch.tensor([-1, 0], device="cpu")).flatten()]
    return is_sorted(row, col)


def some_outside(row: Tensor, col: Tensor, num_rows: int, num_cols: int) -> bool:
    """Whether an index is below 0, or at or above its size."""
    return _look("pairs_outside", row, col, num_rows, num_cols)


def is_sorted(row: Tensor, col: Tensor) -> bool:
    """Whether pairs go by (row, column); all are at least 0."""
    return not _look("pairs_descend", row, col, 0, 0)


def sort_pairs(row: Tensor, col: Tensor, num_rows: int, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs by (row, column), equal ones in their order: where rows start [num_rows + 1], columns [num_edges], places [num_edges].

    Raises:
        ValueError: if an index is out of range, or is written meanwhile.
    """
    pairs, row, col = _pairs(row, col, num_rows, num_cols)
    scratch = _room(pairs.arrays(row.dtype)["scratch"][1])
    room = _room(num_rows + 1 + 2 * row.numel())
    starts, sorted, places = room.split_with_sizes((num_rows + 1, row.numel(), row.numel()))
    hand_over(pairs, row.dtype, row=row, col=col, starts=starts, sorted=sorted, places=places, scratch=scratch)
    _do("sort_pairs", pairs)
    return starts, sorted, places


def turn_rows(
    row_starts: Tensor, col: Tensor, place: Tensor | None, num_cols: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Rows that are sorted as columns: where those start [num_cols + 1], rows [num_edges], and what `place` tells of each pair.

    Args:
        row_starts: int32 [num_rows + 1].
        col: [num_edges].
        place: int32 [num_edges]; None: where the pair stands in `col`. That is None too for what comes out if none moves.

    Raises:
        ValueError: if an index is out of range, or is written meanwhile.
    """
    pairs, _, col = _pairs(col, col, row_starts.numel() - 1, num_cols)
    room = _room(num_cols + 1 + 2 * col.numel())
    starts, sorted, places = room.split_with_sizes((num_cols + 1, col.numel(), col.numel()))
    row_starts, place = readable(row_starts, torch.int32), readable(place, torch.int32)
    hand_over(pairs, col.dtype, row_starts=row_starts)  # first: `arrays` asks for it
    scratch = _room(num_cols + 1)
    hand_over(pairs, col.dtype, col=col, place=place, starts=starts, sorted=sorted, places=places, scratch=scratch)
    done = _do("turn_rows", pairs)
    return starts, sorted, (places if place is not None or done == 1 else None)


def same_numbers(shown: Tensor, kept: Tensor) -> bool:
    """Whether two indices of one size hold the same numbers; `shown` is int64, `kept` int64 or int32."""
    shown, kept, bounds = readable(shown, torch.int64), readable(kept, kept.dtype), _bounds(kept.numel())
    found = torch.zeros(bounds.numel() - 1, dtype=torch.int64, device="cpu")
    comparison = Comparison(kept.numel(), kept.dtype == torch.int64)
    run("numbers_differ", hand_over(comparison, kept.dtype, shown=shown, stored=kept, found=found), bounds)
    return not found.any()


def _bounds(count: int) -> Tensor:
    """Of the pieces that so many numbers are looked through in."""
    return even_bounds(count, count_pieces(count, PIECE))


def _pairs(row: Tensor, col: Tensor, num_rows: int, num_cols: int) -> tuple[Pairs, Tensor, Tensor]:
    row, col = readable(row, row.dtype), readable(col, row.dtype)
    return Pairs(row.numel(), num_rows, num_cols, row.dtype == torch.int64), row, col


def _look(name: str, row: Tensor, col: Tensor, num_rows: int, num_cols: int) -> bool:
    pairs, row, col = _pairs(row, col, num_rows, num_cols)
    bounds = _bounds(pairs.num_edges)
    found = torch.zeros(bounds.numel() - 1, dtype=torch.int64, device="cpu")
    run(name, hand_over(pairs, row.dtype, row=row, col=col, found=found), bounds)
    return bool(found.any())


def _room(count: int) -> Tensor:
    return torch.empty(count, dtype=torch.int32, device="cpu")


def _do(name: str, pairs: Pairs) -> int:
    done = getattr(library(), name)(c_void_p(ctypes.addressof(pairs)))
    if done == 0:
        raise ValueError(
            f"edges must have rows 0 to {pairs.num_rows - 1} and columns 0 to {pairs.num_cols - 1}, and nobody may write them"
            f" while they are sorted (got an index that is out of range, or changed)"
        )
    return done
