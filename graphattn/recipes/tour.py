"""A tour: one attention layer on sentences, sounds, images, molecules and a social network. Only the graph differs.

A graph says who attends to whom: a sentence is a complete graph over its words (or a causal one: each word sees those
before it), a sound a band over its frames, an image a grid of patches, a molecule its bonds, a network its friendships.
The model is the same for all of them: embed -> 2 x [x + GraphAttention(norm(x)), x + feed-forward] -> class.

There is no published figure for the made-up sets, whose labels single nodes do not give away; each row is measured
against always answering the majority class. For the karate club there is one: Zachary (1977) finds the half of 33 of
the 34 members by a minimum cut between the two leaders. Here the leaders' labels are all that is known in training.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import networkx
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import global_mean_pool
from torch_geometric.seed import seed_everything
from tqdm import tqdm

from graphattn import Graph, as_graph, choose_kernel
from graphattn.datasets import Digits, ToyMolecules, ToySentences, ToySounds
from graphattn.inputs import from_network
from graphattn.nn import GraphAttention
from graphattn.nn.positions import SinusoidalPositions
from graphattn.transforms import Banded, Causal, Complete, Grid
from graphattn.viz import Page, draw_mask, explore, join_pages

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHANNELS, HEADS = 32, 4
ELEMENTS = ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I", "?")


# The five inputs: each yields training and test data with x, graph and y, some with pos and edge_attr -----------------


class Stop(NamedTuple):
    """One stop of the tour."""

    train: list[Data]
    test: list[Data]
    epochs: int
    num_words: int = 0  # size of the vocabulary where x are words
    step: float | None = 1.0  # from one position to the next, in the unit of pos; None: the nodes have no place
    labels: Callable[[Data], list[str]] | None = None  # names of the nodes, for the picture


def sentences(transform: Callable) -> Stop:
    train, test = (ToySentences(split, transform=transform) for split in ("train", "test"))
    return Stop(list(train), list(test), 30, num_words=len(train.vocabulary), labels=lambda data: data.tokens)


def sounds() -> Stop:
    train, test = (
        ToySounds(split, transform=Banded(before=8, after=8), keep_waveform=True) for split in ("train", "test")
    )
    return Stop(list(train), list(test), 20, step=0.01)  # a frame every 10 ms


def digits() -> Stop:
    train, test = (Digits(split, patch=2, transform=Grid(before=1)) for split in ("train", "test"))
    return Stop(list(train), list(test), 40)


def molecules() -> Stop:
    train, test = (list(ToyMolecules(split)) for split in ("train", "test"))
    test.sort(key=lambda data: abs(data.num_nodes - 13))  # the first one is drawn: aspirin and the like
    return Stop(train, test, 40, step=None, labels=lambda data: [ELEMENTS[atom] for atom in data.x.argmax(1)])


def karate_club() -> Stop:
    club = networkx.karate_club_graph()
    data = from_network(club, features="identity", node_features=(), edge_features=())
    data.y = torch.tensor([int(club.nodes[member]["club"] == "Officer") for member in club])
    data.train_mask = torch.zeros(len(club), dtype=torch.bool)
    data.train_mask[[0, 33]] = True  # only the two leaders say where they belong
    data.test_mask = ~data.train_mask
    return Stop([data], [data], 60, step=None)


STOPS = {  # (input, graph): what makes it
    ("sentences", "complete"): lambda: sentences(Complete()),
    ("sentences", "causal"): lambda: sentences(Causal()),
    ("sounds", "banded"): sounds,
    ("digits", "grid"): digits,
    ("molecules", "bonds"): molecules,
    ("karate club", "friendships"): karate_club,
}


# The model -----------------------------------------------------------------------------------------------------------


class Layer(nn.Module):
    """x + attention, then x + feed-forward, normalised before (Xiong et al. 2020)."""

    def __init__(self, edge_dim: int | None):
        super().__init__()
        self.attention = GraphAttention(CHANNELS, CHANNELS // HEADS, HEADS, edge_dim=edge_dim)
        self.attention_norm, self.norm = nn.LayerNorm(CHANNELS), nn.LayerNorm(CHANNELS)
        wide = 2 * CHANNELS
        self.feed_forward = nn.Sequential(nn.Linear(CHANNELS, wide), nn.GELU(), nn.Linear(wide, CHANNELS))

    def forward(self, x: Tensor, graph: Graph, edge_attr: Tensor | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), graph, edge_attr)
        return x + self.feed_forward(self.norm(x))


class Model(nn.Module):
    """Any input -> one score per class, for each example (mean of its nodes) or, for one network, for each node."""

    def __init__(self, stop: Stop):
        super().__init__()
        example, words = stop.train[0], stop.num_words
        edge_dim = None if example.edge_attr is None else example.edge_attr.size(1)
        self.embed = nn.Embedding(words, CHANNELS) if words else nn.Linear(example.x.size(1), CHANNELS)
        self.step, self.positions = stop.step, SinusoidalPositions(CHANNELS, max_period=100)
        self.layers = nn.ModuleList([Layer(edge_dim), Layer(edge_dim)])
        self.by_node = "train_mask" in example
        self.head = nn.Linear(CHANNELS, 1 + max(int(data.y.max()) for data in stop.train))

    def start(self, batch: Batch) -> tuple[Tensor, Graph, Tensor | None]:
        """Embedded nodes, the graph of the whole batch, and the features of its edges."""
        x = self.embed(batch.x)
        if self.step is not None:
            x = x + self.positions(batch.pos / self.step)
        return x, as_graph(batch.graph), batch.edge_attr

    def forward(self, batch: Batch) -> Tensor:
        x, graph, edge_attr = self.start(batch)
        for layer in self.layers:
            x = layer(x, graph, edge_attr)
        return self.head(x if self.by_node else global_mean_pool(x, batch.batch, batch.num_graphs))

    def attention(self, data: Data) -> Tensor:
        """Weights of the first layer, mean of the heads: [num_edges]."""
        x, graph, edge_attr = self.start(Batch.from_data_list([data]))
        layer = cast(Layer, self.layers[0])
        _, (_, weights) = layer.attention(layer.attention_norm(x), graph, edge_attr, True)
        return weights.mean(1)


# Training ------------------------------------------------------------------------------------------------------------


def select(values: Tensor, batch: Batch, split: str) -> Tensor:
    """The nodes of the split where one network holds both, else all."""
    return values[batch[f"{split}_mask"]] if f"{split}_mask" in batch else values


def train(model: Model, stop: Stop, epochs: int, name: str) -> float:
    """Seconds per epoch."""
    loader = DataLoader(stop.train, batch_size=32, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * len(loader))
    start = time.perf_counter()
    for _ in tqdm(range(epochs), desc=name, leave=False, disable=None):
        for batch in loader:
            loss = F.cross_entropy(select(model(batch), batch, "train"), select(batch.y, batch, "train"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return (time.perf_counter() - start) / epochs


@torch.no_grad()
def evaluate(model: Model, stop: Stop) -> tuple[float, float]:
    """Accuracy and the share of the majority class on the test set, in per cent."""
    batch = Batch.from_data_list(stop.test)
    predicted, labels = select(model(batch).argmax(1), batch, "test"), select(batch.y, batch, "test")
    return 100 * float((predicted == labels).float().mean()), 100 * float(labels.bincount().max()) / len(labels)


def kernel_of(model: Model, stop: Stop) -> str:
    """The kernel that runs a batch of this input."""
    _, graph, edge_attr = model.start(Batch.from_data_list(stop.train[:32]))
    query = torch.zeros(graph.num_queries, HEADS, CHANNELS // HEADS)
    if edge_attr is None:
        return choose_kernel(graph, query).kernel
    edge_query = torch.zeros(graph.num_queries, HEADS, edge_attr.size(1))
    return choose_kernel(graph, query, edge_features=edge_attr, edge_query=edge_query).kernel


@torch.no_grad()
def draw(axis: "Axes", model: Model, stop: Stop, title: str) -> None:
    """One test example: its mask in light grey, the learned attention on top."""
    data = stop.test[0]
    labels = None if stop.labels is None else stop.labels(data)
    draw_mask(data.graph, model.attention(data), labels=labels, colour_bar=False, title=title, ax=axis)
    if labels is None:
        axis.set_xlabel("attends to node")
        axis.set_ylabel("node")


def run_tour(
    epochs: float = 1.0, seed: int = 0, picture: str | Path | None = None, page: str | Path | None = None
) -> dict[tuple[str, str], float]:
    """Trains and tests every stop, prints the table, draws the picture; returns the accuracies in per cent.

    Args:
        epochs: Factor of the number of epochs of every stop.
        seed: Of every stop.
        picture: Where it is drawn; None, or without matplotlib: nowhere.
        page: Where a page to explore the attention in a browser is written; None: nowhere.
    """
    start, found = time.perf_counter(), {}
    pages: list[Page] = []
    axes = make_axes() if picture is not None else None
    print("input        graph          nodes    edges kernel     accuracy majority  s/epoch")
    for number, ((name, graph), make) in enumerate(STOPS.items()):
        seed_everything(seed)
        try:
            stop = make()
        except ImportError as error:  # molecules need RDKit, digits scikit-learn
            print(f"{name:12} {graph:12} {error}")
            if axes is not None:
                axes[number].set_title(f"{name}: {error}", fontsize=8, wrap=True)
            continue
        model = Model(stop)
        seconds = train(model, stop, max(1, round(epochs * stop.epochs)), name)
        accuracy, majority = evaluate(model, stop)
        nodes, edges = (sum(sizes) for sizes in zip(*((data.num_nodes, data.graph.num_edges) for data in stop.train)))
        print(
            f"{name:12} {graph:12} {nodes:7} {edges:8} {kernel_of(model, stop):10} {accuracy:7.1f}% {majority:7.1f}%"
            f" {seconds:8.2f}",
            flush=True,
        )
        if axes is not None:
            draw(axes[number], model, stop, f"{name} ({graph})")
        if page is not None:
            pages.append(explore(model, {f"{name}, {graph}": stop.test[0]}))
        found[name, graph] = accuracy
    print(
        "nodes and edges of the training set, kernel of a batch of it, accuracy on the test set;"
        f" {time.perf_counter() - start:.0f} seconds in all"
    )
    if axes is not None and picture is not None:
        save_picture(axes, Path(picture))
    if page is not None:
        join_pages(pages, "graphattn: one layer, five kinds of input", page)
    return found


def make_axes() -> "list[Axes] | None":
    """Of six pictures; None, and a line that says so, without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        print(f"no picture is drawn ({error}); pip install 'graphattn[viz]'")
        return None
    figure = Figure(figsize=(15, 10), layout="constrained")
    figure.suptitle(
        "Who may attend to whom (light grey), learned attention of the first layer (colour); rows attend to columns"
    )
    return list(figure.subplots(2, 3).flat)


def save_picture(axes: "list[Axes]", path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    axes[0].get_figure(root=True).savefig(path, dpi=110)  # type: ignore[union-attr]
    print(f"masks and attention: {path}")
