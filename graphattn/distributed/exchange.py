"""Rows of tensors on their way between processes, and their gradients on the way back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from graphattn.graphs.rows import Places


class Halo(NamedTuple):
    """Which keys the rows of this process see, and whom they come from and go to.

    The rows fetched are in the order of the keys: those of lower ranks, own ones, those of higher ranks.
    """

    group: dist.ProcessGroup
    send: Places  # own keys that others see, for one rank after the other
    send_counts: tuple[int, ...]  # 0 for this rank itself
    recv_counts: tuple[int, ...]
    own: Places  # own keys that own rows see
    before: int  # how many of the rows received come from lower ranks

    @property
    def num_received(self) -> int:
        return sum(self.recv_counts)

    @property
    def is_silent(self) -> bool:
        """Whether no process sends anything: all know it, so that none calls the others."""
        return not self.send_counts

    def to(self, device: torch.device) -> "Halo":
        places = [x.to(device) if isinstance(x, Tensor) else x for x in (self.send, self.own)]
        return self._replace(send=places[0], own=places[1])


class Pending:
    """Rows that are under way; other work may be done until `wait` gives them."""

    def __init__(self, own: Tensor, halo: Halo):
        self.own, self.halo = own[halo.own], halo
        self.sent = None if halo.is_silent else own[halo.send].contiguous()  # which must live until they have left
        self.coming: tuple[Tensor, Any] | None = None
        if self.sent is not None:
            self.coming = exchange(self.sent, halo.send_counts, halo.recv_counts, halo.group)

    def wait(self) -> Tensor:
        if self.coming is None:
            return self.own
        received, work = self.coming
        work.wait()
        self.sent = self.coming = None
        before = self.halo.before
        if not len(self.own):
            return received  # no copy: rings come here
        return torch.cat([received[:before], self.own, received[before:]])


def exchange(
    rows: Tensor, send_counts: Sequence[int], recv_counts: Sequence[int], group: dist.ProcessGroup
) -> tuple[Tensor, Any]:
    """Sends rows for one rank after the other; the rows that will have come, and what to wait for."""
    received = rows.new_empty(sum(recv_counts), *rows.shape[1:])
    work = dist.all_to_all_single(
        as_bytes(received), as_bytes(rows), list(recv_counts), list(send_counts), group=group, async_op=True
    )
    return received, work


def exchange_counted(rows: Tensor, counts: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Sends numbers for one rank after the other, so many to each; those that have come, on the CPU. Collective."""
    device = control_device(group)
    theirs = torch.empty_like(counts).to(device)
    dist.all_to_all_single(theirs, counts.to(device), group=group)
    received, work = exchange(rows.to(device), counts.tolist(), theirs.tolist(), group)
    work.wait()
    return received.cpu()


def total_of(counts: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The sum of the counts of all processes, on the CPU. Collective."""
    total = counts.to(control_device(group))
    dist.all_reduce(total, group=group)
    return total.cpu()


def as_bytes(rows: Tensor) -> Tensor:
    """Half precision as bytes: not every backend has it."""
    if rows.dtype not in (torch.float16, torch.bfloat16):
        return rows
    rows = rows.flatten(1)
    return rows.view(torch.uint8) if rows.numel() else rows.new_empty(len(rows), 2 * rows.size(1), dtype=torch.uint8)


def give_back(grad: Tensor, halo: Halo, num_own: int) -> Tensor:
    """Gradients of the rows fetched, added up at their owners: [num_own, ...]."""
    num_own_seen = len(grad) - halo.num_received
    before, own, after = grad.split([halo.before, num_own_seen, halo.num_received - halo.before])
    total = grad.new_zeros(num_own, *grad.shape[1:])
    returned = None
    if not halo.is_silent:
        returned, work = exchange(torch.cat([before, after]), halo.recv_counts, halo.send_counts, halo.group)
    add_at(total, halo.own, own)
    if returned is not None:
        work.wait()
        add_at(total, halo.send, returned)
    return total


def add_at(total: Tensor, places: Places, rows: Tensor) -> None:
    if isinstance(places, slice):
        total[places] += rows
    else:
        total.index_add_(0, places.to(total.device), rows)


class Fetch(torch.autograd.Function):
    """The rows that a halo names; their gradients go back to the owners. Each is the derivative of the other."""

    @staticmethod
    def forward(ctx, own, halo):
        ctx.halo, ctx.num_own = halo, len(own)
        return Pending(own, halo).wait()

    @staticmethod
    def backward(ctx, grad):
        return GiveBack.apply(grad.contiguous(), ctx.halo, ctx.num_own), None


class GiveBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, grad, halo, num_own):
        ctx.halo = halo
        return give_back(grad, halo, num_own)

    @staticmethod
    def backward(ctx, again):
        return Fetch.apply(again.contiguous(), ctx.halo), None, None


def fetch(tensors: Sequence[Tensor], halo: Halo) -> list[Tensor]:
    """The rows of several tensors of one dtype in one exchange."""
    packed = torch.cat([x.flatten(1) for x in tensors], 1)
    found = Fetch.apply(packed, halo)
    widths = [x[0].numel() if len(x) else x.new_empty(1, *x.shape[1:]).numel() for x in tensors]
    return [x.unflatten(1, like.shape[1:]) for x, like in zip(found.split(widths, 1), tensors)]


def make_halo(keys: Places, key_ptr: Sequence[int], rank: int, group: dist.ProcessGroup) -> Halo:
    """For the keys that this rank's rows see, in rising order; collective: owners are told which of theirs are seen."""
    first, last = key_ptr[rank], key_ptr[rank + 1]
    device = control_device(group)
    keys = indices(keys)
    ends = torch.searchsorted(keys, torch.tensor(key_ptr))
    counts = ends.diff()
    low, high = int(ends[rank]), int(ends[rank + 1])
    own, counts[rank] = as_range(keys[low:high] - first), 0
    theirs = torch.empty_like(counts).to(device)
    dist.all_to_all_single(theirs, counts.to(device), group=group)
    send_counts, recv_counts = theirs.tolist(), counts.tolist()
    wanted, work = exchange(torch.cat([keys[:low], keys[high:]]).to(device), recv_counts, send_counts, group)
    work.wait()
    assert not len(wanted) or int(wanted.max()) < last  # the ranks have agreed about who owns what
    return Halo(group, as_range(wanted.cpu() - first), tuple(send_counts), tuple(recv_counts), own, low)


def as_range(places: Tensor) -> Places:
    """A slice where places go on one by one: its rows need no copy."""
    if not len(places):
        return slice(0, 0)
    is_range = bool((places.diff() == 1).all())
    return slice(int(places[0]), int(places[-1]) + 1) if is_range else places


def indices(places: Places) -> Tensor:
    """int64 on the CPU: the way back from `as_range`."""
    return torch.arange(places.start, places.stop) if isinstance(places, slice) else places.cpu()


def control_device(group: dist.ProcessGroup) -> torch.device:
    """Where small messages lie: NCCL sends from GPUs only."""
    return torch.device("cpu") if takes_cpu(group) else torch.device("cuda", torch.cuda.current_device())


def takes_cpu(group: dist.ProcessGroup) -> bool:
    """Whether tensors on CPU can be sent: a group may have gloo for them beside NCCL."""
    return "gloo" in str(dist.get_backend_config(group))
