"""Linear attention: a score that is a product of features, so that sums over keys need no edges."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch_geometric.nn.dense import Linear

from graphattn.graphs import Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.recording import refuse_recording
from graphattn.graphs.sizes import parse_integer
from graphattn.kernels.kernel import accumulation_dtype
from graphattn.nn.linear_maps import apply_linear
from graphattn.nn.linear_sums import remember, sums_of_features
from graphattn.running.arguments import check_graph, check_node_tensors

CHUNK = 64  # nodes: the square of scores inside a chunk is then no larger than the queries of usual heads


def elu_plus_one(x: Tensor) -> Tensor:
    """elu(x) + 1, positive everywhere (Katharopoulos et al. 2020, eq. 7)."""
    return torch.nn.functional.elu(x) + 1


def linear_attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: GraphLike,
    *,
    feature_map: Callable[[Tensor], Tensor] = elu_plus_one,
    form: str | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """Attention whose score is a product of features: three forms of one result (Katharopoulos et al. 2020).

    out[i] = sum over j -> i of w[i, j] value[j], w[i, j] = f(q_i) · f(k_j) / (sum over j' -> i of f(q_i) · f(k_j'))

    | form     | graphs                              | time per head                       | source
    |----------|-------------------------------------|-------------------------------------|-------
    | 'matrix' | all                                 | num_edges (dim + value_dim)         | eq. 3
    | 'chunks' | complete; causal (chunk by chunk)   | num_nodes dim value_dim             | eq. 5; eq. 9
    | 'steps'  | causal (node by node, as an RNN)    | num_nodes dim value_dim             | eq. 16-20

    Args:
        query: [num_queries, heads, dim].
        key: [num_keys, heads, dim].
        value: [num_keys, heads, value_dim].
        graph: Anything `as_graph` takes; batches are laid end to end, nothing passes from one example to another.
        feature_map: Applied to queries and keys: [..., dim] -> [..., any size], not negative.
        form: One of the above; None takes 'chunks' where it can and 'matrix' elsewhere.
        chunk: Nodes that a causal graph takes at a time in 'chunks'.

    Returns:
        [num_queries, heads, value_dim]; 0 for a query without edges or whose weights are all 0.

    Raises:
        ValueError, TypeError: where shapes or dtypes do not fit, or the form does not go with the graph.

    Example:
        >>> from graphattn import causal
        >>> x = torch.zeros(3, 1, 4)  # all features 1: the mean of what is seen
        >>> linear_attend(x, x, torch.arange(3.).view(3, 1, 1), causal(3)).flatten()
        tensor([0.0000, 0.5000, 1.0000])
    """
    check_node_tensors(query, key, value)
    if query.dim() != 3 or key.size(1) != query.size(1):
        raise ValueError(
            f"'query' and 'key' must be [num_nodes, heads, dim] with equal heads (got {list(query.shape)} and"
            f" {list(key.shape)})"
        )
    if not isinstance(graph, Graph):
        refuse_recording()
    graph = as_graph(graph, query.size(0), key.size(0))
    check_graph(graph, query, query.size(0), key.size(0))
    chunk = parse_integer("chunk", chunk, minimum=1)
    return divide(sums_of_features(*prepare(query, key, value, feature_map), graph, form, chunk)).to(value.dtype)


def linear_attend_step(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    state: Tensor | None = None,
    *,
    feature_map: Callable[[Tensor], Tensor] = elu_plus_one,
) -> tuple[Tensor, Tensor]:
    """The next node of each example of a causal graph, at a cost that does not grow (Katharopoulos et al. 2020, eq. 16-20).

    Args:
        query, key: [num_examples, heads, dim].
        value: [num_examples, heads, value_dim].
        state: What the last step returned, None at the first node.

    Returns:
        The output [num_examples, heads, value_dim] and the next state [num_examples, heads, features, value_dim + 1]: the
        sums over all keys so far of f(key) valueᵀ and, in the last column, of f(key).
    """
    query, key, columns = prepare(query, key, value, feature_map)
    sums, state = remember(query, key, columns, state)
    return divide(sums).to(value.dtype), state


class LinearAttention(torch.nn.Module):
    """Multi-head linear attention (Katharopoulos et al. 2020): memory and time grow with the nodes, not with the edges.

    Args:
        in_channels: Size of the node features; -1 finds it out lazily.
        out_channels: Size of each head's result.
        heads: Number of attention heads.
        concat: Join the heads to [heads * out_channels] (default), or take their mean [out_channels].
        feature_map: [..., out_channels] -> [..., any size], not negative.
        bias: Whether the projections learn an offset.
        form: See `linear_attend`.

    Shapes:
        - x: [num_nodes, in_channels]
        - graph: a Graph or anything `as_graph` takes
        - output: [num_nodes, heads * out_channels], or [num_nodes, out_channels] if not `concat`

    Example:
        >>> from graphattn import causal
        >>> layer = LinearAttention(16, 8, heads=4)
        >>> layer(torch.randn(5000, 16), causal([3000, 2000])).shape
        torch.Size([5000, 32])
        >>> out, state = layer.step(torch.randn(2, 16))  # the first node of two examples
        >>> out, state = layer.step(torch.randn(2, 16), state)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        *,
        feature_map: Callable[[Tensor], Tensor] = elu_plus_one,
        bias: bool = True,
        form: str | None = None,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = parse_integer("out_channels", out_channels, minimum=1)
        self.heads = parse_integer("heads", heads, minimum=1)
        self.concat, self.feature_map, self.form = concat, feature_map, form
        width = self.heads * self.out_channels
        self.lin_query, self.lin_key, self.lin_value = (Linear(in_channels, width, bias=bias) for _ in range(3))

    def reset_parameters(self) -> None:
        for linear in (self.lin_query, self.lin_key, self.lin_value):
            linear.reset_parameters()

    def forward(self, x: Tensor, graph: GraphLike) -> Tensor:
        out = linear_attend(*self.project(x), graph, feature_map=self.feature_map, form=self.form)
        return self.join(out)

    if TYPE_CHECKING:
        __call__ = forward

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The next node [num_examples, in_channels] of each example of a causal graph, and the next state."""
        out, state = linear_attend_step(*self.project(x), state, feature_map=self.feature_map)
        return self.join(out), state

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, [num_nodes, heads, out_channels] each."""
        linears = (self.lin_query, self.lin_key, self.lin_value)
        return tuple(mapped.unflatten(-1, (self.heads, self.out_channels)) for mapped in apply_linear(x, *linears))

    def join(self, out: Tensor) -> Tensor:
        return out.flatten(1) if self.concat else out.mean(1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, heads={self.heads})"


def prepare(query: Tensor, key: Tensor, value: Tensor, feature_map: Callable) -> tuple[Tensor, Tensor, Tensor]:
    """Features, and values with a column of ones whose sum is the denominator; half precision is added up in float32."""
    query, key, value = (x.to(accumulation_dtype(x.dtype)) for x in (query, key, value))
    return feature_map(query), feature_map(key), torch.cat([value, torch.ones_like(value[..., :1])], dim=-1)


def divide(sums: Tensor) -> Tensor:
    """All columns but the last by the last, 0 where that is 0."""
    numerator, denominator = sums[..., :-1], sums[..., -1:]
    is_empty = denominator == 0
    return torch.where(is_empty, 0.0, numerator / denominator.masked_fill(is_empty, 1.0))
