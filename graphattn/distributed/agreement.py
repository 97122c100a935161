"""Processes that compare what they are about to do, so that a difference is an error on each of them, and nobody waits for ever."""

from collections.abc import Callable, MutableMapping
from contextlib import contextmanager
from datetime import timedelta
from hashlib import blake2b
from numbers import Real
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist

from graphattn.distributed.exchange import control_device, takes_cpu

_AGREEMENTS: MutableMapping[dist.ProcessGroup, dict[float, "Agreement"]] = WeakKeyDictionary()


class Agreement:
    """Small messages among the processes of a group, on CPU.

    Args:
        group: The processes. A group of gloo is made beside it, whose messages wait no longer than the timeout.
        timeout: Seconds to wait for a process that does not call.
    """

    def __init__(self, group: dist.ProcessGroup, timeout: float):
        self.rank, self.size, self.timeout = dist.get_rank(group), dist.get_world_size(group), timeout
        self.meet(group)
        even_out_names(group)
        ranks, wait = dist.get_process_group_ranks(group), timedelta(seconds=timeout)
        self.group = dist.new_group(ranks, timeout=wait, backend="gloo", use_local_synchronization=True)

    @classmethod
    def of(cls, group: dist.ProcessGroup, timeout: float) -> "Agreement":
        """The one of a group: all graphs that it shares send their messages by one."""
        if isinstance(timeout, bool) or not isinstance(timeout, Real) or not 0 < timeout < float("inf"):
            raise ValueError(f"'timeout' must be seconds above 0 (got {timeout!r})")
        known = _AGREEMENTS.setdefault(group, {})
        if timeout in known:
            known[timeout].meet(known[timeout].group)
        else:
            known[timeout] = cls(group, timeout)
        return known[timeout]

    def meet(self, group: dist.ProcessGroup) -> None:
        """Waits until all have come; RuntimeError on all who came, within the timeout, if one does not."""
        if not takes_cpu(group):  # NCCL has no such barrier: the group of gloo is then waited for when it is made
            return
        with said_plainly(
            f"not every process came to shard within {self.timeout:g} seconds; all call it, in the same order"
        ):
            dist.monitored_barrier(group, timeout=timedelta(seconds=self.timeout), wait_all_ranks=True)

    def compare(self, what: str, facts: Callable[[], dict[str, Any]], seed: int = 0) -> int:
        """Raises ValueError on every process if `facts()` differ or raise on one; the seed of the first process.

        Facts are compared by a digest: one message of 24 bytes.
        """
        error, found = None, {}
        try:
            found = facts()
        except Exception as raised:  # whatever it is, the others wait for an answer
            error = raised
        own = torch.tensor([digest(found), error is not None, seed], dtype=torch.int64)
        answers = [torch.empty_like(own) for _ in range(self.size)]
        with said_plainly(
            f"{what}: a process of the group is gone, or did not call it within {self.timeout:g} seconds"
        ):
            dist.all_gather(answers, own, group=self.group)
        every = torch.stack(answers)
        if every[:, 1].any() or (every[:, 0] != every[0, 0]).any():
            self.raise_differences(what, found, error)
        return int(every[0, 2])

    def raise_differences(self, what: str, found: dict[str, Any], error: Exception | None) -> None:
        shown = {name: repr(value) for name, value in found.items()}
        every: list[Any] = [None] * self.size
        dist.all_gather_object(
            every, (shown, None if error is None else f"{type(error).__name__}: {error}"), self.group
        )
        if error is not None:
            raise error
        failed = [f"rank {rank}: {words}" for rank, (_, words) in enumerate(every) if words is not None]
        if failed:
            raise ValueError(f"{what} failed on other processes: {'; '.join(failed)}")
        names = [name for name in shown if len({facts.get(name) for facts, _ in every}) > 1]
        lines = [
            f"{name}: {', '.join(f'rank {rank} {facts.get(name)}' for rank, (facts, _) in enumerate(every))}"
            for name in names
        ]
        raise ValueError(f"processes disagree about {what} (got {'; '.join(lines)}); all ranks give the same")


def even_out_names(group: dist.ProcessGroup) -> None:
    """Makes processes agree in the name of the next group that they make; collective.

    `dist.new_group` names one that not all processes make by the number of groups that each is in, and processes that are in
    different numbers would wait for each other in vain: those in fewer make some of their own.
    """
    names = getattr(getattr(dist.distributed_c10d, "_world", None), "pg_names", ())
    most = torch.tensor(len(names), device=control_device(group))
    dist.all_reduce(most, dist.ReduceOp.MAX, group)
    for _ in range(int(most) - len(names)):
        dist.new_group([dist.get_rank()], backend="gloo", use_local_synchronization=True)


@contextmanager
def said_plainly(what: str):
    """Errors of the network with what was to be done."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(f"{what} ({error})") from error


def digest(facts: dict[str, Any]) -> int:
    return int.from_bytes(blake2b(repr(sorted(facts.items())).encode(), digest_size=7).digest(), "big")
