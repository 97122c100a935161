"""Sums, maxima and thresholds of rows of different length, without padding and without one row touching another."""

from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs.exported import is_exporting


class Segments(NamedTuple):
    """Numbers [num_entries, heads] that belong to rows; entries are in any order.

    >>> rows = Segments(torch.tensor([0, 0, 2]), 3)
    >>> rows.sum(torch.tensor([[1.0], [2.0], [4.0]])).flatten()
    tensor([3., 0., 4.])
    """

    row: Tensor  # [num_entries]
    num_rows: int

    def sum(self, x: Tensor) -> Tensor:
        """[num_entries, heads] -> [num_rows, heads]; 0 for a row without entries."""
        return x.new_zeros(self.num_rows, x.size(1)).index_add(0, self.row, x)

    def max(self, x: Tensor) -> Tensor:
        """[num_entries, heads] -> [num_rows, heads]; -inf for a row without entries."""
        top = x.new_full((self.num_rows, x.size(1)), -torch.inf)
        return top.scatter_reduce_(0, self.row[:, None].expand_as(x), x, "amax")

    def spread(self, x: Tensor) -> Tensor:
        """[num_rows, heads] -> [num_entries, heads]: every entry gets the number of its row."""
        return x[self.row]

    def from_top(self, x: Tensor) -> Tensor:
        """Less the largest of the row, which counts as a constant: nothing here changes where a whole row moves."""
        top = self.max(x.detach())
        return x - self.spread(top.masked_fill(top == -torch.inf, 0.0))

    def support(self, x: Tensor, power: int) -> Tensor:
        """Entries above the t of their row for which sum of max(x - t, 0)^power = 1; the largest of a row must be 0.

        Newton's method from t = -1, which is never above the root: the sum is convex and falls with t, so t rises to the root
        and never passes it. For power 1 it ends after finitely many steps (Michelot 1986).
        """
        if is_exporting():
            return self.support_by_halves(x, power)
        if torch.compiler.is_compiling():  # how many steps it takes is not known before the code runs
            return traced_support(x, self.row, self.num_rows, power)
        t = x.new_full((self.num_rows, x.size(1)), -1.0)
        while True:
            above = (x - self.spread(t)).relu()
            slope = self.sum((above > 0).to(x.dtype) if power == 1 else power * above.pow(power - 1))
            rise = (self.sum(above.pow(power)) - 1) / slope.masked_fill(slope == 0, torch.inf)
            new = t + rise
            if not (new > t).any():
                return ~(x <= self.spread(t))  # NaN stays, to be seen in the result
            t = torch.maximum(t, new)

    def support_by_halves(self, x: Tensor, power: int) -> Tensor:
        """`support` in a number of steps that is known before the code runs: each halves the interval -1 .. 0 around t."""
        low = x.new_full((self.num_rows, x.size(1)), -1.0)
        step = 1.0
        while step > torch.finfo(x.dtype).eps:
            step /= 2
            is_below = self.sum((x - self.spread(low + step)).relu().pow(power)) >= 1
            low = torch.where(is_below, low + step, low)
        return ~(x <= self.spread(low))

    def largest(self, x: Tensor, k: int) -> Tensor:
        """The k-th largest of each row, the smallest where there are fewer: [num_rows, heads]; 0 for an empty row."""
        if is_exporting():
            return self.largest_of_some(x, k)
        if torch.compiler.is_compiling():
            return traced_largest(x, self.row, self.num_rows, k)
        if not x.size(0):
            return x.new_zeros(self.num_rows, x.size(1))
        return self.largest_of_some(x, k)

    def largest_of_some(self, x: Tensor, k: int) -> Tensor:
        """`largest` of at least one entry."""
        falling = x.argsort(dim=0, descending=True)
        place = torch.arange(x.size(0), device=x.device)[:, None]
        # ONNX has no stable sort: by row, and inside a row by what came first.
        order = falling.gather(0, (self.row[falling] * x.size(0) + place).argsort(dim=0))
        count = self.row.new_zeros(self.num_rows).index_add(0, self.row, torch.ones_like(self.row))
        place = count.cumsum(0) - count + count.clamp(max=k) - 1
        return x.gather(0, order)[place.clamp(0, x.size(0) - 1)]


@torch.library.custom_op("graphattn::support", mutates_args=())
def traced_support(x: Tensor, row: Tensor, num_rows: int, power: int) -> Tensor:
    return Segments(row, num_rows).support(x, power)


@traced_support.register_fake
def _(x, row, num_rows, power):
    return torch.empty_like(x, dtype=torch.bool)


@torch.library.custom_op("graphattn::largest", mutates_args=())
def traced_largest(x: Tensor, row: Tensor, num_rows: int, k: int) -> Tensor:
    return Segments(row, num_rows).largest(x, k)


@traced_largest.register_fake
def _(x, row, num_rows, k):
    return x.new_empty(num_rows, x.size(1))
