"""HeteroGraphAttention: attention over graphs with types of nodes and edges, one softmax over all types of edges."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, overload

from torch import Tensor
from torch.nn import Module
from torch_geometric.nn.dense import HeteroDictLinear
from torch_geometric.typing import EdgeType, Metadata, NodeType

from graphattn.formulas.normalizers import Normalizer, as_normalizer
from graphattn.formulas.scores import as_score
from graphattn.graphs import Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.nn.joint import Joint, Link
from graphattn.nn.metadata import check_edge_attr, check_metadata, types_of
from graphattn.nn.relation import Relation
from graphattn.nn.sizes import check_sizes
from graphattn.nn.type_names import TypedModules, module_names
from graphattn.running.arguments import check_dropout


class HeteroGraphAttention(Module):
    r"""Multi-head attention over typed nodes and edges, as in the Heterogeneous Graph Transformer (Hu et al. 2020, eq. 3-4).

    .. math::
        x'_i = \sum_r \sum_{j \to i \in r} \alpha_{ij} (M_r W_v x_j + E_r e_{ij}), \quad
        \alpha_i = \mathrm{normalizer}_{j, r}\; \big(s(W_q x_i,\; A_r W_k x_j) + (W_q x_i)^\top E_r e_{ij}\big) c + b_r

    W_q, W_k, W_v belong to the type of their node, A_r, M_r (a matrix for each head), b_r (a number for each head) and E_r to
    the type r of the edge; c is the scale. The weights of a node sum to 1 over all its edges, whatever their types. In HGT the
    score of a relation is also multiplied by a number: here it is part of A_r. HGT's GELU, its last map and its gated skip
    connection are left to the model (`project_out` gives the map).

    Args:
        in_channels: Size of the node features of every type, or of each type; -1 finds it out lazily.
        out_channels: Size of each head's result.
        metadata: Types of nodes and of edges, as `HeteroData.metadata()` gives them; they may have any names.
        heads: Number of attention heads.
        concat: Join the heads to [heads * out_channels] (default), or take their mean [out_channels].
        kv_heads: Number of key and value heads, a divisor of `heads` (default: `heads`).
        score: 'dot', 'cosine', 'gaussian', or a torch.nn.Module or function (query, key) -> scores, as in `attend`.
        normalizer: As in `attend`.
        edge_dim: Size of the edge features of some types of edges, {edge type: size}, or one size for all of them.
        relation_maps: Whether types of edges have A_r and M_r.
        relation_bias: Whether types of edges have b_r.
        dropout: Probability of dropping an attention weight in training.
        scale: c; None means 1 / sqrt(out_channels) for 'dot', 1 for all others.
        bias: Whether the projections of the nodes learn an offset.
        project_out: Add a last linear map for each type of node.
        kernel: Name of the kernel to use instead of the fastest.

    Shapes:
        - x_dict: {node type: [num_nodes, in_channels]}, or pairs ([num_sources, ...], [num_targets, ...]) where the targets of
          a type are not all of its sources (blocks of a NeighborLoader)
        - graph_dict: {edge type: a Graph, edge_index [2, num_edges] or anything `as_graph` takes}; types may be missing
        - edge_attr_dict: {edge type: [num_edges, edge_dim]}, in the order of the edges
        - output: {node type: [num_targets, heads * out_channels]} for each type that some type of edges leads to

    A type alone (one complete graph, one band) keeps the kernels of its graph; several become one list of edges.

    Example:
        >>> import torch
        >>> from graphattn.nn import HeteroGraphAttention
        >>> metadata = ["author", "paper"], [("author", "writes", "paper"), ("paper", "cites", "paper")]
        >>> layer = HeteroGraphAttention({"author": 5, "paper": 8}, 4, metadata, heads=2)
        >>> x = {"author": torch.randn(3, 5), "paper": torch.randn(4, 8)}
        >>> edges = {metadata[1][0]: torch.tensor([[0, 2], [1, 3]]), metadata[1][1]: torch.tensor([[0, 1], [1, 2]])}
        >>> {kind: tuple(out.shape) for kind, out in layer(x, edges).items()}
        {'paper': (4, 8)}
    """

    def __init__(
        self,
        in_channels: int | dict[NodeType, int],
        out_channels: int,
        metadata: Metadata,
        heads: int = 1,
        concat: bool = True,
        *,
        kv_heads: int | None = None,
        score: str | Callable[[Tensor, Tensor], Tensor] = "dot",
        normalizer: str | Normalizer | Callable[[Tensor], Tensor] = "softmax",
        edge_dim: int | dict[EdgeType, int] | None = None,
        relation_maps: bool = True,
        relation_bias: bool = True,
        dropout: float = 0.0,
        scale: float | None = None,
        bias: bool = True,
        project_out: bool = False,
        kernel: str | None = None,
    ):
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        for size in edge_dim.values() if isinstance(edge_dim, dict) else [edge_dim]:
            check_sizes(out_channels, heads, kv_heads, size)
        self.node_types, self.edge_types = types_of(metadata)
        check_metadata(self.node_types, self.edge_types, in_channels, edge_dim)
        self.out_channels, self.heads, self.kv_heads, self.concat = out_channels, heads, kv_heads, concat
        self.score, self.normalizer = score, as_normalizer(normalizer)
        as_score(score)
        self.dropout, self.scale, self.kernel = check_dropout(dropout), scale, kernel
        self.source_types = [
            kind for kind in self.node_types if any(kind == source for source, _, _ in self.edge_types)
        ]
        self.target_types = [
            kind for kind in self.node_types if any(kind == target for _, _, target in self.edge_types)
        ]

        self.names = module_names(self.node_types)

        def linear(width: int, kinds: list[NodeType]) -> HeteroDictLinear:
            sizes = in_channels if isinstance(in_channels, dict) else dict.fromkeys(kinds, in_channels)
            return HeteroDictLinear({self.names[kind]: sizes[kind] for kind in kinds}, width, bias=bias)

        self.lin_query = linear(heads * out_channels, self.target_types)
        self.lin_key = linear(kv_heads * out_channels, self.source_types)
        self.lin_value = linear(kv_heads * out_channels, self.source_types)
        sizes = edge_dim if isinstance(edge_dim, dict) else dict.fromkeys(self.edge_types, edge_dim)
        self.relations = TypedModules(
            {
                kind: Relation(heads, kv_heads, out_channels, sizes.get(kind), relation_maps, relation_bias)
                for kind in self.edge_types
            }
        )
        width = heads * out_channels if concat else out_channels
        names = [self.names[kind] for kind in self.target_types]
        self.lin_out = HeteroDictLinear(width, width, names, bias=bias) if project_out else None

    def reset_parameters(self) -> None:
        modules = (self.lin_query, self.lin_key, self.lin_value, self.lin_out, *self.relations.values())
        for module in modules:
            if module is not None:
                module.reset_parameters()

    @overload
    def forward(
        self,
        x_dict: Mapping[NodeType, Tensor | tuple[Tensor, Tensor]],
        graph_dict: Mapping[EdgeType, GraphLike],
        edge_attr_dict: dict[EdgeType, Tensor] | None = None,
        return_attention_weights: Literal[False] | None = None,
    ) -> dict[NodeType, Tensor]: ...

    @overload
    def forward(
        self,
        x_dict: Mapping[NodeType, Tensor | tuple[Tensor, Tensor]],
        graph_dict: Mapping[EdgeType, GraphLike],
        edge_attr_dict: dict[EdgeType, Tensor] | None = None,
        *,
        return_attention_weights: Literal[True],
    ) -> tuple[dict[NodeType, Tensor], dict[EdgeType, tuple[Tensor, Tensor]]]: ...

    @overload
    def forward(
        self,
        x_dict: Mapping[NodeType, Tensor | tuple[Tensor, Tensor]],
        graph_dict: Mapping[EdgeType, GraphLike],
        edge_attr_dict: dict[EdgeType, Tensor] | None = None,
        return_attention_weights: bool | None = None,
    ) -> dict[NodeType, Tensor] | tuple[dict[NodeType, Tensor], dict[EdgeType, tuple[Tensor, Tensor]]]: ...

    def forward(
        self,
        x_dict: Mapping[NodeType, Tensor | tuple[Tensor, Tensor]],
        graph_dict: Mapping[EdgeType, GraphLike],
        edge_attr_dict: dict[EdgeType, Tensor] | None = None,
        return_attention_weights: bool | None = None,
    ) -> dict[NodeType, Tensor] | tuple[dict[NodeType, Tensor], dict[EdgeType, tuple[Tensor, Tensor]]]:
        """Attention for each type of target; with `return_attention_weights=True` also {edge type: (edge_index, weights)}."""
        sources = {kind: x if isinstance(x, Tensor) else x[0] for kind, x in x_dict.items()}
        targets = {kind: x if isinstance(x, Tensor) else x[1] for kind, x in x_dict.items()}
        features = edge_attr_dict or {}
        graphs = self.check(sources, targets, graph_dict, features)
        query = self.project(self.lin_query, {kind: targets[kind] for kind in self.target_types if kind in targets})
        used = {kind: sources[kind] for kind in self.source_types if any(kind == source for source, _, _ in graphs)}
        key, value = self.project(self.lin_key, used), self.project(self.lin_value, used)
        out: dict[NodeType, Tensor] = {}
        weights: dict[EdgeType, tuple[Tensor, Tensor]] = {}
        for kind, at_kind in query.items():
            links = {
                edges: Link(self.relations[edges], key[edges[0]], value[edges[0]], graphs[edges], features.get(edges))
                for edges in self.edge_types
                if edges in graphs and edges[-1] == kind
            }
            result, of_kind = self.attend(at_kind, links, bool(return_attention_weights))
            out[kind] = result.flatten(1) if self.concat else result.mean(1)
            weights |= of_kind
        out = out if self.lin_out is None else self.linear(self.lin_out, out)
        return (out, weights) if return_attention_weights else out

    if TYPE_CHECKING:
        __call__ = forward

    def attend(
        self, query: Tensor, links: dict[EdgeType, Link], wants_weights: bool
    ) -> tuple[Tensor, dict[EdgeType, tuple[Tensor, Tensor]]]:
        """[num_targets, heads, out_channels] of one type of targets; if wanted, (edge_index, weights) of each type of edges."""
        if not links:
            return query.new_zeros(query.shape), {}
        score, dropout = as_score(self.score), self.dropout if self.training else 0.0
        scale = score.default_scale(self.out_channels) if self.scale is None else self.scale
        joint = Joint(query, links, score, scale, self.normalizer)
        if joint.is_watched():
            out = joint.by_messages(dropout)
            return out, joint.by_type(joint.scored().weights()) if wants_weights else {}
        scored = joint.scored()
        out = scored.result(joint.value, dropout, self.kernel)
        return out, joint.by_type(scored.weights()) if wants_weights else {}

    def project(self, linear: HeteroDictLinear, x_dict: dict[NodeType, Tensor]) -> dict[NodeType, Tensor]:
        """[num_nodes, heads or kv_heads, out_channels] of each type."""
        return {kind: x.unflatten(-1, (-1, self.out_channels)) for kind, x in self.linear(linear, x_dict).items()}

    def linear(self, linear: HeteroDictLinear, x_dict: dict[NodeType, Tensor]) -> dict[NodeType, Tensor]:
        """A linear map of each type, whose modules have names of their own."""
        results = linear({self.names[kind]: x for kind, x in x_dict.items()})
        return {kind: results[self.names[kind]] for kind in x_dict}

    def check(
        self,
        sources: dict[NodeType, Tensor],
        targets: dict[NodeType, Tensor],
        graph_dict: Mapping[EdgeType, GraphLike],
        edge_attr_dict: dict[EdgeType, Tensor],
    ) -> dict[EdgeType, Graph]:
        """The graph of each type of edges that is there."""
        for given, known, name in ((sources, self.node_types, "x_dict"), (graph_dict, self.edge_types, "graph_dict")):
            unknown = [kind for kind in given if kind not in known]
            if unknown:
                raise ValueError(f"'{name}' has types that 'metadata' lacks (got {unknown}, known are {known})")
        graphs = {}
        for kind, graph in graph_dict.items():
            missing = [end for end in (kind[0], kind[-1]) if end not in sources]
            if missing:
                raise ValueError(f"edges {kind} need nodes of type {missing[0]!r} (got 'x_dict' of {list(sources)})")
            graphs[kind] = as_graph(graph, targets[kind[-1]].size(0), sources[kind[0]].size(0))
            check_edge_attr(kind, edge_attr_dict.get(kind), self.relations[kind].lin_edge, graphs[kind])
        return graphs

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.out_channels}, heads={self.heads}, node_types={len(self.node_types)},"
            f" edge_types={len(self.edge_types)})"
        )
