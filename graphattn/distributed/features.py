"""Features of nodes that stay on disk: rows are read when they are asked for."""

from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor


def map_file(path: str | PathLike) -> np.ndarray:
    """The array of a file, which stays on disk; ValueError where it holds none that can be mapped."""
    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"'{path}' must be a file of NumPy, as numpy.save writes them (got: {error})") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(
            f"'{path}' must be a file of one array, as numpy.save writes them (got an archive of several, .npz or .pt)"
        )
    return array


class MappedRows:
    """The rows of a file of NumPy (`numpy.save`), of which only those asked for are read.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "x.npy")
    >>> MappedRows.save(path, torch.arange(6.).view(3, 2))
    >>> rows = MappedRows(path)
    >>> rows.shape, rows[torch.tensor([2, 0])].tolist(), rows[1:].tolist()
    (torch.Size([3, 2]), [[4.0, 5.0], [0.0, 1.0]], [[2.0, 3.0], [4.0, 5.0]])

    Args:
        path: A file in the format .npy, one row for each node; all dtypes that NumPy shares with torch.
    """

    def __init__(self, path: str | PathLike):
        self.path, self.array = path, map_file(path)
        if self.array.ndim == 0:
            raise ValueError(f"{path!r} must hold one row for each node (got a single number)")
        self.native = self.array.dtype.newbyteorder("=")  # torch has no other
        try:
            torch.from_numpy(np.empty(0, self.native))
        except TypeError:
            raise ValueError(f"'{path}' must hold numbers that torch has too (got {self.array.dtype})") from None

    @staticmethod
    def save(path: str | PathLike, rows: Tensor) -> None:
        """Writes the file. One that does not fit into memory is made by `numpy.lib.format.open_memmap` and filled in pieces.

        Raises:
            TypeError: for bfloat16, which NumPy does not have.
        """
        if rows.dtype is torch.bfloat16:
            raise TypeError("NumPy has no bfloat16 (got rows of it); save rows.half() or rows.float()")
        np.save(path, rows.detach().cpu().numpy())

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self.array.shape)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> Tensor:
        """A tensor of its own with some rows: a slice, or indices [num_rows]; rising ones are read fastest."""
        index = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        return torch.from_numpy(np.array(self.array[index], self.native))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # workers of a DataLoader map the file themselves

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"MappedRows({str(self.path)!r}, shape={list(self.shape)})"
