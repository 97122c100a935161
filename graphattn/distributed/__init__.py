"""One graph over many processes: each owns some rows, and layers take them as they take any graph."""

from graphattn.distributed.reduce import SharedBatchNorm, mean_of_all, share_batch_norms
from graphattn.distributed.sharded import ShardedGraph, shard
from graphattn.distributed.traffic import Traffic

__all__ = ["ShardedGraph", "SharedBatchNorm", "Traffic", "mean_of_all", "shard", "share_batch_norms"]
