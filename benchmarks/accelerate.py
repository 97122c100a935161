"""Models of PyG's layers as they are and after graphattn.accelerate: the training step, forward and backward.

    python -m benchmarks.accelerate                 a random graph of 10k nodes and 500k edges
    python -m benchmarks.accelerate --only GAT      one model

A TransformerConv net of three layers, a GAT and a GATv2 of two, and two GPS layers with edge features on a batch of graphs.
Everything is counted that a user pays for: projections, self loops, norms, the gradients of all weights. The graph's sorted
form is made in the first call and kept, as in training on one graph. Outputs and gradients are checked against PyG's model in
float64 first.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv, GPSConv, Sequential, TransformerConv

from benchmarks.edges import node_tensors
from benchmarks.graphs import random_graph
from benchmarks.measure import Case, Peer
from benchmarks.report import Report, parser
from graphattn import accelerate, batch_graphs


def of_layers(first: Callable[[], nn.Module], *others: Callable[[], nn.Module]) -> nn.Module:
    """Layers on one edge_index with ReLU between them."""
    steps = [(first(), "x, edge_index -> x")]
    for layer in others:
        steps += [nn.ReLU(), (layer(), "x, edge_index -> x")]
    return Sequential("x, edge_index", steps)


def transformer_net(channels: int, heads: int, dim: int) -> nn.Module:
    width = heads * dim
    return of_layers(
        lambda: TransformerConv(channels, dim, heads, beta=True),
        lambda: TransformerConv(width, dim, heads, beta=True),
        lambda: TransformerConv(width, dim, heads, concat=False, beta=True),
    )


def gat_net(channels: int, heads: int, dim: int) -> nn.Module:
    return of_layers(lambda: GATConv(channels, dim, heads), lambda: GATConv(heads * dim, dim, heads, concat=False))


def gatv2_net(channels: int, heads: int, dim: int) -> nn.Module:
    return of_layers(lambda: GATv2Conv(channels, dim, heads), lambda: GATv2Conv(heads * dim, dim, heads, concat=False))


NETS = {"TransformerConv net, 3 layers": transformer_net, "GAT, 2 layers": gat_net, "GATv2, 2 layers": gatv2_net}


class GPS(nn.Module):
    """Two GPS layers: TransformerConv with edge features, and attention inside each graph of the batch."""

    def __init__(self, heads: int, dim: int, edge_dim: int):
        super().__init__()
        width = heads * dim
        self.layers = nn.ModuleList(
            GPSConv(width, TransformerConv(width, dim, heads, edge_dim=edge_dim), heads, norm="layer_norm")
            for _ in range(2)
        )

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, edge_attr: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, edge_index, batch, edge_attr=edge_attr)
        return x


class InFloat64:
    """PyG's model in float64: the whole output once for given inputs, its rows one by one."""

    def __init__(self, model: nn.Module, *arguments: Tensor):
        self.model, self.arguments = copy.deepcopy(model).double(), arguments
        self.inputs, self.out = (), None

    def __call__(self, row: int, *inputs: Tensor) -> Tensor:
        if tuple(map(id, self.inputs)) != tuple(map(id, inputs)):
            self.inputs = inputs
            arguments = (x.double() if x.is_floating_point() else x for x in self.arguments)
            self.out = self.model(*inputs, *arguments)
        return self.out[row]


def case_of(model: nn.Module, x: Tensor, *arguments: Tensor) -> Case:
    """The accelerated model beside the given one, with the same weights."""
    fast = copy.deepcopy(model)
    accelerate(fast)
    peers = {
        name: Peer(lambda x, net=net: net(x, *arguments), parameters=tuple(net.parameters()))
        for name, net in {"accelerated": fast, "PyG": model}.items()
    }
    return Case((x,), peers, InFloat64(model, *arguments), x.size(0))


def net_case(name: str, num_nodes: int, num_edges: int, channels: int, heads: int, dim: int) -> Case:
    """One of NETS on a random graph."""
    torch.manual_seed(0)
    edge_index = random_graph(num_nodes, num_edges).edge_index().clone()
    return case_of(NETS[name](channels, heads, dim), node_tensors(1, num_nodes, channels)[0], edge_index)


def gps_case(num_graphs: int, num_nodes: int, num_edges: int, heads: int, dim: int, edge_dim: int) -> Case:
    """GPS on `num_graphs` random graphs, half to one and a half times the mean size, `num_nodes` and `num_edges` in all."""
    torch.manual_seed(0)
    shares = torch.linspace(0.5, 1.5, num_graphs) / num_graphs
    sizes = [(max(round(num_nodes * share), 2), max(round(num_edges * share), 1)) for share in shares.tolist()]
    graph = batch_graphs([random_graph(*size) for size in sizes])
    batch = graph.batch()
    x = node_tensors(1, graph.num_queries, heads * dim)[0]
    edge_attr = node_tensors(1, graph.num_edges, edge_dim)[0].detach()
    return case_of(GPS(heads, dim, edge_dim), x, graph.edge_index().clone(), batch, edge_attr)


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    sizes = {"nodes": 10_000, "edges": 500_000, "channels": 128, "heads": 8, "dim": 16, "edge-dim": 16, "graphs": 40}
    for name, size in sizes.items():
        options.add_argument(f"--{name}", type=int, default=size, help=f"default {size}")
    options = options.parse_args(arguments)
    report = Report("accelerate", options)
    training = ("forward + backward",)
    for name in NETS:
        sizes = options.nodes, options.edges, options.channels, options.heads, options.dim
        report.run(name, net_case, name, *sizes, passes=training)
    sizes = options.graphs, options.nodes, options.edges, options.heads, options.dim, options.edge_dim
    report.run("GPS, 2 layers, edge features", gps_case, *sizes, passes=training)
    report.save()


if __name__ == "__main__":
    main()
