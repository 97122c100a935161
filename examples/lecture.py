"""The pictures of docs/lecture: each idea of the self-attention lectures, drawn.

    python -m examples.lecture              # into docs/lecture, less than a minute; nothing to download

The attention in them is learned where that shows more: on toy sentences and on the karate club, as in the tour.
"""

import argparse
import functools
import io
import math
from itertools import pairwise
from pathlib import Path

import matplotlib
import networkx
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.seed import seed_everything

from graphattn import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    Graph,
    GridGraph,
    attention_weights,
    causal,
)
from graphattn.datasets import Digits, ToySounds
from graphattn.explain import attention_of
from graphattn.inputs import from_smiles, from_text
from graphattn.nn import Additive, ALiBi, GraphAttention, RotaryPositions, Seq2Seq, SinusoidalPositions, TopK
from graphattn.nn.equivalences import ConvAttention, path_length, rnn_graph, to_nodes
from graphattn.recipes import tour
from graphattn.viz import (
    draw_graph,
    draw_heads,
    draw_image,
    draw_mask,
    draw_molecule,
    draw_network,
    draw_sound,
    draw_words,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SOURCE = ["ich", "sah", "die", "Säge", "nicht"]
TARGET = ["I", "did", "not", "see", "the", "saw"]


def row(panels: int, width: float = 4.0, height: float = 3.8) -> tuple[plt.Figure, np.ndarray]:
    return plt.subplots(1, panels, figsize=(width * panels, height), layout="constrained")


def draw_inputs() -> plt.Figure:
    """Words, frames, patches, atoms."""
    figure, axes = row(4)
    sentence = from_text("this is a cat that sat on a mat")
    draw_graph(sentence.graph, labels=sentence.tokens, ax=axes[0], title="words: every one sees every one")
    sound = ToySounds("train")[0]
    draw_sound(sound, title="frames: a frame sees those near it", ax=axes[1])
    image = digit_image()
    draw_image(image, GridGraph((4, 4), 1), title="patches: a patch sees those around it", ax=axes[2])
    aspirin = from_smiles("CC(=O)Oc1ccccc1C(=O)O")
    draw_molecule(aspirin, title="atoms: an atom sees those bound to it", ax=axes[3])
    return figure


def digit_image() -> Tensor:
    """A handwritten digit, [8, 8]."""
    return Digits("test")[20].x.view(8, 8)


def draw_outputs() -> plt.Figure:
    figure, axes = row(3)
    cases = {
        "N to N: one for each": CompleteGraph(5, 5),
        "N to 1: one for all": CompleteGraph(1, 5),
        "N to N': as many as the model says": CompleteGraph(3, 5),
    }
    for ax, (title, graph) in zip(axes, cases.items()):
        draw_layered(graph, ax)
        ax.set_title(title, fontsize=11)
    return figure


def draw_layered(graph: Graph, ax: plt.Axes) -> None:
    """Keys below, queries above, a line for each edge."""
    keys, queries = graph.edge_index()
    places = [np.linspace(-1, 1, count + 2)[1:-1] * 2 for count in (graph.num_keys, graph.num_queries)]
    ax.plot([places[0][keys], places[1][queries]], [[0] * len(keys), [1] * len(keys)], color="0.75", linewidth=1)
    for height, (name, place) in enumerate(zip("xo", places)):
        ax.scatter(place, [height] * len(place), s=500, color="#d9e6f2", edgecolors="0.4", zorder=2)
        for number, across in enumerate(place, start=1):
            ax.text(across, height, f"${name}_{number}$", ha="center", va="center")
    ax.set(xlim=(-2, 2), ylim=(-0.3, 1.3))
    ax.axis("off")


def draw_scores() -> plt.Figure:
    """The score of one query with every key of a plane; the gaussian's is never above 0."""
    figure, axes = row(4, 3.6)
    side = torch.linspace(-3, 3, 121)
    key = torch.cartesian_prod(side, side)[:, None].flip(-1)  # [num_keys, 1, 2]: across, up
    query = torch.tensor([[[1.0, 1.0]]])
    additive = Additive(torch.tensor([[1.0, 1.0]]))
    cases = {"dot product": "dot", "additive": additive, "cosine": "cosine", "gaussian": "gaussian"}
    for ax, (title, score) in zip(axes, cases.items()):
        scores = attention_weights(query, key, CompleteGraph(1, len(key)), score=score, normalizer="identity")
        colours, scale = shown_range(scores)
        shown = ax.imshow(scores.view(121, 121), origin="lower", extent=(-3, 3, -3, 3), cmap=colours, norm=scale)
        ax.contour(side, side, scores.view(121, 121), 9, colors="0.3", linewidths=0.5, linestyles="solid")
        ax.annotate("", (1, 1), (0, 0), arrowprops={"arrowstyle": "->", "shrinkA": 0, "shrinkB": 0})
        ax.text(1.1, 1.1, "q")
        ax.set(title=title, xlabel="first number of the key")
        figure.colorbar(shown, ax=ax, shrink=0.7)
    axes[0].set_ylabel("second number of the key")
    return figure


def centred(values: Tensor):
    largest = float(values.abs().max())
    return matplotlib.colors.Normalize(-largest, largest)


def shown_range(scores: Tensor):
    """(colours, scale): from blue over white to red where scores have both signs, from blue to white where none is above 0."""
    if float(scores.max()) > 0:
        return "RdBu_r", centred(scores)
    return "Blues_r", matplotlib.colors.Normalize(float(scores.min()), 0)


def draw_normalizers() -> plt.Figure:
    figure, axes = plt.subplots(2, 3, figsize=(11, 5), sharex=True, layout="constrained")
    scores = torch.linspace(2.5, -1.5, 8)
    query, key = torch.ones(1, 1, 1), scores.view(8, 1, 1)
    cases = {
        "softmax": "softmax",
        "relu": "relu",
        "sigmoid": "sigmoid",
        "sparsemax": "sparsemax",
        "entmax, 1.5": "entmax15",
        "the best 3": TopK(3),
    }
    for ax, (title, normalizer) in zip(axes.flat, cases.items()):
        weights = attention_weights(query, key, CompleteGraph(1, 8), scale=1.0, normalizer=normalizer).flatten()
        ax.bar(range(8), weights, color="tab:orange")
        ax.set_title(f"{title}: sum {float(weights.sum()):.2f}", fontsize=10)
        ax.set_xticks(range(8), [f"{score:.1f}" for score in scores])
    for ax in axes[1]:
        ax.set_xlabel("score of the key")
    for ax in axes[:, 0]:
        ax.set_ylabel("weight")
    return figure


def draw_matrices() -> plt.Figure:
    tokens = ["this", "is", "a", "cat"]
    layer = GraphAttention(6, 6, bias=False)
    x = torch.randn(4, 6)
    with torch.no_grad():
        query, key, value = (2 * linear(x) for linear in (layer.lin_query, layer.lin_key, layer.lin_value))
    scores = query @ key.T / math.sqrt(6)
    weights = scores.softmax(1)
    names = [  # what stands before a matrix, the matrix, its name
        ("", x, "I: the words"),
        ("· $W^q$ =", query, "Q = I $W^q$"),
        ("×", key.T, "$K^T$, K = I $W^k$"),
        ("=", scores, "A = Q$K^T$/√d: scores"),
        ("→", weights, "A' = softmax(A)"),
        ("×", value, "V = I $W^v$"),
        ("=", weights @ value, "O = A' V"),
    ]
    shapes = [matrix.shape[1] for _, matrix, _ in names]
    figure, axes = plt.subplots(1, len(names), figsize=(18, 3.4), width_ratios=shapes, layout="constrained")
    for ax, (sign, matrix, name) in zip(axes, names):
        ax.text(-0.04, 1.06, sign, transform=ax.transAxes, ha="right", va="bottom", fontsize=13)
        if matrix is weights:
            ax.imshow(matrix, cmap="Oranges", vmin=0, vmax=1.5)
        else:
            ax.imshow(matrix, cmap="RdBu_r", norm=centred(matrix))
        if matrix is weights or matrix is scores:
            for place in np.ndindex(4, 4):
                ax.text(*place[::-1], f"{matrix[place]:.2f}", ha="center", va="center", fontsize=9)
        rows, columns = (tokens if side == 4 else [""] * side for side in matrix.shape)
        ax.set_yticks(range(matrix.shape[0]), rows)
        ax.set_xticks(range(matrix.shape[1]), columns, rotation=90)
        ax.tick_params(length=0)
        ax.set_title(name)
    return figure


@torch.no_grad()
def first_layer(model: tour.Model, data) -> Tensor:
    """Weights of all heads, [num_edges, heads]."""
    x, graph, edge_attr = model.start(Batch.from_data_list([data]))
    layer = model.layers[0]
    return layer.attention(layer.attention_norm(x), graph, edge_attr, True)[1][1]


def draw_learned_heads() -> plt.Figure:
    """What four heads learn on sentences whose "not" turns praise into blame."""
    stop = tour.STOPS["sentences", "complete"]()
    model = tour.Model(stop)
    tour.train(model, stop, stop.epochs, "sentences")
    data = next(data for data in stop.test if "not" in data.tokens and data.num_nodes <= 10)
    draw = functools.partial(draw_words, data.tokens, data.graph)
    return draw_heads(first_layer(model, data), draw, size=3.6, title="four heads of one layer: rows look at columns")


def draw_positions() -> plt.Figure:
    figure, axes = row(3, 4.6)
    encoding = SinusoidalPositions(64, max_period=1000)(torch.arange(100))
    shown = axes[0].imshow(encoding.detach(), cmap="RdBu_r", aspect="auto")
    axes[0].set(title="added to the input: sines and cosines", xlabel="channel", ylabel="position")
    figure.colorbar(shown, ax=axes[0], shrink=0.8)
    distance = torch.arange(-60, 61)
    for max_period in (10, 100, 10_000):
        ones = torch.ones(121, 1, 64)
        fit = (RotaryPositions(max_period)(ones, distance) * ones).sum(-1) / 64
        axes[1].plot(distance, fit, label=f"periods up to {max_period:,} · 2π")
    axes[1].set(title="rotary: the fit of equal vectors at a distance", xlabel="distance", ylabel="q · k, turned")
    axes[1].set_ylim(-0.3, 1.4)
    axes[1].legend(fontsize=8)
    slopes = ALiBi(4)(BandedGraph(61, 0, 60, offset=0)).view(-1, 4)[:61]
    axes[2].plot(range(61), slopes.detach(), label=[f"head {head}" for head in range(1, 5)])
    axes[2].set(title="ALiBi: the farther, the lower the score", xlabel="distance", ylabel="added to the score")
    axes[2].legend(fontsize=8)
    return figure


def draw_masks(graphs: dict[str, Graph]) -> plt.Figure:
    figure, axes = row(len(graphs))
    for ax, (title, graph) in zip(axes, graphs.items()):
        draw_mask(graph, title=f"{title}\n{graph.num_edges} edges", ax=ax)
        separate_cells(ax, graph)
    return figure


def separate_cells(ax: plt.Axes, graph: Graph) -> None:
    """White lines between the pairs of nodes."""
    ax.set_xticks(np.arange(graph.num_keys) - 0.5, minor=True)
    ax.set_yticks(np.arange(graph.num_queries) - 0.5, minor=True)
    ax.grid(which="minor", color="white")
    ax.tick_params(which="minor", length=0)


def draw_causal() -> plt.Figure:
    return draw_masks(
        {
            "complete": CompleteGraph(12),
            "causal": causal(12),
            "causal, 3 back": BandedGraph(12, before=3, after=0),
            "causal, 3 back, and the first word": (BandedGraph(12, 3, 0) | GlobalGraph(12, [0])) & causal(12),
        }
    )


def draw_rows() -> plt.Figure:
    """One graph three times: as links, as a mask of which one row is marked, and as the edges of that row."""
    words, chosen = ["the", "cat", "sat", "on", "it"], 3
    graph = BandedGraph(5, before=2, after=0)
    figure, axes = row(3, 4.4, 4.0)
    draw_network(graph, labels=words, ax=axes[0], title="a graph: arrows lead to the word that attends")
    draw_mask(graph, labels=words, ax=axes[1], title=f"the mask: row {chosen} is whom “{words[chosen]}” attends to")
    separate_cells(axes[1], graph)
    axes[1].add_patch(
        plt.Rectangle((-0.5, chosen - 0.5), 5, 1, fill=False, edgecolor="tab:orange", linewidth=3, zorder=4)
    )
    edges = graph.edge_index()
    axes[2].set(title="edge_index: a column for each edge", xlim=(-1.4, edges.size(1)), ylim=(2.2, -1.2))
    for place, (key, query) in enumerate(edges.T.tolist()):
        colour = "tab:orange" if query == chosen else "0.3"
        for height, node in ((0, key), (1, query)):
            axes[2].text(place, height, str(node), ha="center", va="center", color=colour, fontsize=11)
    for height, name in ((0, "[0] key"), (1, "[1] query")):
        axes[2].text(-0.6, height, name, ha="right", va="center", fontsize=10)
    axes[2].axis("off")
    return figure


def draw_truncated() -> plt.Figure:
    """A band, and what it costs."""
    figure, axes = row(3)
    draw_mask(CompleteGraph(100), title="a second of sound: complete\n10,000 edges", ax=axes[0])
    draw_mask(
        BandedGraph(100, 10, 10),
        title=f"10 frames to either side\n{BandedGraph(100, 10, 10).num_edges:,} edges",
        ax=axes[1],
    )
    seconds = [1, 3, 10, 30, 100, 300, 1000, 3600]
    axes[2].loglog(seconds, [CompleteGraph(100 * time).num_edges for time in seconds], "o-", label="complete")
    axes[2].loglog(seconds, [BandedGraph(100 * time, 10, 10).num_edges for time in seconds], "o-", label="band")
    axes[2].set(title="the cost of a longer sound", xlabel="seconds", ylabel="edges")
    axes[2].legend()
    return figure


def draw_receptive_fields() -> plt.Figure:
    figure, axes = row(3)
    image = digit_image()
    cases = {
        "reach 1: 3 x 3": GridGraph((8, 8), 1),
        "reach 2: 5 x 5": GridGraph((8, 8), 2),
        "complete": CompleteGraph(64),
    }
    for ax, (title, graph) in zip(axes, cases.items()):
        draw_image(image, graph, node=8 * 4 + 3, sides=(8, 8), title=title, ax=ax)
    return figure


def draw_convolution() -> plt.Figure:
    """The heads of a convolution, each of which sees one pixel."""
    conv = torch.nn.Conv2d(1, 1, kernel_size=3, padding=1)
    attention = ConvAttention.from_conv(conv)
    figure, axes = plt.subplots(3, 3, figsize=(6.6, 7.2), layout="constrained")
    graph, image = GridGraph((8, 8), 1), digit_image()
    keys, queries = graph.edge_index()
    pixels, sides = to_nodes(image[None, None])
    assert torch.allclose(attention(pixels, sides).view(8, 8), conv(image[None])[0], atol=1e-5)
    for head, ax in enumerate(axes.flat):
        offset = (head // 3 - 1) * 8 + head % 3 - 1
        weights = (keys - queries == offset).float()
        draw_image(image, graph, weights, node=8 * 4 + 3, title=f"head {head + 1}", ax=ax)
    figure.suptitle("a 3 x 3 filter as nine heads")
    return figure


def draw_rnn() -> plt.Figure:
    figure, axes = row(3, 4.2)
    draw_graph(rnn_graph(8), title="recurrent: each word knows the one before", ax=axes[0])
    draw_graph(causal(8), title="attention: each word sees all before", ax=axes[1])
    lengths = [4, 8, 16, 32, 64, 128, 256]
    cases = {"recurrent": rnn_graph, "band of 8": lambda n: BandedGraph(n, 8, 0), "attention": causal}
    for name, make in cases.items():
        axes[2].loglog(lengths, [path_length(make(n)) for n in lengths], "o-", base=2, label=name)
    axes[2].set(title="the longest way from word to word", xlabel="words", ylabel="steps")
    axes[2].legend()
    return figure


def draw_club() -> plt.Figure:
    """Attention after two members told which side they are on."""
    stop = tour.karate_club()
    model = tour.Model(stop)
    tour.train(model, stop, stop.epochs, "karate club")
    data = stop.test[0]
    figure, ax = plt.subplots(figsize=(7, 5.6), layout="constrained")
    places = networkx.spring_layout(networkx.karate_club_graph(), seed=4)
    pos = torch.tensor(np.array([places[member] for member in range(34)]))
    draw_network(
        data, first_layer(model, data), pos=pos, title="the attention of the members of a club, coloured by side", ax=ax
    )
    return figure


def draw_encoder() -> plt.Figure:
    """A block as boxes, and what a word sees through one, two and three layers."""
    figure, axes = plt.subplots(1, 4, figsize=(15, 4), width_ratios=[1.3, 1, 1, 1], layout="constrained")
    boxes = [
        "N vectors",
        "layer norm",
        "self-attention over the graph",
        "+ the N vectors of the start",
        "layer norm",
        "one small network, on each vector alone",
        "+ the N vectors of the sum before",
        "N vectors",
    ]
    drawn = [draw_box(axes[0], 0.5, height, text, height in (0, 7)) for height, text in enumerate(boxes)]
    for low, high in pairwise(drawn):
        draw_arrow(axes[0], low, high)
    for start, end in ((0, 3), (3, 6)):  # around a step: what comes in is added to what comes out
        axes[0].plot(
            [0.5, 1.2, 1.2], [start + 0.1 * (start > 0), start + 0.1 * (start > 0), end], color="tab:blue", zorder=0
        )
        draw_arrow(axes[0], (1.2, end), drawn[end], color="tab:blue")
    axes[0].set(xlim=(-0.25, 1.25), ylim=(-0.5, 7.5), title="one block (norm first), residuals in blue")
    axes[0].axis("off")
    band = BandedGraph(16, 2, 2).mask().float()
    for layers, ax in enumerate(axes[1:], start=1):
        query, key = torch.linalg.matrix_power(band, layers).nonzero(as_tuple=True)
        graph = EdgeListGraph(torch.stack([key, query]), 16)
        draw_mask(graph, title=f"what a word knows after {layers} layer{'s' * (layers > 1)}", ax=ax)
        separate_cells(ax, graph)
    return figure


def draw_box(
    ax: plt.Axes, x: float, y: float, text: str, is_end: bool = False, colour: str = "#d9e6f2"
) -> plt.Annotation:
    """Words in a box, which arrows may begin and end at; `is_end` leaves it white."""
    style = {"boxstyle": "round", "facecolor": "white" if is_end else colour, "edgecolor": "0.4"}
    return ax.annotate(text, (x, y), ha="center", va="center", bbox=style, fontsize=9)


def draw_arrow(ax: plt.Axes, start, end: plt.Annotation, color: str = "black") -> None:
    """From a box, or a place, to the edge of another box."""
    place, patch = (start, None) if isinstance(start, tuple) else (start.xy, start.get_bbox_patch())
    how = {"arrowstyle": "->", "color": color, "patchA": patch, "patchB": end.get_bbox_patch()}
    ax.annotate("", end.xy, place, arrowprops=how | {"shrinkA": 0, "shrinkB": 1})


ENCODER = (
    "the words that are given",
    "+ positions",
    "self-attention\ncomplete graph",
    "add, norm",
    "small network",
    "add, norm",
)
DECODER = (
    "the words written so far", "+ positions", "self-attention\ncausal graph", "add, norm", "cross attention\nbipartite graph",
    "add, norm", "small network", "add, norm", "linear, softmax", "the next word",
)  # fmt: skip


def draw_transformer() -> plt.Figure:
    """Encoder and decoder as one: what goes in, what goes from the one to the other, and what comes out."""
    figure, ax = plt.subplots(figsize=(8, 6.5), layout="constrained")
    columns = []
    for x, words in ((0.0, ENCODER), (1.0, DECODER)):
        kinds = ["#fbe3c8" if "attention" in text else "#d9e6f2" for text in words]
        boxes = [
            draw_box(ax, x, height, text, height == 0 or text == "the next word", colour)
            for height, (text, colour) in enumerate(zip(words, kinds))
        ]
        for low, high in pairwise(boxes):
            draw_arrow(ax, low, high)
        columns.append(boxes)
    decoder = columns[1]
    ax.plot([0, 0, 0.5, 0.5], [5.3, 5.75, 5.75, 4], color="tab:orange")
    draw_arrow(ax, (0.5, 4), decoder[4], color="tab:orange")
    ax.text(0.25, 5.85, "keys and values", ha="center", color="tab:orange", fontsize=9)
    for left, bottom, top in ((-0.33, 1.5, 5.4), (0.62, 1.5, 7.4)):
        frame = plt.Rectangle((left, bottom), 0.71, top - bottom, fill=False, edgecolor="0.6", linestyle="--")
        ax.add_patch(frame)
        ax.text(left + 0.02, top - 0.25, "N times", color="0.4", fontsize=9)
    ax.set(xlim=(-0.45, 1.45), ylim=(-0.5, 9.5))
    ax.axis("off")
    return figure


def draw_decoder() -> plt.Figure:
    """Who sees whom in the two stacks, and where a trained decoder looks: it writes a word backwards."""
    figure, axes = row(4, 4.4, 4.2)
    cases = {
        "encoder: complete": (CompleteGraph(5), SOURCE, SOURCE),
        "decoder: causal": (causal(6), TARGET, TARGET),
        "decoder to encoder: cross attention": (CompleteGraph(6, 5), SOURCE, TARGET),
    }
    for ax, (title, (graph, labels, query_labels)) in zip(axes, cases.items()):
        draw_mask(graph, labels=labels, query_labels=query_labels, title=title, ax=ax)
        separate_cells(ax, graph)
    word = "attention"
    weights = cross_attention_of(train_to_reverse(len(word)), word)
    written = ["^", *word[:0:-1]]  # what is there when each letter is written
    graph = CompleteGraph(len(word), len(word))
    title = "cross attention that was learned:\nwrites a word backwards (mean of 4 heads)"
    draw_mask(graph, weights, labels=list(word), query_labels=written, title=title, ax=axes[3])
    return figure


def train_to_reverse(length: int, steps: int = 300) -> Seq2Seq:
    """A small Seq2Seq that learns to write random words of 26 letters backwards; letter 0 opens the answer."""
    model = Seq2Seq(27, 27, channels=32, num_layers=1, heads=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        source = torch.randint(1, 27, (32, length))
        answer = source.flip(1)
        target = torch.cat([torch.zeros_like(answer[:, :1]), answer[:, :-1]], 1)
        scores = model(source.flatten(), target.flatten(), CompleteGraph([length] * 32), causal([length] * 32))
        loss = torch.nn.functional.cross_entropy(scores, answer.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def cross_attention_of(model: Seq2Seq, word: str) -> Tensor:
    """Weights of the decoder over the letters of the word, [num_edges, heads]."""
    source = torch.tensor([1 + ord(letter) - ord("a") for letter in word])
    target = torch.cat([torch.zeros(1, dtype=torch.long), source.flip(0)[:-1]])
    found = attention_of(model, source, target, CompleteGraph(len(word)), causal(len(word)))
    return found["decoder.layers.0.memory_attention"].weights


def draw_variants() -> plt.Figure:
    band, drawn = BandedGraph(40, 3, 3), torch.randint(40, (2, 80))
    return draw_masks(
        {
            "band": band,
            "band and two global words": band | GlobalGraph(40, [0, 20]),
            "and random edges": band | GlobalGraph(40, [0, 20]) | EdgeListGraph(drawn, 40).coalesce(),
            "every second word of a wider band": BandedGraph(40, 3, 3, dilation=2),
        }
    )


# Accuracy on five tasks in per cent, and steps per second on text of 4,000 letters: Tay et al. 2021, tables 1 and 2.
LONG_RANGE_ARENA = {
    "Transformer": (54.39, 1.4),
    "local": (46.06, 7.4),
    "Linformer": (51.36, 7.7),
    "Reformer": (50.67, 1.1),
    "Sinkhorn": (51.39, 5.3),
    "Synthesizer": (52.88, 1.9),
    "BigBird": (55.01, 1.5),
    "linear": (50.55, 7.8),
    "Performer": (51.41, 8.0),
}
GRAPHS_OF_PLACES = ("Transformer", "local", "BigBird")  # who sees whom does not depend on what they say


def draw_cheaper() -> plt.Figure:
    """Quality against speed."""
    figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
    for name, (accuracy, speed) in LONG_RANGE_ARENA.items():
        colour = "tab:orange" if name in GRAPHS_OF_PLACES else "tab:blue"
        ax.scatter(speed, accuracy, s=70, color=colour)
        beside = {"Performer": (0, 10), "Linformer": (-62, 8), "linear": (4, -14)}.get(name, (8, -4))
        ax.annotate(name, (speed, accuracy), beside, textcoords="offset points", fontsize=9)
    ax.set(xlabel="steps per second, text of 4,000 letters", ylabel="accuracy on five tasks in %", xlim=(0.5, 9.3))
    ax.set_title("cheaper attention: graphs of places (orange), others (blue)", fontsize=11)
    return figure


PICTURES = {
    "inputs": draw_inputs,
    "outputs": draw_outputs,
    "scores": draw_scores,
    "normalizers": draw_normalizers,
    "matrices": draw_matrices,
    "heads": draw_learned_heads,
    "positions": draw_positions,
    "rows": draw_rows,
    "causal": draw_causal,
    "truncated": draw_truncated,
    "image": draw_receptive_fields,
    "convolution": draw_convolution,
    "rnn": draw_rnn,
    "club": draw_club,
    "encoder": draw_encoder,
    "transformer": draw_transformer,
    "decoder": draw_decoder,
    "variants": draw_variants,
    "cheaper": draw_cheaper,
}


def save(figure: plt.Figure, path: Path) -> None:
    """With a palette of 128 colours: a third of the bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=80)
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(128).save(path, optimize=True)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=tuple(PICTURES), default=tuple(PICTURES), help="these pictures")
    parser.add_argument("--out", default="docs/lecture", help="folder of the pictures")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in args.only:
        seed_everything(0)
        figure = PICTURES[name]()
        save(figure, folder / f"{name}.png")
        print(folder / f"{name}.png", flush=True)


if __name__ == "__main__":
    main()
