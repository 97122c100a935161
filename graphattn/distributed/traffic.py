"""What a forward pass moves between processes, counted."""

from collections.abc import Sequence
from typing import NamedTuple

from graphattn.distributed.hubs import Hubs
from graphattn.distributed.parts import Part, Where, fetches


class Traffic(NamedTuple):
    """Rows of keys, each with its value, that one process moves in a forward pass.

    A backward pass moves their gradients the other way, and, where there are several parts, the rows once more.
    """

    own: int  # keys of this process
    received: int
    sent: int
    in_memory: int  # of other processes, at a time
    queries_received: int = 0  # of hubs of others, whose keys are here
    queries_sent: int = 0  # own hubs', to the owners of their keys; a result comes back for each

    def num_bytes(
        self, kv_heads: int, dim: int, value_dim: int | None = None, itemsize: int = 4, heads: int | None = None
    ) -> int:
        """Bytes received in a forward pass; `heads` are those of queries, as many as of keys by default.

        >>> Traffic(own=100, received=10, sent=10, in_memory=10).num_bytes(kv_heads=4, dim=16)
        5120
        """
        value_dim, heads = dim if value_dim is None else value_dim, kv_heads if heads is None else heads
        results = self.queries_sent * (value_dim + 1) * max(itemsize, 4)  # with their log-sum-exp
        queries = self.queries_received * dim * itemsize
        return self.received * kv_heads * (dim + value_dim) * itemsize + heads * (queries + results)


def traffic_of(parts: Sequence[Part], hubs: Hubs | None, where: Where) -> Traffic:
    halos = [parts[numbers[0]].halo for numbers in fetches(parts)]
    received = [halo.num_received for halo in halos]
    sent = sum(sum(halo.send_counts) for halo in halos)
    own = where.key_ptr[where.rank + 1] - where.key_ptr[where.rank]
    most = max((a + b for a, b in zip([0, *received], received)), default=0)
    return Traffic(own, sum(received), sent, most, *((0, 0) if hubs is None else hubs.moved(where.rank)))
