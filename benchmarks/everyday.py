"""What most users train: molecules, Cora, sampled blocks, a tiny graph, sentences; whole models, training and inference.

    python -m benchmarks.everyday                   every row
    python -m benchmarks.everyday --only molecules  some
    python -m benchmarks.everyday --busy            beside a process that keeps two threads busy

Models of PyG's layers (of torch's for sentences) as they are and after `graphattn.accelerate`. Training differentiates by all
weights; dropout, where a model has it, is on while it is timed. A sampled block is new in every call, so that building its
graph counts. Outputs are checked against the same model in float64 first, without dropout. "torch's products alone" are the
products of matrices and the random draws of the peer, repeated by themselves: the peer's time over theirs is the most that any
attention could gain while torch multiplies.
"""

import copy
import multiprocessing
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv, GINEConv, GPSConv, TransformerConv

from benchmarks.accelerate import GPS, InFloat64
from benchmarks.edges import node_tensors
from benchmarks.graphs import random_edges, random_graph
from benchmarks.layers import Padding, spread
from benchmarks.measure import Case, Peer, calls_of
from benchmarks.products import products_of
from benchmarks.report import Report, parser
from graphattn import CompleteGraph, accelerate
from graphattn.nn import EncoderLayer

PRODUCTS = "torch's products alone"
NODES_OF_CORA, CHANNELS_OF_CORA = 2708, 1433
BLOCKS = {"1,024 of 11,000": (1024, 11_000, 10), "10,000 of 60,000": (10_000, 60_000, 15)}  # targets, sources, degree


class Layers(nn.Module):
    """Layers on one graph with edge features, ReLU between them."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, edge_index, edge_attr).relu()
        return x


class GAT(nn.Module):
    """Two layers with dropout before each, as on Cora (Veličković et al. 2018, section 3.3).

    Dropout is a module, as in PyG's own models, so that `accelerate` finds it; torch.nn.functional.dropout takes torch's time.
    """

    def __init__(self, channels: int, classes: int, dropout: float = 0.6):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.first = GATConv(channels, 8, heads=8, dropout=dropout)
        self.second = GATConv(64, classes, dropout=dropout)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.first(self.dropout(x), edge_index)
        return self.second(self.dropout(F.elu(x)), edge_index)


class OnBlock(nn.Module):
    """A layer on a sampled block, whose targets are its first sources; every call has an edge_index of its own."""

    def __init__(self, layer: nn.Module, num_targets: int):
        super().__init__()
        self.layer, self.num_targets = layer, num_targets

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.layer((x, x[: self.num_targets]), edge_index.clone())


def transformers(channels: int, heads: int, edge_dim: int) -> nn.Module:
    return Layers([TransformerConv(channels, channels // heads, heads, edge_dim=edge_dim) for _ in range(4)])


def gatv2s(channels: int, heads: int, edge_dim: int) -> nn.Module:
    return Layers([GATv2Conv(channels, channels // heads, heads, edge_dim=edge_dim) for _ in range(4)])


def gps(channels: int, heads: int, edge_dim: int) -> nn.Module:
    """Messages along the bonds (GINE) and attention between all atoms of a molecule."""

    def block() -> nn.Module:
        mlp = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels))
        return GPSConv(channels, GINEConv(mlp, edge_dim=edge_dim), heads, norm="layer_norm")

    model = GPS(heads, channels // heads, edge_dim)
    model.layers = nn.ModuleList(block() for _ in range(4))
    return model


NETS = {"TransformerConv": transformers, "GATv2": gatv2s, "GPS": gps}


def molecules(count: int) -> tuple[Tensor, Tensor]:
    """(edge_index, batch) of chains of 18 ... 29 atoms with one ring each, bonds in both directions."""
    sizes = spread(count, 18, 29)
    batch = torch.repeat_interleave(torch.arange(count), torch.tensor(sizes))
    atoms = torch.arange(len(batch))
    bonds = torch.stack([atoms[:-1], atoms[1:]])[:, batch[:-1] == batch[1:]]
    first = torch.tensor([0, *sizes[:-1]]).cumsum(0)
    bonds = torch.cat([bonds, torch.stack([first, first + 5])], 1)
    return torch.cat([bonds, bonds.flip(0)], 1), batch


def molecule_case(make: Callable[..., nn.Module], count: int, channels: int, heads: int, edge_dim: int) -> Case:
    torch.manual_seed(0)
    edge_index, batch = molecules(count)
    x, edge_attr = (
        node_tensors(1, size, width)[0] for size, width in ((len(batch), channels), (edge_index.size(1), edge_dim))
    )
    arguments = (edge_index, batch, edge_attr.detach()) if make is gps else (edge_index, edge_attr.detach())
    return model_case(make(channels, heads, edge_dim), x, *arguments)


def cora_case(num_nodes: int, num_edges: int, channels: int, classes: int) -> Case:
    torch.manual_seed(0)
    edge_index = random_graph(num_nodes, num_edges).edge_index()
    return model_case(GAT(channels, classes), node_tensors(1, num_nodes, channels)[0], edge_index)


def block_case(num_targets: int, num_sources: int, degree: int, channels: int, heads: int) -> Case:
    torch.manual_seed(0)
    source = torch.randint(num_sources, (num_targets * degree,))
    edge_index = torch.stack([source, torch.arange(num_targets).repeat_interleave(degree)])
    edge_index = edge_index[:, torch.randperm(edge_index.size(1))]
    model = OnBlock(TransformerConv(channels, channels // heads, heads), num_targets)
    return model_case(model, node_tensors(1, num_sources, channels)[0], edge_index, num_rows=num_targets)


def tiny_case(num_nodes: int, num_edges: int, channels: int, heads: int) -> Case:
    torch.manual_seed(0)
    edge_index = random_edges(num_nodes, num_edges).edge_index()
    model = TransformerConv(channels, 8, heads)
    return model_case(model, node_tensors(1, num_nodes, channels)[0], edge_index)


def model_case(model: nn.Module, x: Tensor, *arguments: Tensor, num_rows: int | None = None) -> Case:
    """The accelerated model beside the given one, with the same weights, by which training differentiates."""
    fast = copy.deepcopy(model)
    accelerate(fast)
    nets = {"accelerated": fast, "PyG": model}
    return with_products(case_of(nets, InFloat64(model.eval(), *arguments), x, num_rows or x.size(0), arguments))


def case_of(nets: dict[str, nn.Module], expected: Callable, x: Tensor, num_rows: int, arguments: tuple = ()) -> Case:
    """Models without dropout until they are timed in training."""

    def ready(pass_: str) -> None:
        for net in nets.values():
            net.train(pass_ != "forward")

    def peer(net: nn.Module) -> Peer:
        return Peer(lambda x: net(x, *arguments), parameters=tuple(net.eval().parameters()))

    return Case((x.detach(),), {name: peer(net) for name, net in nets.items()}, expected, num_rows, ready=ready)


def with_products(case: Case) -> Case:
    """The same, timed beside the products of its last peer, which runs on torch alone."""
    peer = list(case.peers)[-1]
    return case._replace(beside=lambda pass_: {PRODUCTS: products_of(calls_of(case, pass_)[peer])})


class BySentence(nn.Module):
    """torch's block on one sentence after the other, laid end to end."""

    def __init__(self, block: nn.Module, lengths: list[int]):
        super().__init__()
        self.block, self.lengths = block, lengths

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.block(sentence[None])[0] for sentence in x.split(self.lengths)])


def sentence_case(count: int, shortest: int, longest: int, channels: int, heads: int) -> Case:
    """A Transformer block on sentences laid end to end, beside torch's on padded ones, which it is given padded."""
    torch.manual_seed(0)
    lengths = spread(count, shortest, longest)
    graph, padding = CompleteGraph(lengths), Padding(lengths)
    block = nn.TransformerEncoderLayer(channels, heads, 4 * channels, dropout=0.1, batch_first=True).eval()
    own = EncoderLayer.from_torch(block)
    blocks = {"EncoderLayer": own, "nn.TransformerEncoderLayer, padded": block}
    case = case_of(
        blocks, InFloat64(BySentence(block, lengths)), node_tensors(1, sum(lengths), channels)[0], sum(lengths)
    )
    calls = (lambda x: own(x, graph)), (lambda x: block(x, src_key_padding_mask=~padding.is_word))
    layouts = {}, {"own": padding.pad, "common": padding.unpad}
    peers = {
        name: peer._replace(call=call, **layout)
        for (name, peer), call, layout in zip(case.peers.items(), calls, layouts)
    }
    return with_products(case._replace(peers=peers))


@contextmanager
def busy(threads: int) -> Iterator[None]:
    """Beside a process that keeps so many threads busy with products of matrices."""
    process = multiprocessing.get_context("spawn").Process(target=multiply, args=(threads,), daemon=True)
    process.start()
    time.sleep(5)  # until it has loaded torch
    try:
        yield
    finally:
        process.terminate()
        process.join()


def multiply(threads: int) -> None:
    torch.set_num_threads(threads)
    x = torch.randn(1024, 1024)
    while True:
        x @ x


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    sizes = {"molecules": 128, "cora": 2708, "classes": 7, "sentences": 64, "channels": 64, "heads": 4, "edge-dim": 16}
    for name, size in sizes.items():
        options.add_argument(f"--{name}", type=int, default=size, help=f"default {size}")
    options.add_argument("--busy", action="store_true", help="beside a process with two busy threads")
    options = options.parse_args(arguments)
    report = Report("everyday", options)
    with busy(threads=2) if options.busy else nullcontext():
        run(report, options)
    report.save()
    from benchmarks.ratios import draw_ratios

    name = "everyday_busy" if options.busy else "everyday"
    title = "Models of PyG after accelerate, and a block of torch's"
    draw_ratios(report.rows, options.out / f"{name}.png", PRODUCTS, title)


def run(report: Report, options: Namespace) -> None:
    channels, heads = options.channels, options.heads
    for name, make in NETS.items():
        sizes = options.molecules, channels, heads, options.edge_dim
        report.run(f"{options.molecules} molecules, {name}, 4 layers", molecule_case, make, *sizes)
    features = round(CHANNELS_OF_CORA * options.cora / NODES_OF_CORA)
    report.run(
        f"{options.cora} nodes, GAT, 2 layers", cora_case, options.cora, 4 * options.cora, features, options.classes
    )
    for name, sizes in BLOCKS.items():
        sizes = [round(size * options.cora / NODES_OF_CORA) for size in sizes[:2]] + [sizes[2]]
        report.run(f"a new block, {name}, TransformerConv", block_case, *sizes, channels, heads)
    report.run("34 nodes, 156 edges, TransformerConv", tiny_case, 34, 156, 34, heads)
    report.run(
        f"{options.sentences} sentences of 10 ... 30 words",
        sentence_case,
        options.sentences,
        10,
        30,
        4 * channels,
        heads,
    )


if __name__ == "__main__":
    main()
