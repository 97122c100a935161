"""What kernels that cut a graph into tiles share: torch's fused attention on CPU over some tiles at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.kernels.flash import flash, flash_backward, is_finite, pad_channels, why_not_flash
from graphattn.kernels.kernel import Inputs, Kernel, Partial, Plan, accumulation_dtype, spread_to_heads

# Tensors of tiles that each thread has at a time: more would be extra memory, less would be many small calls.
BYTES_PER_CALL = 2**22


def tiles_per_call(nodes_of_tile: int, area_of_mask: int, inputs: Inputs) -> int:
    """How many tiles are computed at a time, whose tensors have so many nodes each and whose masks so many pairs."""
    channels = inputs.query.size(1) * max(inputs.query.size(2), inputs.value.size(2))
    bytes_of_tile = (nodes_of_tile * channels + area_of_mask) * inputs.query.element_size()
    return max(1, torch.get_num_threads() * BYTES_PER_CALL // bytes_of_tile)


class Mask(NamedTuple):
    """Which keys of its tile a query sees."""

    added: Tensor  # [tiles or 1, 1, block, width], to the scores: 0, or -inf for keys that it does not see
    is_empty: Tensor | None  # bool [tiles or 1, 1, block], queries that see none; None if there are no such


def mask_of(allowed: Tensor, dtype: torch.dtype) -> Mask:
    """Of bool [tiles or 1, 1, block, width]."""
    is_empty = ~allowed.any(-1)
    added = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, -torch.inf)
    return Mask(added, is_empty if is_empty.any() else None)


class Call(ABC):
    """Some tiles: their tensors [tiles, heads, block or width, dim], and the way back to the nodes.

    Args:
        inputs: Tensors of all nodes.
        mask: Of these tiles.
    """

    def __init__(self, inputs: Inputs, mask: Mask):
        heads, dim = inputs.query.size(1), max(inputs.query.size(2), inputs.value.size(2))
        self.query = pad_channels(self.queries(inputs.query), dim)
        self.key, self.value = (
            self.split(pad_channels(spread_to_heads(self.keys(x), heads), dim)) for x in (inputs.key, inputs.value)
        )
        self.mask, self.is_empty = mask

    @abstractmethod
    def queries(self, rows: Tensor) -> Tensor:
        """[num_queries, heads, ...] -> [tiles, heads, block, ...]."""

    @abstractmethod
    def put(self, rows: Tensor, values: Tensor) -> None:
        """Writes what each query got, [tiles, heads, block, ...], to its row."""

    @abstractmethod
    def keys(self, rows: Tensor) -> Tensor:
        """[num_keys, kv_heads, dim] -> [places, kv_heads, dim], all keys of these tiles, for `split` to divide."""

    @abstractmethod
    def split(self, rows: Tensor) -> Tensor:
        """[places, heads, dim] -> [tiles, heads, width, dim]."""

    @abstractmethod
    def add(self, rows: Tensor, values: Tensor) -> None:
        """Adds what each key got from each tile, [tiles, heads, width, dim], to its row [kv_heads, dim]."""


class Tiled(Kernel):
    """Attention tile by tile, forward and backward; a subclass says what the tiles are."""

    graph_kind: ClassVar[type[Graph]]

    @abstractmethod
    def area_of_tiles(self, graph: Graph) -> int:
        """Scores per head that the tiles of a graph compute, roughly and without laying them out."""

    def num_calls(self, graph: Graph) -> int:
        """Calls that a small graph needs, each of which takes its time to prepare."""
        return 1

    @abstractmethod
    def calls(self, plan: Plan, inputs: Inputs, is_backward: bool) -> Iterator[Call]:
        """Every edge of the graph in one tile, every query with edges in one tile."""

    @abstractmethod
    def has_all_queries(self, graph: Graph) -> bool:
        """Whether every query is in a tile, so that results need not be filled with zeros first."""

    def why_not(self, plan, inputs):
        if not isinstance(plan.graph, self.graph_kind):
            return f"'{self.name}' runs a {self.graph_kind.__name__} (got {type(plan.graph).__name__})"
        reason = why_not_flash(self.name, plan, inputs)
        if reason is not None:
            return reason
        if not (is_finite(inputs.key) and is_finite(inputs.value)):
            return f"'{self.name}' would spread NaN and infinity of hidden keys over the queries near them"
        return None

    def forward(self, plan, inputs):
        query, value_dim = inputs.query, inputs.value.size(2)
        out = query.new_empty(*query.shape[:2], value_dim)
        lse = query.new_empty(query.shape[:2], dtype=torch.promote_types(query.dtype, torch.float32))
        if not self.has_all_queries(plan.graph):
            out.zero_(), lse.fill_(-torch.inf)
        for call in self.calls(plan, inputs, is_backward=False):
            part, part_lse = flash(call.query, call.key, call.value, plan.scale, call.mask)
            if call.is_empty is not None:
                part = part.masked_fill(call.is_empty[..., None], 0)
                part_lse = part_lse.masked_fill(call.is_empty, -torch.inf)
            call.put(out, part[..., :value_dim])
            call.put(lse, part_lse)
        return Partial(out, lse)

    def backward(self, plan, inputs, merged, grad, delta):
        query, key, value = inputs.query, inputs.key, inputs.value
        sums = (x.new_zeros(x.shape, dtype=accumulation_dtype(x.dtype)) for x in (key, value))
        make = query.new_empty if self.has_all_queries(plan.graph) else query.new_zeros
        grads = Inputs(make(query.shape), *sums)
        lse = merged.lse.masked_fill(merged.lse == -torch.inf, 0)  # exp(-inf - 0) = 0 where exp(-inf + inf) is NaN
        for call in self.calls(plan, inputs, is_backward=True):
            # The operator takes delta from out and grad_out, which are those of the whole graph, as the contract wants.
            grad_out, out = (
                pad_channels(call.queries(x).to(query.dtype), call.query.size(-1)) for x in (grad.out, merged.out)
            )
            found = flash_backward(
                grad_out, call.query, call.key, call.value, out, call.queries(lse), plan.scale, call.mask
            )
            call.put(grads.query, found[0][..., : query.size(2)])
            for total, part in ((grads.key, found[1]), (grads.value, found[2])):
                call.add(total, part[..., : total.size(2)].to(total.dtype))
        return grads
