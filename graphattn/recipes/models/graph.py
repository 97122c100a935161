"""Graphs in, scores of classes out."""

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import global_max_pool, global_mean_pool

from graphattn.graphs import Graph
from graphattn.nn import Dropout, GraphAttention
from graphattn.nn.positions import LearnedPositions
from graphattn.recipes.batches import graph_of
from graphattn.recipes.models.dtype import as_weights


class GraphBlock(nn.Module):
    """x + attention, then x + feed-forward, normalised before."""

    def __init__(self, channels: int, heads: int, attention_dropout: float, edge_dim: int | None):
        super().__init__()
        self.attention_norm, self.norm = nn.BatchNorm1d(channels), nn.BatchNorm1d(channels)
        self.attention = GraphAttention(
            channels, channels // heads, heads, edge_dim=edge_dim, dropout=attention_dropout, project_out=True
        )
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.ReLU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: Tensor, graph: Graph, edge_attr: Tensor | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), graph, edge_attr)
        return x + self.feed_forward(self.norm(x))


class GraphClassifier(nn.Module):
    """Scores of the classes for every graph of a batch.

    Attention is the only way between nodes; mean and maximum of the nodes after every layer say what the graph is (jumping
    knowledge, Xu et al. 2018).

    Args:
        in_channels: Features of a node.
        num_classes: Columns of the result.
        channels, heads, layers: Of the blocks.
        dropout: In the classifier alone: noise in the nodes would raise the maxima that it is trained on.
        edge_dim: Features of an edge.
        grid: The sides, if all graphs are the nodes of one grid; each node then keeps its own weights in the classifier.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int = 32,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.5,
        attention_dropout: float = 0.0,
        edge_dim: int | None = None,
        grid: tuple[int, int] | None = None,
    ):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(in_channels, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.positions = None if grid is None else LearnedPositions(grid, channels)
        self.blocks = nn.ModuleList(GraphBlock(channels, heads, attention_dropout, edge_dim) for _ in range(layers))
        width = channels * (2 * (layers + 1) if grid is None else grid[0] * grid[1])
        self.classify = nn.Sequential(
            nn.BatchNorm1d(width),
            Dropout(dropout),
            nn.Linear(width, channels),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(channels, num_classes),
        )

    def forward(self, data: Data) -> Tensor:
        graph = graph_of(data)
        states = [self.embed(as_weights(self, data.x))]
        edge_attr = as_weights(self, data.edge_attr)
        if self.positions is not None:
            states = [states[0] + self.positions(data.pos)]
        for block in self.blocks:
            states.append(block(states[-1], graph, edge_attr))
        return self.classify(self.read_out(states, graph))

    def read_out(self, states: list[Tensor], graph: Graph) -> Tensor:
        """What the classifier sees of each graph, [num_graphs, width]."""
        if self.positions is not None:  # the same nodes in every graph: each keeps its own weights in the classifier
            return states[-1].view(graph.num_examples, -1)
        x, batch = torch.cat(states, -1), graph.batch(states[-1].device)
        return torch.cat([pool(x, batch, graph.num_examples) for pool in (global_mean_pool, global_max_pool)], -1)
