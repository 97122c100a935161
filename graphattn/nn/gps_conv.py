"""GPSConv: PyG's layer with global attention inside each graph, without padding."""

from functools import lru_cache
from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor
from torch.nn import Module, MultiheadAttention
from torch_geometric.nn.attention import PerformerAttention
from torch_geometric.nn.attention.performer import PerformerProjection, generalized_kernel
from torch_geometric.utils import to_dense_batch

from graphattn.formulas.normalizers import Softmax
from graphattn.functional import attend
from graphattn.graphs import CompleteGraph, Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.exported import exported_complete, is_exporting
from graphattn.graphs.recording import refuse_recording
from graphattn.graphs.snapshots import Read, graph_of_tensor, snapshot
from graphattn.graphs.spread import SpreadGraph
from graphattn.graphs.traced import TracedGraph, ticket_of
from graphattn.kernels.fused.sdpa import equal_sizes
from graphattn.nn.dropout import drop
from graphattn.nn.gine import convolve
from graphattn.nn.layer_norm import normalized
from graphattn.nn.linear_attention import linear_attend
from graphattn.nn.linear_maps import apply_linear, linear, linear_in_parts
from graphattn.nn.plain import has_hooks, runs_as
from graphattn.nn.sequential import in_turn


class GPSConv(torch_geometric.nn.GPSConv):
    r"""PyG's `GPSConv` (Rampášek et al. 2022, https://arxiv.org/abs/2205.12454): a local layer and global attention.

    Signature, parameters, state_dict and numbers are those of `torch_geometric.nn.GPSConv`:

    .. math::
        h_i = \mathrm{norm}_1(x_i + \mathrm{conv}(x)_i) + \mathrm{norm}_2(x_i + \mathrm{attention}(x)_i), \quad
        x'_i = \mathrm{norm}_3(h_i + \mathrm{MLP}(h_i))

    It differs in this:

    - Nothing is padded, but for an `attn` with hooks or a forward pass of its own, which is called as PyG calls it. With
      `attn_type='performer'` PyG's padding enters the result, so that a graph's output changes with
      its batch mates; here each graph has the output that it has alone (and in PyG, alone).
    - `graph` names another global graph than the complete one of each example, e.g. `graphattn.graphs.bigbird(...)`; with
      'performer' a causal one.
    - Gradients of 'multihead' can be differentiated again (forces); PyG's cannot.
    - Zero nodes are valid.
    - Where nodes lie with several processes (`graphattn.distributed`), `graph` is needed (the complete one, sharded), and a norm
      that sees one node or all: 'batch_norm' with `share_batch_norms`, 'layer_norm' with mode 'node'.
    - `batch` must ascend, as PyG needs but does not check.
    - Dropout of attention weights draws from another generator.

    Shapes:
        - x: [num_nodes, channels]
        - batch: [num_nodes], the example of each node
        - output: [num_nodes, channels]

    Example:
        >>> import torch
        >>> from graphattn import BandedGraph
        >>> from graphattn.nn import GATConv, GPSConv
        >>> conv = GPSConv(8, GATConv(8, 8), heads=2)
        >>> x, edge_index = torch.randn(5, 8), torch.tensor([[0, 1, 3], [1, 2, 4]])
        >>> conv(x, edge_index, batch=torch.tensor([0, 0, 0, 1, 1])).shape
        torch.Size([5, 8])
        >>> conv(x, edge_index, graph=BandedGraph(5, before=1, after=1)).shape
        torch.Size([5, 8])
    """

    def forward(
        self,
        x: Tensor,
        edge_index: GraphLike,
        batch: Tensor | None = None,
        graph: GraphLike | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """`edge_index` and `kwargs` go to the local layer, `graph` (anything `as_graph` takes) to the global attention."""
        if isinstance(edge_index, SpreadGraph):
            refuse_own_nodes(self, edge_index, graph)
        elif isinstance(graph, SpreadGraph):
            refuse_own_edges(self, edge_index, graph)
        seen = complete_graph(x, batch) if graph is None else as_graph(graph, x.size(0))
        # The examples, whose nodes lie side by side if they are what attention sees.
        examples = seen if graph is None and isinstance(seen, CompleteGraph) else None
        out = None
        if self.conv is not None:
            out = self.add(x, convolve(self.conv, x, edge_index, **kwargs), self.norm1, batch, examples)
        if graph is None and x.size(0) > 0 and is_called_otherwise(self.attn):
            change = padded(self.attn, x, batch)
        else:
            change = self.attend_globally(x, seen)
        out = self.add(x, change, self.norm2, batch, examples, out)
        return self.normalize(out, in_turn(self.mlp, out), self.norm3, batch, examples)

    def add(
        self,
        x: Tensor,
        result: Tensor,
        norm: Module | None,
        batch: Tensor | None,
        examples: CompleteGraph | None,
        others: Tensor | None = None,
    ) -> Tensor:
        return self.normalize(drop(result, self.dropout, self.training), x, norm, batch, examples, others)

    def normalize(
        self,
        x: Tensor,
        other: Tensor,
        norm: Module | None,
        batch: Tensor | None,
        examples: CompleteGraph | None,
        added: Tensor | None = None,
    ) -> Tensor:
        """norm(x + other), plus `added` if there is one."""
        if norm is None or (x.size(0) == 0 and self.norm_with_batch):  # these look for the largest index of a batch
            y = x + other
        elif not self.norm_with_batch:
            y = norm(x + other)
        elif batch is None:
            y = norm(x + other, batch=batch)
        else:
            return normalized(norm, x, batch, examples, other, added)
        return y if added is None else added + y

    def attend_globally(self, x: Tensor, graph: Graph) -> Tensor:
        """Global attention: [num_nodes, channels]."""
        if is_plain_multihead(self.attn):
            return multihead(self.attn, x, graph)
        if is_plain_performer(self.attn):
            return performer(self.attn, x, graph)
        if isinstance(graph, TracedGraph):
            return each_alone_uncompiled(self.attn, x, graph)
        return each_alone(self.attn, x, graph)


def refuse_own_nodes(conv: GPSConv, edges: SpreadGraph, graph: GraphLike | None) -> None:
    """ValueError where something would be taken over the nodes of this process that is one over all of them."""
    if not isinstance(graph, SpreadGraph):
        raise ValueError(
            "global attention over all nodes needs those of other processes"
            f" (got {edges!r} and graph={graph!r}); give graph=shard(CompleteGraph(num_nodes)), or another one"
        )
    if conv.norm2 is not None and conv.norm_with_batch and getattr(conv.norm2, "mode", "graph") != "node":
        raise ValueError(
            f"{conv.norm2} takes its mean over the nodes of an example, which lie with several processes (got {edges!r}); take"
            " norm='batch_norm' and share_batch_norms(model, graph), or norm='layer_norm' with norm_kwargs={'mode': 'node'}"
        )


def refuse_own_edges(conv: GPSConv, edges: Any, graph: SpreadGraph) -> None:
    """ValueError where the local layer would be given edges among the nodes of this process, and norms as above."""
    if conv.conv is not None:
        raise ValueError(
            f"'edge_index' must be sharded as 'graph' is (got {edges!r} beside {graph!r}); give shard(edges)"
        )
    refuse_own_nodes(conv, graph, graph)


def complete_graph(x: Tensor, batch: Tensor | None) -> Graph:
    """Every node sees the nodes of its example."""
    if batch is not None and not isinstance(batch, Tensor):
        raise TypeError(
            f"'batch' must be a tensor with one example index per node, [{x.size(0)}] (got {type(batch).__name__}); give the"
            " graph of the global attention as 'graph'"
        )
    if batch is None and is_exporting():
        return TracedGraph(exported_complete(x.size(0), x.size(0), x.device), x.size(0), x.size(0))
    if batch is None and torch.compiler.is_compiling():
        batch = x.new_zeros(x.size(0), dtype=torch.int64)
    if batch is None:
        return complete_of_sizes((x.size(0),))
    refuse_recording()
    if batch.shape != x.shape[:1] or batch.is_floating_point():
        raise ValueError(
            f"'batch' must hold one example index per node, [{x.size(0)}] (got {batch.dtype} {list(batch.shape)})"
        )
    if is_exporting():
        return TracedGraph(batch[:, None] == batch, x.size(0), x.size(0))
    if torch.compiler.is_compiling():
        return TracedGraph(traced_complete_graph(batch), x.size(0), x.size(0))
    return complete_of_batch(batch)


def complete_of_batch(batch: Tensor) -> Graph:
    """The graph of the examples, counted once for all layers that get this batch."""
    return graph_of_tensor(batch, ("examples of a batch",), lambda batch: (batch,), count_examples)


def count_examples(batch: Tensor) -> Read:
    batch = snapshot(batch)
    if bool((batch.diff() < 0).any()):
        raise ValueError(f"'batch' must ascend (got {batch}); lay the nodes of an example side by side")
    return Read(complete_of_sizes(tuple(batch.bincount().tolist()) or (0,)), (batch,))


@torch.library.custom_op("graphattn::complete_of_batch", mutates_args=())
def traced_complete_graph(batch: Tensor) -> Tensor:
    return ticket_of(complete_of_batch(batch))


@traced_complete_graph.register_fake
def _(batch):
    return torch.empty((), dtype=torch.int64)


@lru_cache(maxsize=4)  # the layers of a model get one batch
def complete_of_sizes(sizes: tuple[int, ...]) -> CompleteGraph:
    return CompleteGraph(sizes)


def is_plain_multihead(attention: Module) -> bool:
    """Multi-head attention of one projected sequence, with nothing that looks at its call or adds learned keys to it."""
    if not isinstance(attention, MultiheadAttention) or is_called_otherwise(attention):
        return False
    return attention._qkv_same_embed_dim and attention.bias_k is None


def is_called_otherwise(attention: Module) -> bool:
    """Multi-head attention of which more is known to others than its weights: hooks, or a forward pass of its own."""
    if not isinstance(attention, MultiheadAttention):
        return False
    return has_hooks(attention) or not (runs_as(attention, MultiheadAttention) and attention.batch_first)


def is_plain_performer(attention: Any) -> bool:
    if not runs_as(attention, PerformerAttention) or has_hooks(attention):
        return False
    return runs_as(attention.fast_attn, PerformerProjection) and not has_hooks(attention.fast_attn)


def multihead(attention: MultiheadAttention, x: Tensor, graph: Graph) -> Tensor:
    """torch.nn.MultiheadAttention with its own weights, over the edges of `graph`: [num_nodes, channels]."""
    by_head = attention.num_heads, attention.head_dim
    projected = linear_in_parts(x, attention.in_proj_weight, attention.in_proj_bias, 3)
    query, key, value = [part.unflatten(-1, by_head) for part in projected]
    dropout = attention.dropout if attention.training else 0.0
    normalizer = Softmax(sink=0.0) if attention.add_zero_attn else "softmax"  # a key and a value of zeros
    out = attend(query, key, value, graph, dropout=dropout, normalizer=normalizer)
    projection = attention.out_proj  # read, never called, as in torch
    return linear(out.flatten(1), projection.weight, projection.bias)


def performer(attention: PerformerAttention, x: Tensor, graph: Graph) -> Tensor:
    """PerformerAttention with its own weights, inside each example of a complete or causal graph: [num_nodes, channels]."""
    size, projection = (attention.heads, attention.head_channels), attention.fast_attn

    def features(x: Tensor) -> Tensor:
        by_head = x.transpose(0, 1)[None]  # [1, heads, num_nodes, head_channels]
        matrix = projection.projection_matrix.to(x.dtype)
        return generalized_kernel(by_head, matrix, projection.kernel)[0].transpose(0, 1)

    maps = attention.q, attention.k, attention.v
    query, key, value = (mapped.unflatten(-1, size) for mapped in apply_linear(x, *maps))
    out = linear_attend(query, key, value, graph, feature_map=features, form="chunks")
    return attention.dropout(apply_linear(out.flatten(1), attention.attn_out)[0])


@torch.compiler.disable(
    reason="attention with hooks or a class of its own is called as PyG calls it; compile without fullgraph"
)
def padded(attention: MultiheadAttention, x: Tensor, batch: Tensor | None) -> Tensor:
    """Attention inside each example as PyG calls it, but for examples without nodes, which would make NaN of gradients."""
    batch = None if batch is None else batch.unique_consecutive(return_inverse=True)[1]
    nodes, is_node = to_dense_batch(x, batch)
    return attention(nodes, nodes, nodes, key_padding_mask=~is_node, need_weights=False)[0][is_node]


def each_alone(attention: Module, x: Tensor, graph: Graph) -> Tensor:
    """Any attention, inside each example of a complete graph."""
    graph = as_graph(graph)
    if not isinstance(graph, CompleteGraph):
        raise ValueError(
            f"'graph' must be complete for {type(attention).__name__} with hooks or bias_k (got {graph}); other graphs need"
            " attn_type='multihead' without them"
        )
    out = torch.empty_like(x)
    for examples, nodes, _ in equal_sizes(graph):
        out[nodes] = dense(attention, x[nodes].unflatten(0, (examples, -1))).flatten(0, 1).to(out.dtype)
    return out


each_alone_uncompiled = torch.compiler.disable(
    each_alone,
    reason="attention with hooks, learned keys (add_bias_kv) or a class of its own goes example by example; compile without"
    " fullgraph=True",
)


def dense(attention: Module, x: Tensor) -> Tensor:
    """Attention inside each of some graphs of one size: x [num_graphs, num_nodes, channels]."""
    if isinstance(attention, MultiheadAttention):
        return attention(x, x, x, need_weights=False)[0]
    if isinstance(attention, PerformerAttention):
        return attention(x, mask=torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))
    raise TypeError(
        f"'attn' must be a MultiheadAttention or a PerformerAttention, as attn_type makes it (got {type(attention).__name__})"
    )
