"""Stacks of Transformer blocks over graphs."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import Self

from graphattn.graphs import Graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.per_head import PerHead, as_graph_or_heads, once_for_each
from graphattn.graphs.sizes import parse_integer
from graphattn.nn.bias import Bias, bias_of_layer
from graphattn.nn.decoder import DecoderLayer
from graphattn.nn.encoder import EncoderLayer
from graphattn.nn.per_head import biases_of
from graphattn.nn.plain import check_plain
from graphattn.nn.sizes import check_features
from graphattn.nn.torch_weights import Copies, layer_options


class PerLayer:
    """A graph for each layer of a stack, or anything `as_graph` takes (a plain list of graphs is a batch).

    >>> from graphattn import BandedGraph, CompleteGraph
    >>> PerLayer([BandedGraph(9, 1, 1), CompleteGraph(9)])
    PerLayer([BandedGraph(9, before=1, after=1), CompleteGraph(9)])
    """

    def __init__(self, graphs: Iterable[GraphLike | PerHead]):
        self.graphs = list(graphs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.graphs})"


def one_for_each(graph: Any, num_layers: int) -> list[Any]:
    """What `graph` says of each layer: the graphs of a `PerLayer`, anything else for all."""
    if not isinstance(graph, PerLayer):
        return [graph] * num_layers
    if len(graph.graphs) != num_layers:
        raise ValueError(f"PerLayer must hold a graph for each of the {num_layers} layers (got {len(graph.graphs)})")
    return graph.graphs


class Stack(torch.nn.Module):
    """What both stacks share: layers of growing stochastic depth, one bias for all of them, a last norm."""

    layer_type: type[Any]
    torch_type: type[Any]  # which `from_torch` reads

    def __init__(
        self,
        channels: int,
        num_layers: int,
        heads: int,
        feedforward_channels: int | None = None,
        *,
        edge_bias: Bias | None = None,
        drop_path: float = 0.0,
        **layer: Any,
    ):
        super().__init__()
        num_layers = parse_integer("num_layers", num_layers, minimum=1)
        self.channels, self.heads, self.edge_bias = channels, heads, edge_bias
        depths = [drop_path * number / max(1, num_layers - 1) for number in range(num_layers)]
        self.layers = torch.nn.ModuleList(
            self.layer_type(channels, heads, feedforward_channels, drop_path=depth, **layer) for depth in depths
        )
        # Without it nothing would bring the sum of all layers back to one size (Xiong et al. 2020).
        norm = {"eps": layer.get("norm_eps", 1e-5), "bias": layer.get("bias", True)}
        self.norm: torch.nn.Module | None = None
        if layer.get("norm_first", False):
            self.norm = torch.nn.LayerNorm(channels, **norm)

    def reset_parameters(self) -> None:
        for module in (*self.layers, self.norm):
            if module is not None:
                module.reset_parameters()

    def graphs_of_layers(self, x: Tensor, graph: Any) -> list[Graph | PerHead]:
        """The graph of each layer, from one for all or one for each."""
        check_features(x, x, self.channels)
        given = one_for_each(graph, len(self.layers))
        return once_for_each(lambda one: as_graph_or_heads(one, x.size(0)), given)

    def biases_of_layers(self, graphs: list[Graph | PerHead], pos: Any, given: Any) -> list[Any]:
        """The shared bias and the given one, computed once for each different graph."""
        if given is not None and not callable(given) and any(graph is not graphs[0] for graph in graphs):
            raise ValueError(
                "'edge_bias' must be a rule graph -> [num_edges, heads] where layers have their own graphs"
            )

        def bias_of_graph(graph: Graph | PerHead) -> Any:
            if isinstance(graph, PerHead):
                return biases_of(self.edge_bias, given, graph, pos)
            return bias_of_layer(self.edge_bias, given, graph, pos)

        return once_for_each(bias_of_graph, graphs)

    @classmethod
    def from_torch(cls, stack: Any) -> Self:
        """The same stack with copies of the weights. Layers and weights that are shared there are shared here; what is kept and
        what is refused of a layer says `EncoderLayer.from_torch`. The last norm is a LayerNorm, an RMSNorm or none."""
        check_plain("stack", stack, cls.torch_type)
        check_plain("stack.layers", stack.layers, torch.nn.ModuleList)
        if not len(stack.layers):
            raise ValueError("'stack' must have a layer (got none)")
        check_batch_first(stack.layers)
        copies = Copies()
        known = {id(layer): cls.layer_type.read(layer, copies) for layer in stack.layers}
        own = cls(num_layers=len(stack.layers), **layer_options(stack.layers[0])).train(stack.training)
        own.layers = torch.nn.ModuleList(known[id(layer)] for layer in stack.layers)
        own.norm = read_norm(stack.norm, own.channels, copies)
        return own

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, num_layers={len(self.layers)}, heads={self.heads})"


def check_batch_first(layers: Iterable[torch.nn.Module]) -> None:
    """Layers that disagree attend along different axes of one tensor, which no graph can tell.

    What is no attention of torch is refused where its layer is read."""
    attentions = (getattr(layer, "self_attn", None) for layer in layers)
    found = [attention.batch_first for attention in attentions if isinstance(attention, torch.nn.MultiheadAttention)]
    if len(set(found)) > 1:
        raise ValueError(f"layers of a 'stack' must agree in 'batch_first' (got {found}); make them all with the same")


def read_norm(norm: torch.nn.Module | None, channels: int, copies: Copies) -> torch.nn.Module | None:
    """The norm behind the last layer, whose numbers must not depend on how nodes are laid out."""
    if norm is None:
        return None
    check_plain("norm", norm, torch.nn.LayerNorm, torch.nn.RMSNorm, torch.nn.Identity)
    if isinstance(norm, torch.nn.Identity):
        return None
    if isinstance(norm, (torch.nn.LayerNorm, torch.nn.RMSNorm)) and tuple(norm.normalized_shape) != (channels,):
        raise ValueError(f"'norm' must be over the {channels} channels (got normalized_shape={norm.normalized_shape})")
    own = deepcopy(norm)
    for name, parameter in norm.named_parameters():
        setattr(own, name, copies(parameter))
    return own


class GraphTransformer(Stack):
    """EncoderLayers one after the other, over one graph or over a graph for each layer.

    Stochastic depth grows linearly from 0 in the first layer to `drop_path` in the last (Huang et al. 2016); `norm_first`
    ends with a norm, as the sum of all layers has none.

    Args:
        channels: Size of the node features, a multiple of `heads`.
        num_layers: Number of layers.
        heads: Number of attention heads.
        feedforward_channels: Size inside the feed-forward maps; 4 * channels by default.
        edge_bias: A Bias that all layers share, computed once (Raffel et al. 2020).
        drop_path: Probability of skipping a part of the last layer for an example.
        **layer: Further arguments of EncoderLayer: dropout, norm_first, activation, positions, edge_dim, kv_heads, ...

    Shapes:
        - x, output: [num_nodes, channels]
        - graph: anything `as_graph` takes, a `PerHead`, or `PerLayer` of as many as layers
        - edge_attr, pos, edge_bias: as in GraphAttention, for all layers

    Example:
        >>> from graphattn import BandedGraph, CompleteGraph
        >>> from graphattn.nn import ALiBi
        >>> model = GraphTransformer(16, num_layers=2, heads=4, edge_bias=ALiBi(4))
        >>> model(torch.randn(9, 16), CompleteGraph([4, 5])).shape
        torch.Size([9, 16])
        >>> model(torch.randn(9, 16), PerLayer([BandedGraph(9, 1, 1), CompleteGraph(9)])).shape
        torch.Size([9, 16])
    """

    layer_type = EncoderLayer
    torch_type = torch.nn.TransformerEncoder

    def forward(
        self,
        x: Tensor,
        graph: GraphLike | PerHead | PerLayer,
        edge_attr: Tensor | None = None,
        *,
        pos: Tensor | None = None,
        edge_bias: Tensor | Callable[[Graph], Tensor] | None = None,
    ) -> Tensor:
        graphs = self.graphs_of_layers(x, graph)
        biases = self.biases_of_layers(graphs, pos, edge_bias)
        for layer, own_graph, bias in zip(self.layers, graphs, biases, strict=True):
            x = layer(x, own_graph, edge_attr, pos=pos, edge_bias=bias)
        return x if self.norm is None else self.norm(x)

    if TYPE_CHECKING:
        __call__ = forward


class GraphTransformerDecoder(Stack):
    """DecoderLayers one after the other, all with the same memory.

    Args:
        channels, num_layers, heads, feedforward_channels, edge_bias, drop_path: as in GraphTransformer.
        **layer: Further arguments of DecoderLayer: memory_channels, dropout, norm_first, activation, positions, ...

    Shapes:
        - x, output: [num_nodes, channels]
        - memory: [num_memory_nodes, memory_channels]
        - graph: over the nodes, or `PerLayer`; memory_graph: from the memory (keys) to the nodes (queries)

    Example:
        >>> from graphattn import CompleteGraph, causal
        >>> model = GraphTransformerDecoder(16, num_layers=2, heads=4)
        >>> x, memory = torch.randn(9, 16), torch.randn(12, 16)
        >>> model(x, memory, causal([4, 5]), CompleteGraph([4, 5], [10, 2])).shape
        torch.Size([9, 16])
    """

    layer_type = DecoderLayer
    torch_type = torch.nn.TransformerDecoder

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        graph: GraphLike | PerHead | PerLayer,
        memory_graph: GraphLike | PerHead,
        *,
        pos: Tensor | None = None,
        edge_bias: Tensor | Callable[[Graph], Tensor] | None = None,
    ) -> Tensor:
        graphs = self.graphs_of_layers(x, graph)
        biases = self.biases_of_layers(graphs, pos, edge_bias)
        memory_graph = as_graph_or_heads(memory_graph, x.size(0), memory.size(0))
        for layer, own_graph, bias in zip(self.layers, graphs, biases, strict=True):
            x = layer(x, memory, own_graph, memory_graph, pos=pos, edge_bias=bias)
        return x if self.norm is None else self.norm(x)

    if TYPE_CHECKING:
        __call__ = forward
