"""One graph over many processes: each owns some rows, and layers take them as they take any graph."""

from graphattn.distributed.sharded import ShardedGraph, shard
from graphattn.distributed.traffic import Traffic

__all__ = ["ShardedGraph", "Traffic", "shard"]
