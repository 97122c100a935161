"""Numbers as users have them, as tensors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def to_tensor(name: str, values: Any) -> Tensor:
    """A tensor as it is, everything else as a new one: arrays of any strides, byte order or library, lists of numbers.

    `name` is the argument that an error names: TypeError where there are other things than numbers, ValueError where
    rows are of different lengths or entries are masked.

    >>> to_tensor('x', np.arange(4, dtype='>i2')[::-2])
    tensor([3, 1], dtype=torch.int16)
    """
    if isinstance(values, Tensor):
        return values if values.layout == torch.strided else values.to_dense()
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name!r} has {np.ma.count_masked(values)} masked entries of {values.size}; fill them first (.filled(0))"
        )
    if isinstance(values, list | tuple) and any(isinstance(entry, Tensor) for entry in values):
        values = [np.asarray(entry.detach().cpu()) if isinstance(entry, Tensor) else entry for entry in values]
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name!r} needs rows of one length (got {error})") from error
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name!r} needs numbers (got {array.dtype} from {type(values).__name__})")
    if array.dtype.kind in "fc" and array.dtype.itemsize > 8 * (1 + (array.dtype.kind == "c")):  # long double
        array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    # torch takes neither negative strides nor foreign bytes, and warns of memory that may not be written.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
