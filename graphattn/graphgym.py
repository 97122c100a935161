"""Layers of graphattn in GraphGym: `import graphattn.graphgym`, then name one as `gnn.layer_type` of a configuration.

| layer_type              | layer
|-------------------------|------
| `graphattn`             | GraphAttention over `batch.graph` if there is one, else over `batch.edge_index`
| `graphattn_gat`         | GATConv
| `graphattn_gatv2`       | GATv2Conv
| `graphattn_transformer` | TransformerConv

Sizes and `bias` are those of GraphGym's own layers such as `gatconv`, which use no edge attributes either; further arguments of
the layer (`heads=4, concat=False`) go through GraphGym's `GeneralLayer(name, layer_config, **kwargs)`.
"""

from typing import Any

import torch
from torch_geometric.graphgym.models.layer import LayerConfig
from torch_geometric.graphgym.register import layer_dict, register_layer

from graphattn.graphs import as_graph
from graphattn.nn import GATConv, GATv2Conv, GraphAttention, TransformerConv


class GymLayer(torch.nn.Module):
    """A layer as GraphGym makes and calls it."""

    kind: type[Any]

    def __init__(self, layer_config: LayerConfig, **kwargs: Any):
        super().__init__()
        self.model = self.kind(layer_config.dim_in, layer_config.dim_out, bias=layer_config.has_bias, **kwargs)

    def forward(self, batch: Any) -> Any:
        batch.x = self.model(batch.x, batch.edge_index)
        return batch


class GymAttention(GymLayer):
    kind = GraphAttention

    def forward(self, batch: Any) -> Any:
        graph = as_graph(batch.graph) if "graph" in batch else batch.edge_index
        batch.x = self.model(batch.x, graph)
        return batch


class GymGAT(GymLayer):
    kind = GATConv


class GymGATv2(GymLayer):
    kind = GATv2Conv


class GymTransformer(GymLayer):
    kind = TransformerConv


LAYERS = {
    "graphattn": GymAttention,
    "graphattn_gat": GymGAT,
    "graphattn_gatv2": GymGATv2,
    "graphattn_transformer": GymTransformer,
}
for name, layer in LAYERS.items():
    if name not in layer_dict:  # of a module that was reloaded
        register_layer(name, layer)
