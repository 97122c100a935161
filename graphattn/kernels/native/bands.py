"""What the loops over bands (bands.h) are given."""

import ctypes
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import torch

from graphattn.kernels.native.border import HALVES, Struct
from graphattn.kernels.native.library import level, library

SIZES = "heads", "kv_heads", "dim", "value_dim", "num_queries", "num_keys"
STORAGES = "storage", "result_storage", "grad_storage", "grad_query_storage"
ARRAYS = (
    "runs", "added", "query", "key", "value", "out", "lse", "merged_lse", "delta", "grad_out",
    "grad_query", "grad_key", "grad_value", "grad_added",
)  # fmt: skip
ROW_FIELDS = MappingProxyType({name: f"{name}_row" for name in ("query", "key", "value")})
DTYPES = {number: dtype for dtype, number in HALVES.items()}


class Bands(Struct):
    """Bands of bands.h."""

    ROWS = ROW_FIELDS
    _fields_ = (
        *((name, ctypes.c_int64) for name in (*SIZES, "num_runs", "step", "window", "heads_added", "slots")),
        *((name, ctypes.c_int64) for name in (*STORAGES, *ROW_FIELDS.values(), "not_finite")),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ARRAYS),
    )

    def arrays(self, real):
        added = max(self.heads_added, 1) * (self.window + 1 + 2 * lanes().margin)
        stored, of_results, of_gradients, of_grad_query = (
            {0: real, **DTYPES}[getattr(self, name)] for name in STORAGES
        )
        rows = self.num_queries * self.heads
        query, out = rows * self.dim, rows * self.value_dim
        key, value = (self.num_keys * self.kv_heads * size for size in (self.dim, self.value_dim))
        return {
            "runs": (torch.int64, 5 * self.num_runs),
            "added": (real, added),
            **dict(query=(stored, query), key=(stored, key), value=(stored, value)),
            **dict(out=(of_results, out), **dict.fromkeys(("lse", "merged_lse", "delta"), (real, rows))),
            "grad_out": (of_results, out),
            **dict(grad_query=(of_grad_query, query), grad_key=(of_gradients, key), grad_value=(of_gradients, value)),
            "grad_added": (real, self.slots * added),
        }


class Lanes(NamedTuple):
    """Sizes of the loops for this processor."""

    longest: int  # lanes of a run, at most
    margin: int  # numbers of `added` before and after those of the steps


@cache
def lanes() -> Lanes:
    return Lanes(*(ctypes.c_int64 * 2).in_dll(library(), f"band_sizes_f32{level()}"))
