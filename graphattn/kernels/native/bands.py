"""What the loops over bands (bands.h) are given."""

import ctypes
from functools import cache
from typing import NamedTuple

import torch

from graphattn.kernels.native.border import Struct
from graphattn.kernels.native.library import level, library

SIZES = "heads", "kv_heads", "dim", "value_dim", "num_queries", "num_keys"
ARRAYS = (
    "runs", "added", "query", "key", "value", "out", "lse", "merged_lse", "delta", "grad_out",
    "grad_query", "grad_key", "grad_value", "grad_added",
)  # fmt: skip


class Bands(Struct):
    """Bands of bands.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in (*SIZES, "num_runs", "step", "window", "heads_added", "slots", "not_finite")),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ARRAYS),
    )

    def arrays(self, real):
        added = max(self.heads_added, 1) * (self.window + 1 + 2 * lanes().margin)
        rows, of_lse = self.num_queries * self.heads, (real, self.num_queries * self.heads)
        query, value = (real, rows * self.dim), (real, self.num_keys * self.kv_heads * self.value_dim)
        key, out = (real, self.num_keys * self.kv_heads * self.dim), (real, rows * self.value_dim)
        return {
            "runs": (torch.int64, 5 * self.num_runs),
            "added": (real, added),
            **dict(query=query, key=key, value=value, out=out, lse=of_lse, merged_lse=of_lse, delta=of_lse, grad_out=out),
            **dict(grad_query=query, grad_key=key, grad_value=value, grad_added=(real, self.slots * added)),
        }


class Lanes(NamedTuple):
    """Sizes of the loops for this processor."""

    longest: int  # lanes of a run, at most
    margin: int  # numbers of `added` before and after those of the steps


@cache
def lanes() -> Lanes:
    return Lanes(*(ctypes.c_int64 * 2).in_dll(library(), f"band_sizes_f32{level()}"))
