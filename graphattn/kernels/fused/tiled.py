"""What kernels that cut a graph into tiles share: torch's fused attention on CPU over some tiles at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.kernels.fused.flash import FLASH_DTYPES, flash, flash_backward, pad_channels
from graphattn.kernels.kernel import Inputs, Kernel, Partial, Plan, accumulation_dtype, delta_of, spread_to_heads

# Tensors of tiles that each thread has at a time: more would be extra memory, less would be many small calls.
BYTES_PER_CALL = 2**22


def tiles_per_call(plan: Plan, inputs: Inputs, nodes: int, area: int, is_backward: bool) -> tuple[int, int]:
    """How many tiles are computed at a time that share their mask, and how many that have masks of their own.

    Args:
        nodes: Of the tensors of one tile, taken together.
        area: Pairs of a query and a key of one tile.
    """
    heads, dim = inputs.query.size(1), max(inputs.query.size(2), inputs.value.size(2))
    shared = nodes * heads * dim
    if is_backward and wanted_bias(plan, inputs) is not None:
        shared += 3 * area * heads  # weights, gradients of scores, and what is made of them
    own = shared + area * (1 if inputs.bias_by_offset is None else heads)
    at_once = torch.get_num_threads() * BYTES_PER_CALL // inputs.query.element_size()
    return max(1, at_once // shared), max(1, at_once // own)


class Mask(NamedTuple):
    """Which keys of its tile a query sees, and the bias of their scores."""

    added: Tensor  # [tiles or 1, heads or 1, block, width], to the scores: the bias or 0, -inf for keys that it does not see
    is_empty: Tensor | None  # bool [tiles or 1, heads or 1, block], queries that see none; or None if there are none
    places: Tensor | None = None  # [tiles or 1, block, width], of the bias in its table by offset; any for hidden keys


def mask_of(allowed: Tensor, inputs: Inputs, places: Tensor | None = None) -> Mask:
    """Of bool [tiles or 1, 1, block, width]."""
    if places is None or inputs.bias_by_offset is None:
        added = torch.zeros(allowed.shape, dtype=inputs.query.dtype).masked_fill_(~allowed, -torch.inf)
        is_empty = ~allowed.any(-1)
    else:
        table = inputs.bias_by_offset.T.to(torch.promote_types(inputs.query.dtype, torch.float32))
        added = table[:, places].transpose(0, 1).masked_fill(~allowed, -torch.inf)
        is_empty = added.amax(-1) == -torch.inf
    return Mask(added, is_empty if is_empty.any() else None, places)


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
        self.mask = mask

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

    def add_of_bias(self, total: Tensor, grad_scores: Tensor) -> None:
        """Adds the gradients of the scores, [tiles, heads, block, width], to that of the bias, [num_offsets, heads]."""
        assert self.mask.places is not None  # there is a bias by offset
        add_by_offset(total, grad_scores, self.mask.places)


class Tiled(Kernel):
    """Attention tile by tile, forward and backward; a subclass says what the tiles are."""

    devices, dtypes = ("cpu",), FLASH_DTYPES
    takes_bias_by_offset = takes_grouped_heads = takes_other_value_dim = True
    least_channels = 1

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

    def spreads_nan(self, plan):
        return True

    def forward(self, plan, inputs):
        query, value_dim = inputs.query, inputs.value.size(2)
        out = query.new_empty(*query.shape[:2], value_dim)
        lse = query.new_empty(query.shape[:2], dtype=torch.promote_types(query.dtype, torch.float32))
        if not self.has_all_queries(plan.graph):
            out.zero_(), lse.fill_(-torch.inf)
        for call in self.calls(plan, inputs, is_backward=False):
            part, part_lse = flash(call.query, call.key, call.value, plan.scale, call.mask.added)
            if call.mask.is_empty is not None:
                part = part.masked_fill(call.mask.is_empty[..., None], 0)
                part_lse = part_lse.masked_fill(call.mask.is_empty, -torch.inf)
            call.put(out, part[..., :value_dim])
            call.put(lse, part_lse)
        return Partial(out, lse)

    def backward(self, plan, inputs, merged, grad):
        query, key, value = inputs.query, inputs.key, inputs.value
        sums = [x.new_zeros(x.shape, dtype=accumulation_dtype(x.dtype)) for x in (key, value)]
        make = query.new_empty if self.has_all_queries(plan.graph) else query.new_zeros
        table = wanted_bias(plan, inputs)
        of_bias = None if table is None else torch.zeros_like(table, dtype=sums[0].dtype)
        grads = Inputs(make(query.shape), *sums, bias_by_offset=of_bias)
        delta = None if of_bias is None else delta_of(merged, grad)
        lse = merged.lse.masked_fill(merged.lse == -torch.inf, 0)  # exp(-inf - 0) = 0 where exp(-inf + inf) is NaN
        for call in self.calls(plan, inputs, is_backward=True):
            # The operator takes delta from out and grad_out, which are those of the whole graph, as the contract wants.
            grad_out, out = (
                pad_channels(call.queries(x).to(query.dtype), call.query.size(-1)) for x in (grad.out, merged.out)
            )
            tensors = call.query, call.key, call.value
            if of_bias is None:
                found = flash_backward(grad_out, *tensors, out, call.queries(lse), plan.scale, call.mask.added)
            else:
                statistics = call.queries(lse), call.queries(delta)
                *found, of_scores = backward_by_products(grad_out, *tensors, *statistics, plan.scale, call.mask.added)
                call.add_of_bias(of_bias, of_scores)
            call.put(grads.query, found[0][..., : query.size(2)])
            for total, part in ((grads.key, found[1]), (grads.value, found[2])):
                call.add(total, part[..., : total.size(2)].to(total.dtype))
        return grads


def wanted_bias(plan: Plan, inputs: Inputs) -> Tensor | None:
    """The bias by offset, if the backward pass gives its gradient."""
    return inputs.bias_by_offset if plan.needed is None or plan.needed.bias_by_offset else None


def backward_by_products(grad_out, query, key, value, lse, delta, scale: float, mask: Tensor) -> tuple[Tensor, ...]:
    """What `flash_backward` gives, and the gradient of the scores [tiles, heads, block, width], which it keeps to itself.

    Tensors are [tiles, heads, block or width, dim], `lse` and `delta` [tiles, heads, block].
    """
    dtype, count = accumulation_dtype(query.dtype), query.shape[:2]
    # Copied once, from views that overlap, for all their products.
    grad_out, query, key, value = (x.to(dtype).reshape(-1, *x.shape[2:]) for x in (grad_out, query, key, value))
    scores = torch.bmm(query, key.mT).unflatten(0, count)
    weights = torch.add(mask, scores, alpha=scale, out=scores).sub_(lse[..., None]).exp_()
    grad_scores = torch.bmm(grad_out, value.mT).unflatten(0, count).sub_(delta[..., None]).mul_(weights)
    weights, of_product = weights.flatten(0, 1), grad_scores.flatten(0, 1)
    grad_query = torch.bmm(of_product, key).mul_(scale)
    grad_key = torch.bmm(of_product.mT, query).mul_(scale)
    grad_value = torch.bmm(weights.mT, grad_out)
    return *(x.unflatten(0, count) for x in (grad_query, grad_key, grad_value)), grad_scores


def add_by_offset(total: Tensor, grad_scores: Tensor, places: Tensor) -> None:
    """Adds [tiles, heads, block, width] at their `places` [tiles or 1, block, width] to [num_offsets, heads]."""
    if places.size(0) == 1:
        grad_scores = grad_scores.sum(0, keepdim=True)
    grad_scores = grad_scores.transpose(0, 1).flatten(1)
    total.T.scatter_add_(1, places.flatten().expand_as(grad_scores), grad_scores)
