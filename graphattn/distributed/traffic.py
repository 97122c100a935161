"""What a forward pass moves between processes, counted."""

from collections.abc import Sequence
from typing import NamedTuple

from graphattn.distributed.parts import Part, Where


class Traffic(NamedTuple):
    """Rows of keys, each with its value, that one process moves in a forward pass.

    A backward pass moves their gradients the other way, and, where there are several parts, the rows once more.
    """

    own: int  # keys of this process
    received: int
    sent: int
    in_memory: int  # of other processes, at a time

    def num_bytes(self, kv_heads: int, dim: int, value_dim: int | None = None, itemsize: int = 4) -> int:
        """Bytes received in a forward pass.

        >>> Traffic(own=100, received=10, sent=10, in_memory=10).num_bytes(kv_heads=4, dim=16)
        5120
        """
        return self.received * kv_heads * (dim + (dim if value_dim is None else value_dim)) * itemsize


def traffic_of(parts: Sequence[Part], where: Where) -> Traffic:
    received = [part.halo.num_received for part in parts]
    sent = sum(sum(part.halo.send_counts) for part in parts)
    own = where.key_ptr[where.rank + 1] - where.key_ptr[where.rank]
    return Traffic(own, sum(received), sent, max((a + b for a, b in zip([0, *received], received)), default=0))
