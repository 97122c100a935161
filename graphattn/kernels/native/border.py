"""The border between tensors and loops in C: everything that becomes an address is looked at here, and nowhere else.

Loops know where a number lies from sizes alone. A tensor may hold its numbers in any other way: a gradient that `.sum()` sends
back is one number with stride 0, a column of a table has gaps. `readable` lays them side by side; `hand_over` refuses whatever
does not lie so, has another dtype, is on another device, or is shorter or longer than the loop takes it to be.
"""

import ctypes
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, TypeVar, overload

import torch
from torch import Tensor

PLAIN = Tensor, torch.nn.Parameter  # classes of tensors that do nothing of their own
HALVES = {torch.bfloat16: 1, torch.float16: 2}  # as storage.h numbers them; 0 is the type that loops compute in


@overload
def readable(tensor: Tensor, dtype: torch.dtype) -> Tensor: ...


@overload
def readable(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None: ...


def readable(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The numbers of a tensor one after the other, each at a multiple of its size, as they are: no sign is left to be turned.

    The memory is that of the tensor where its numbers already lie so.
    """
    if tensor is None or (lies_as_loops_want(tensor) and tensor.dtype is dtype):
        return tensor
    tensor = tensor.detach().to(dtype).resolve_neg().contiguous()
    return tensor.clone() if tensor.data_ptr() % tensor.itemsize else tensor


def with_whole_rows(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """As `readable`, but the rows [heads, dim] of nodes may stay where they are in a wider table."""
    lies_well = has_whole_rows(tensor) and not tensor.data_ptr() % tensor.itemsize and not tensor.is_neg()
    return tensor if lies_well and tensor.dtype is dtype else readable(tensor, dtype)


def lies_as_loops_want(tensor: Tensor) -> bool:
    return tensor.is_contiguous() and tensor.data_ptr() % tensor.itemsize == 0 and not tensor.is_neg()


def has_whole_rows(tensor: Tensor) -> bool:
    """Whether the numbers [heads, dim] or [dim] of each node lie side by side, as in columns of a wider table."""
    if tensor.dim() == 2:
        return tensor.stride(1) == 1 or tensor.size(1) <= 1
    _, heads, dim = tensor.shape
    _, step, one = tensor.stride()
    return (one == 1 or dim <= 1) and (step == dim or heads <= 1)


class Form(NamedTuple):
    """What loops take a tensor to be: numbers side by side."""

    shape: torch.Size
    dtype: torch.dtype


def addresses_of(tensors: Sequence[Tensor | None], forms: Sequence[Form | None]) -> list[int] | None:
    """Where tensors lie that loops may read as they are, 0 for one that is not there; None if one of them is anything else than
    a plain tensor of its form.

    In one function: each call of a small graph passes here twenty times.
    """
    found = []
    for tensor, form in zip(tensors, forms):
        if tensor is None or form is None:
            if tensor is not form:
                return None
            found.append(0)
            continue
        shape, dtype = form
        is_alike = type(tensor) in PLAIN and tensor.dtype is dtype and tensor.shape == shape
        if not is_alike or tensor.layout is not torch.strided or not tensor.is_cpu or not tensor.is_contiguous():
            return None
        address = tensor.data_ptr()
        if not address or address % dtype.itemsize or tensor.is_neg():
            return None
        found.append(address)
    return found


class Struct(ctypes.Structure):
    """A struct of C: sizes (int64), numbers (double) and addresses (None for an array that is not there).

    Subclasses list `_fields_` in the order of the struct in C, which exports the same list (`fields.c`); a test compares them.

    Attributes:
        ROWS: Arrays [num_nodes, heads, dim] or [num_nodes, dim] whose rows may be columns of a wider table, each with the field
            that says how far it is from one row to the next.
        LASTING: Arrays that belong to the graph, and stay as long as it does.
        SEEDS: Fields that are the seed of dropout.
    """

    ROWS: ClassVar[Mapping[str, str]] = {}
    LASTING: ClassVar[Sequence[str]] = ()
    SEEDS: ClassVar[Sequence[str]] = ()

    def arrays(self, real: torch.dtype) -> Mapping[str, tuple[torch.dtype, int]]:
        """dtype and count of numbers of every array, from the sizes that are set."""
        raise NotImplementedError


Kind = TypeVar("Kind", bound=Struct)


def hand_over(struct: Kind, real: torch.dtype, **tensors: Tensor | None) -> Kind:
    """Puts the addresses of tensors that loops write, or that `readable` made, into the struct, whose sizes are set.

    The struct keeps the tensors alive.

    Raises:
        ValueError: for a tensor that loops would read or write wrongly.
    """
    return put_addresses(struct, real, tensors, may_copy=False)


def let_read(struct: Kind, real: torch.dtype, **tensors: Tensor | None) -> Kind:
    """The same for tensors that loops only read, which pass through `readable` where they must."""
    return put_addresses(struct, real, tensors, may_copy=True)


def put_addresses(struct: Kind, real: torch.dtype, tensors: dict[str, Tensor | None], may_copy: bool) -> Kind:
    expected, rows = struct.arrays(real), struct.ROWS
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        dtype, count = expected[name]
        address = tensor.data_ptr()
        # As `lies_as_loops_want`, in line: each call of a small graph passes here twenty times.
        is_laid_out = tensor.is_contiguous() or (name in rows and has_whole_rows(tensor))
        lies_well = is_laid_out and not address % dtype.itemsize and not tensor.is_neg()
        if may_copy and not (lies_well and tensor.dtype is dtype):
            tensor = tensors[name] = readable(tensor, dtype)
            address, lies_well = tensor.data_ptr(), True
        has_memory = address or not count  # FakeTensor and other wrappers have none
        if tensor.dtype is not dtype or tensor.numel() != count or not tensor.is_cpu or not lies_well or not has_memory:
            raise ValueError(
                f"a loop takes `{name}` as {count} numbers of {dtype} side by side on the CPU (got {tensor.numel()} of"
                f" {tensor.dtype} with strides {tensor.stride()} on {tensor.device}, address {address}); pass"
                " inputs through `readable`"
            )
        setattr(struct, name, address)
        if name in rows:
            setattr(struct, rows[name], tensor.stride(0))
    struct.__dict__.setdefault("kept", []).append(tensors)
    return struct
