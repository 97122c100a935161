"""The same attention by others: PyG's message passing, plain torch, dense masked attention."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch_geometric.nn import GATConv, GATv2Conv, TransformerConv

from graphattn.graphs import BandedGraph, Graph
from graphattn.nn.bias import Bias


def transformer_conv(graph: Graph, heads: int, dim: int, edge_dim: int | None = None) -> Callable[..., Tensor]:
    """`propagate` of PyG's TransformerConv: everything after its projections."""
    edge_index = graph.edge_index()
    conv = TransformerConv(1, dim, heads, edge_dim=edge_dim, root_weight=False)

    def call(query, key, value, features=None, weight=None):
        if weight is not None:
            set_weight(conv.lin_edge, "weight", weight)
        out = conv.propagate(edge_index, query=query, key=key, value=value, edge_attr=features)
        conv._alpha = None  # as its forward() does
        return out

    return call


def gat_conv(graph: Graph, heads: int, dim: int) -> Callable[..., Tensor]:
    """`edge_updater` and `propagate` of PyG's GATConv: everything after its projections and their products with `att`."""
    edge_index = graph.edge_index()
    conv = GATConv(1, dim, heads, add_self_loops=False, bias=False)

    def call(target, source, value):
        alpha = conv.edge_updater(edge_index, alpha=(source[..., 0], target[..., 0]), edge_attr=None)
        return conv.propagate(edge_index, x=(value, value), alpha=alpha)

    return call


def gatv2_conv(graph: Graph, heads: int, dim: int, edge_dim: int | None = None) -> Callable[..., Tensor]:
    """`edge_updater` and `propagate` of PyG's GATv2Conv: everything after its projections."""
    edge_index = graph.edge_index()
    conv = GATv2Conv(1, dim, heads, edge_dim=edge_dim, add_self_loops=False, bias=False)

    def call(target, source, vector, features=None, weight=None):
        set_weight(conv, "att", vector)
        if weight is not None:
            set_weight(conv.lin_edge, "weight", weight)
        alpha = conv.edge_updater(edge_index, x=(source, target), edge_attr=features)
        return conv.propagate(edge_index, x=(source, target), alpha=alpha)

    return call


def set_weight(module: nn.Module, name: str, weight: Tensor) -> None:
    """Puts a plain tensor in the place of a parameter, so that its gradient goes to that tensor."""
    module._parameters.pop(name, None)
    setattr(module, name, weight)


def gather_scatter(graph: Graph) -> Callable[..., Tensor]:
    """Three gathers, a softmax by scatter, a scatter: what one writes without a library."""
    source, target = graph.edge_index()
    num_queries = graph.num_queries

    def call(query, key, value):
        scores = (query[target] * key[source]).sum(-1) * query.size(-1) ** -0.5  # [num_edges, heads]
        index = target[:, None].expand_as(scores)
        top = scores.new_full((num_queries, scores.size(1)), -torch.inf)
        top = top.scatter_reduce(0, index, scores.detach(), "amax")
        weights = (scores - top[target]).exp()
        total = torch.zeros_like(top).index_add(0, target, weights)
        weights = weights / total[target]
        out = value.new_zeros(num_queries, *value.shape[1:])
        return out.index_add(0, target, weights[..., None] * value[source])

    return call


def dense_sdpa(graph: Graph) -> Callable[..., Tensor]:
    """torch's scaled_dot_product_attention with a mask of all pairs; the mask is made beforehand."""
    mask = graph.mask()

    def call(query, key, value):
        query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)[0].transpose(0, 1)

    return call


def sdpa_with_bias(graph: Graph, rule: Bias) -> Callable[..., Tensor]:
    """torch's scaled_dot_product_attention with a bias of all pairs and heads, -inf where there is no edge."""
    query, key = torch.arange(graph.num_queries)[:, None, None], torch.arange(graph.num_keys)[:, None]
    hidden = ~graph.mask()
    mask = made_once(rule, lambda: rule.rule(query, key).permute(2, 0, 1).masked_fill(hidden, -torch.inf)[None])

    def call(query, key, value, table=None):
        set_table(rule, table)
        query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask())[0].transpose(0, 1)

    return call


def made_once(rule: Bias, make: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """`make`, but only once and beforehand where nothing in the rule is learned."""
    if list(rule.parameters()):
        return make
    made = make()
    return lambda: made


def set_table(rule: Bias, table: Tensor | None) -> None:
    """Puts numbers from outside in the place of those that the rule learns, if it does."""
    if table is not None:
        set_weight(rule, "table", table)


def flex(shape: tuple[int, int], is_edge: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """FlexAttention, compiled, of the edges for which is_edge(batch, head, query, key); its block mask is made beforehand."""
    mask = create_block_mask(is_edge, None, None, *shape, device="cpu")
    compiled = torch.compile(flex_attention, dynamic=False)  # its C++ does not compile for open sizes

    def call(query, key, value):
        query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
        return compiled(query, key, value, block_mask=mask)[0].transpose(0, 1)

    return call


def flex_of_edges(graph: Graph) -> Callable[..., Tensor]:
    """FlexAttention of any graph, whose edges it looks up in a mask of all pairs."""
    mask = graph.mask()
    return flex(graph.shape, lambda batch, head, query, key: mask[query, key])


def flex_of_band(graph: BandedGraph) -> Callable[..., Tensor]:
    """FlexAttention of a band, whose edges it knows by their offset."""
    return flex(
        graph.shape, lambda batch, head, query, key: (query - key <= graph.before) & (key - query <= graph.after)
    )


def why_not_flex() -> str | None:
    """What the compiler says where it cannot compile FlexAttention (it needs one for C++), else None."""
    try:
        flex_of_band(BandedGraph(256, 8, 8))(*(torch.zeros(256, 1, 16) for _ in range(3)))
    except Exception as error:  # of many kinds: torch's, the C++ compiler's, the system's
        return next(iter(str(error).splitlines()), type(error).__name__)
    return None


def full_sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The complete graph by torch's scaled_dot_product_attention."""
    query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1)
