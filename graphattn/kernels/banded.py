"""Bands (windows along the order of the nodes) as tiles over torch's fused attention on CPU, never a dense mask."""

from collections.abc import Iterator

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph
from graphattn.kernels.flash import flash, flash_backward, is_finite, pad_channels, why_not_flash
from graphattn.kernels.kernel import Inputs, Kernel, Partial, accumulation_dtype, spread_to_heads, sum_to_groups
from graphattn.kernels.tiles import Run, Tiles, add_up, tiles_of

# Queries, keys and values that each thread has at a time: more would be extra memory, less would be many small calls.
BYTES_PER_RUN = 2**22


class Banded(Kernel):
    """Blocks of queries against all keys of their windows, forward and backward; neighbouring blocks in one call."""

    name = "banded"

    def why_not(self, plan, inputs):
        if not isinstance(plan.graph, BandedGraph):
            return f"'banded' runs bands (got {type(plan.graph).__name__})"
        reason = why_not_flash("banded", plan, inputs)
        if reason is not None:
            return reason
        if not (is_finite(inputs.key) and is_finite(inputs.value)):
            return "'banded' would spread NaN and infinity of hidden keys over the queries near them"
        return None

    def forward(self, plan, inputs):
        query, value_dim = inputs.query, inputs.value.size(2)
        out = query.new_zeros(*query.shape[:2], value_dim)
        lse = query.new_full(query.shape[:2], -torch.inf, dtype=torch.promote_types(query.dtype, torch.float32))
        for call in calls(tiles_of(plan.graph), inputs):
            part, part_lse = flash(call.query, call.key, call.value, plan.scale, call.mask)
            if call.is_empty is not None:
                part = part.masked_fill(call.is_empty[..., None], 0)
                part_lse = part_lse.masked_fill(call.is_empty, -torch.inf)
            call.put(out, part[..., :value_dim])
            call.put(lse, part_lse)
        return Partial(out, lse)

    def backward(self, plan, inputs, merged, grad, delta):
        query, key, value = inputs.query, inputs.key, inputs.value
        sums = [torch.zeros_like(x, dtype=accumulation_dtype(x.dtype)) for x in (key, value)]
        grads = Inputs(torch.zeros_like(query), *sums)
        lse = merged.lse.masked_fill(merged.lse == -torch.inf, 0)  # exp(-inf - 0) = 0 where exp(-inf + inf) is NaN
        for call in calls(tiles_of(plan.graph), inputs):
            # The operator takes delta from out and grad_out, which are those of the whole graph, as the contract wants.
            grad_out, out = (
                pad_channels(call.take(x.to(query.dtype)), call.query.size(-1)) for x in (grad.out, merged.out)
            )
            found = flash_backward(
                grad_out, call.query, call.key, call.value, out, call.take(lse), plan.scale, call.mask
            )
            call.put(grads.query, found[0][..., : query.size(2)])
            for total, part in ((grads.key, found[1]), (grads.value, found[2])):
                call.add(total, part[..., : total.size(2)])
        return grads


class Call:
    """Some neighbouring tiles: their tensors [count, heads, block or width, dim], and the way back to the nodes."""

    def __init__(self, tiles: Tiles, run: Run, inputs: Inputs):
        self.tiles, self.run = tiles, run
        heads, dim = inputs.query.size(1), max(inputs.query.size(2), inputs.value.size(2))
        self.query = pad_channels(self.take(inputs.query), dim)
        keys = (tiles.keys.take(x, run.first_key, run.last_key) for x in (inputs.key, inputs.value))
        keys = (pad_channels(spread_to_heads(x, heads), dim) for x in keys)
        self.key, self.value = (tiles.split_keys(x, run) for x in keys)
        allowed, is_shared = tiles.mask(run)
        self.mask = torch.zeros(allowed.shape, dtype=self.query.dtype).masked_fill_(~allowed, -torch.inf)
        self.is_empty = None if is_shared else ~allowed.any(-1)  # [count, 1, block]: queries that see no key

    def take(self, rows: Tensor) -> Tensor:
        """[num_queries, heads, ...] -> [count, heads, block, ...]."""
        rows = self.tiles.queries.take(rows, self.run.first_query, self.run.last_query)
        return rows.unflatten(0, (self.run.count, -1)).transpose(1, 2)

    def put(self, rows: Tensor, values: Tensor) -> None:
        """Writes what each query got, [count, heads, block, ...], to its row."""
        values = values.transpose(1, 2).flatten(0, 1)
        self.tiles.queries.put(rows, self.run.first_query, self.run.last_query, values)

    def add(self, rows: Tensor, values: Tensor) -> None:
        """Adds what each key got from each tile, [count, heads, width, ...], to its row."""
        values = sum_to_groups(add_up(values.to(rows.dtype), self.tiles.block), rows.size(1))
        self.tiles.keys.add(rows, self.run.first_key, self.run.last_key, values)


def calls(tiles: Tiles, inputs: Inputs) -> Iterator[Call]:
    """All tiles that hold queries, some at a time."""
    # The operator wants channels side by side.
    inputs = Inputs(*(x if x.stride(-1) == 1 else x.contiguous() for x in inputs[:3]))
    channels = inputs.query.size(1) * max(inputs.query.size(2), inputs.value.size(2))
    bytes_of_tile = 2 * (tiles.block + tiles.width) * channels * inputs.query.element_size()
    for run in tiles.runs(max(1, torch.get_num_threads() * BYTES_PER_RUN // bytes_of_tile)):
        yield Call(tiles, run, inputs)
