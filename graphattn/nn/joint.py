"""Joint: attention of one type of targets over the sources of all types of edges that lead to it."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.typing import EdgeType

from graphattn.formulas.normalizers import Normalizer
from graphattn.formulas.scores import Score
from graphattn.graphs import Graph
from graphattn.graphs.beside import beside
from graphattn.kernels.plain.edges_torch import weights_by_degree
from graphattn.nn.edge_terms import edge_query
from graphattn.nn.messages import is_watched
from graphattn.nn.relation import Relation, mapped
from graphattn.nn.scored import Scored


class Link(NamedTuple):
    """One type of edges, and the nodes they come from."""

    relation: Relation
    key: Tensor  # [num_sources, kv_heads, out_channels], before the map of the relation
    value: Tensor
    graph: Graph
    edge_attr: Tensor | None  # [num_edges, edge_dim]


class Joint:
    """All types of edges to one type of targets, their sources laid end to end and their weights of one sum.

    Args:
        query: [num_targets, heads, out_channels].
        links: By type of edges; at least one.
        score: Scores a query and a mapped key.
        scale: Factor of the score.
        normalizer: Of the scores of a target, whatever the types of its edges.
    """

    def __init__(self, query: Tensor, links: dict[EdgeType, Link], score: Score, scale: float, normalizer: Normalizer):
        self.kinds, self.links = list(links), list(links.values())
        self.graphs = [link.graph for link in self.links]
        self.edge_attr = [None if link.edge_attr is None else link.edge_attr.to(query.dtype) for link in self.links]
        self.num_targets, self.out_channels = query.size(0), query.size(2)
        self.value = torch.cat([mapped(link.value, link.relation.value_map) for link in self.links])
        key = torch.cat([mapped(link.key, link.relation.key_map) for link in self.links])
        self.query, self.key, self.score = score.reduce(query, key)
        self.scale, self.normalizer = scale, normalizer

    def is_watched(self) -> bool:
        return any(is_watched(link.relation) for link in self.links)

    def scored(self) -> Scored:
        """All edges as those of one graph."""
        options = {"scale": self.scale, "score": self.score, "normalizer": self.normalizer}
        features, weight = self.features(), None
        if features is not None:
            weight = self.edge_weight()
            options["edge_query"] = edge_query(self.query[..., : self.out_channels], weight)
        graph = beside(self.graphs, self.query.device)
        return Scored(self.query, self.key, graph, features, weight, self.bias(), options)

    def by_type(self, weights: Tensor) -> dict[EdgeType, tuple[Tensor, Tensor]]:
        """(edge_index, weights [num_edges, heads]) of each type, from the weights of all edges."""
        edges = [graph.edge_index(weights.device) for graph in self.graphs]
        return dict(zip(self.kinds, zip(edges, weights.split([pair.size(1) for pair in edges]))))

    def bias(self) -> Tensor | None:
        """b of each edge: [num_edges, heads]."""
        biases = [link.relation.bias for link in self.links if link.relation.bias is not None]
        if len(biases) < len(self.links):
            return None
        pairs = zip(biases, self.graphs)
        return torch.cat([bias.to(self.query.dtype).expand(graph.num_edges, -1) for bias, graph in pairs])

    def features(self) -> Tensor | None:
        """The features of all edges: those of each type in columns of their own, zeros elsewhere."""
        sizes = [0 if x is None else x.size(1) for x in self.edge_attr]
        if not any(sizes):
            return None
        blocks = []
        for place, (x, graph) in enumerate(zip(self.edge_attr, self.graphs)):
            x = self.query.new_zeros(graph.num_edges, 0) if x is None else x
            blocks.append(torch.nn.functional.pad(x, (sum(sizes[:place]), sum(sizes[place + 1 :]))))
        return torch.cat(blocks)

    def edge_weight(self) -> Tensor:
        """E of all types, in the columns of `features`: [heads, out_channels, edge_dim]."""
        weights = [link.relation.edge_weight() for link in self.links if link.relation.lin_edge is not None]
        return torch.cat(weights, -1).to(self.query.dtype)

    def by_messages(self, dropout: float) -> Tensor:
        """[num_targets, heads, out_channels] by PyG's message passing, for whoever wants to look at the messages of a type."""
        groups = self.query.size(1) // self.key.size(1)
        num_keys = [graph.num_keys for graph in self.graphs]
        keys, values = (x.repeat_interleave(groups, 1).split(num_keys) for x in (self.key, self.value))
        edges = [graph.edge_index(self.query.device) for graph in self.graphs]
        relations = [link.relation for link in self.links]
        scores = [
            relation.scores(self.query, key, pair, edge_attr, self.score, self.scale)
            for relation, key, pair, edge_attr in zip(relations, keys, edges, self.edge_attr)
        ]
        target = torch.cat([pair[1] for pair in edges])
        alpha = weights_by_degree(self.normalizer, torch.cat(scores), target, self.num_targets)
        alphas = torch.nn.functional.dropout(alpha, dropout).split([pair.size(1) for pair in edges])
        messages = zip(relations, values, alphas, edges, self.edge_attr)
        first, *others = (relation(*given, self.num_targets) for relation, *given in messages)
        return sum(others, first)
