"""The ways in which the numbers of a tensor may lie in memory. A new one is one line of LAYOUTS."""

import torch
from torch import Tensor


def with_gaps(x: Tensor, dim: int) -> Tensor:
    """The same tensor, its numbers at every second place in memory along a dimension; NaN stands between."""
    shape = list(x.shape)
    shape[dim] *= 2
    places = [slice(None)] * x.dim()
    places[dim] = slice(None, None, 2)
    storage = x.new_full(shape, torch.nan)
    storage[tuple(places)] = x
    return storage[tuple(places)]


def inside(x: Tensor) -> Tensor:
    """The same tensor in the middle of a larger storage, with NaN around."""
    storage = x.new_full((x.numel() + 10,), torch.nan)
    storage[5 : 5 + x.numel()] = x.flatten()
    return storage[5 : 5 + x.numel()].view(x.shape)


def transposed(x: Tensor) -> Tensor:
    axes = list(reversed(range(x.dim())))
    return x.permute(axes).contiguous().permute(axes)


def negated(x: Tensor) -> Tensor:
    """The same tensor as the imaginary part of a conjugate: memory has the other sign, and torch a mark that says so."""
    if x.dtype not in (torch.float32, torch.float64):
        return x.clone()
    found = torch.complex(torch.full_like(x, torch.nan), -x).conj().imag
    assert found.is_neg() or not x.numel()
    return found


def misaligned(x: Tensor) -> Tensor:
    """The same tensor in memory that begins at an odd address."""
    if not x.numel():
        return x.clone()
    memory = bytearray(x.numel() * x.itemsize + 1)
    found = torch.frombuffer(memory, dtype=x.dtype, offset=1).view(x.shape)
    return found.copy_(x)


# tensor -> tensor of the same shape; where memory is shared by several places, so are their numbers
LAYOUTS = {
    "one_number": lambda x: x.flatten()[-1].expand(x.shape) if x.numel() else x.clone(),
    "one_row": lambda x: x[-1:].expand(x.shape) if len(x) else x.clone(),
    "one_column": lambda x: x[..., -1:].expand(x.shape) if x.numel() else x.clone(),
    "column": lambda x: with_gaps(x[..., None].expand(*x.shape, 3), -1)[..., 2],
    "row_step": lambda x: with_gaps(x, 0),
    "channel_step": lambda x: with_gaps(x, -1),
    "transposed": transposed,
    "flipped": lambda x: x.flip(0).flip(0),
    "inside": inside,
    "row_of_batch": lambda x: torch.stack([torch.full_like(x, torch.nan), x])[1],
    "negated": negated,
    "misaligned": misaligned,
}
