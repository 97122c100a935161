"""Sizes of attention layers, and of the nodes they are given, checked."""

import numpy as np
from torch import Tensor

WHAT_X_IS = "'x' must be a tensor or a pair (x_source, x_target) of tensors"


def check_sizes(out_channels: int, heads: int, kv_heads: int, edge_dim: int | None) -> None:
    sizes = {"out_channels": out_channels, "heads": heads, "kv_heads": kv_heads, "edge_dim": edge_dim}
    for name, size in sizes.items():
        if size is not None and (isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1):
            raise ValueError(f"'{name}' must be a positive int (got {size!r})")
    if heads % kv_heads:
        raise ValueError(f"'heads' must be a multiple of 'kv_heads' (got {heads} and {kv_heads})")


def both_sizes(in_channels: int | tuple[int, int]) -> tuple[int, int]:
    """(of sources, of targets)"""
    return (in_channels[0], in_channels[1]) if isinstance(in_channels, (tuple, list)) else (in_channels, in_channels)


def both_features(x: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """(of sources, of targets); TypeError unless `x` is one tensor or two."""
    if isinstance(x, Tensor):
        return x, x
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise TypeError(f"{WHAT_X_IS} (got {type(x).__name__})")
    return x[0], x[1]


def check_features(source: Tensor, target: Tensor, in_channels: int | tuple[int, int]) -> None:
    for x, size in zip((source, target), both_sizes(in_channels), strict=True):
        if not isinstance(x, Tensor):
            raise TypeError(f"{WHAT_X_IS} (got {type(x).__name__})")
        if x.dim() != 2 or (size != -1 and x.size(1) != size):
            how = "; of a padded batch graphattn.from_padded makes both" if x.dim() == 3 else ""
            raise ValueError(
                f"'x' must be [num_nodes, {size}] (got {list(x.shape)}); one graph at a time or a batch laid end to end{how}"
            )
