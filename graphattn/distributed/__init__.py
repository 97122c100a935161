"""One graph over many processes: each owns some rows, and layers take them as they take any graph."""

from graphattn.distributed.edges import OwnEdges, read_edges
from graphattn.distributed.features import MappedRows
from graphattn.distributed.loader import Level, RowBatch, RowLoader
from graphattn.distributed.placing import Placing, placing
from graphattn.distributed.ranges import balanced_ptr
from graphattn.distributed.reduce import SharedBatchNorm, mean_of_all, share_batch_norms
from graphattn.distributed.sharded import ShardedGraph
from graphattn.distributed.sharding import shard
from graphattn.distributed.traffic import Traffic

__all__ = [
    "Level",
    "MappedRows",
    "OwnEdges",
    "Placing",
    "RowBatch",
    "RowLoader",
    "ShardedGraph",
    "SharedBatchNorm",
    "Traffic",
    "balanced_ptr",
    "mean_of_all",
    "placing",
    "read_edges",
    "shard",
    "share_batch_norms",
]
