"""Attention of rows that see own keys alone, while the keys of the others are under way."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from graphattn.distributed.exchange import Halo, exchange, indices
from graphattn.distributed.heads import Exchange
from graphattn.distributed.split import Piece, Split
from graphattn.formulas.offsets import OffsetRule, offsets_of
from graphattn.graphs import LocalGraph
from graphattn.running.arguments import Options, bias_of, normal_form

Run = Callable[[Tensor, Tensor, Tensor, Any, Options], Tensor | tuple[Tensor, ...]]


class UnderWay:
    """One exchange, and the way back of its gradients; the tensors live here until they have left."""

    def __init__(self, halo: Halo):
        self.halo = halo
        self.there: Sequence[Any] = ()
        self.back: Sequence[Any] = ()

    def start(self, rows: Tensor) -> Tensor:
        received, work = exchange(rows, self.halo.send_counts, self.halo.recv_counts, self.halo.group)
        self.there = rows, work
        return received

    def wait(self) -> None:
        self.there[1].wait()
        self.there = ()

    def start_back(self, grad: Tensor) -> None:
        grad = grad.contiguous()
        self.back = grad, *exchange(grad, self.halo.recv_counts, self.halo.send_counts, self.halo.group)

    def wait_back(self) -> Tensor:
        _, returned, work = self.back
        work.wait()
        self.back = ()
        return returned


class Send(torch.autograd.Function):
    """Starts the exchange; what it gives is not there before `Receive`. On the way back it adds up what `Receive` started."""

    @staticmethod
    def forward(ctx, under_way, *tensors):
        ctx.under_way, ctx.shapes = under_way, [x.shape for x in tensors]
        send = under_way.halo.send
        return under_way.start(torch.cat([x[send].flatten(1) for x in tensors], 1))

    @staticmethod
    def backward(ctx, grad):
        halo = ctx.under_way.halo
        if torch.is_grad_enabled():  # to be differentiated again
            returned = Exchange.apply(grad, halo.recv_counts, halo.send_counts, halo.group)
        else:
            returned = ctx.under_way.wait_back()
        send = indices(halo.send).to(grad.device)
        totals = []
        for shape, rows in zip(ctx.shapes, returned.split([shape[1:].numel() for shape in ctx.shapes], 1)):
            totals.append(rows.new_zeros(shape).index_add(0, send, rows.unflatten(1, shape[1:])))
        return None, *totals


class Receive(torch.autograd.Function):
    """Waits for what `Send` started. Its gradient leaves at once, so that more gradients are computed while it is under way."""

    @staticmethod
    def forward(ctx, under_way, received):
        ctx.under_way = under_way
        under_way.wait()
        return received.view_as(received)

    @staticmethod
    def backward(ctx, grad):
        if not torch.is_grad_enabled():
            ctx.under_way.start_back(grad)
        return None, grad


class AndReceived(torch.autograd.Function):
    """Results as they are. Where no own row sees what was received, its gradients of 0 leave all the same: others wait for them."""

    @staticmethod
    def forward(ctx, received, *results):
        ctx.received = received.shape
        ctx.set_materialize_grads(False)
        ctx.mark_dirty(*results)  # no views: callers may write into them
        return results

    @staticmethod
    def backward(ctx, *grads):
        grad = next((grad for grad in grads if grad is not None), None)
        return None if grad is None else grad.new_zeros(ctx.received), *grads


def attend_split(
    split: Split, whole: LocalGraph, halo: Halo, tensors: tuple[Tensor, Tensor, Tensor], options: Options, run: Run
) -> tuple[Tensor, ...]:
    """What `run(query, keys and values that own rows see, whole, options)` gives, with the inner rows computed in between.

    Every process comes through the same functions, whatever it has of inner and outer rows, so that backward passes meet too.
    """
    options = with_bias_of(whole, options)
    under_way = UnderWay(halo)
    received = Send.apply(under_way, *tensors[1:])
    nothing = received[:0]
    results = [run_piece(split.inner, tensors, nothing, options, run)]
    received = Receive.apply(under_way, received)
    results += [run_piece(piece, tensors, received, options, run) for piece in split.outer]
    return AndReceived.apply(received, *(joined(split, found) for found in zip(*results)))


def with_bias_of(whole: LocalGraph, options: Options) -> Options:
    """A rule is asked for all own edges at once, unless it is a number for each offset."""
    rule = options.bias
    is_of_offsets = isinstance(rule, OffsetRule) and offsets_of(normal_form(whole)) is not None
    return options if is_of_offsets else options._replace(bias=bias_of(rule, whole))


def run_piece(
    piece: Piece, tensors: tuple[Tensor, Tensor, Tensor], received: Tensor, options: Options, run: Run
) -> tuple[Tensor, ...]:
    query, key, value = tensors
    width = key.shape[1:].numel()
    keys = piece.keys(key, received[:, :width].unflatten(1, key.shape[1:]))
    values = piece.keys(value, received[:, width:].unflatten(1, value.shape[1:]))
    rows = slice(None) if piece.rows is None else piece.rows
    own = options._replace(
        bias=options.bias[piece.edges] if isinstance(options.bias, Tensor) else options.bias,
        edge_features=None if options.edge_features is None else options.edge_features[piece.edges],
        edge_query=None if options.edge_query is None else options.edge_query[rows],
    )
    results = run(query[rows], keys, values, piece.graph, own)
    return results if isinstance(results, tuple) else (results,)


def joined(split: Split, found: Sequence[Tensor]) -> Tensor:
    """All own rows of what the inner piece and the outer ones gave."""
    if split.inner.rows is not None:  # ranges before and behind the inner rows
        inner, before, behind = found
        return torch.cat([before, inner, behind])
    inner, outer = found
    rows = split.outer[0].rows
    assert isinstance(rows, Tensor)
    return inner.index_copy(0, rows.to(inner.device), outer)
