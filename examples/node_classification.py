"""Node classification on a citation network, a board of mines and a crowd of annotators: one layer over given edges.

    python -m examples.node_classification                             # Cora and CiteSeer, ten seeds
    python -m examples.node_classification --dataset Minesweeper       # ten splits; Tolokers alike
    python -m examples.node_classification --dataset Cora --runs 1 --score gatv2
    python -m examples.node_classification --dataset Tolokers --runs 1 --layer pyg     # the time with PyG's layer

| data set    | nodes  | edges     | measure  | published: 100 seeds on Cora and CiteSeer, ten splits on the others    |
|-------------|--------|-----------|----------|-----------------------------------------------------------------------|
| Cora        | 2,708  | 10,556    | accuracy | GAT 83.0 ± 0.7 (Veličković et al. 2018, arXiv 1710.10903)             |
| CiteSeer    | 3,327  | 9,104     | accuracy | GAT 72.5 ± 0.7 (same)                                                 |
| Minesweeper | 10,000 | 78,804    | ROC AUC  | GAT 92.01 ± 0.68, GAT-sep 93.91 ± 0.35, transformer 91.85 ± 0.76      |
| Tolokers    | 11,758 | 1,038,000 | ROC AUC  | GAT 83.70 ± 0.47, GAT-sep 83.78 ± 0.43, transformer 83.23 ± 0.64      |

The last two rows are of Platonov et al. 2023 (arXiv 2302.11640).
Every run reports its test nodes at the epoch whose validation nodes had the lowest loss. Runs differ by seed on the
public split of Cora and CiteSeer (Yang et al. 2016), by split elsewhere. Finished runs are kept in --results and not
repeated.
"""

import argparse
import os
import time
import warnings
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import matplotlib
import networkx as nx
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv, TransformerConv
from torch_geometric.nn.inits import glorot, zeros
from torch_geometric.transforms import NormalizeFeatures
from torch_geometric.utils import add_self_loops, k_hop_subgraph
from tqdm import tqdm

from examples.kept_results import read_results, write_results
from graphattn import EdgeListGraph
from graphattn.datasets import HeterophilousGraphDataset, Planetoid
from graphattn.nn import GraphAttention

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@dataclass(frozen=True)
class Recipe:
    """What a run is made of; the defaults are those of the GAT paper, section 3.3."""

    model: str = "gat"
    layer: str = "graphattn"  # or "pyg": PyG's layer of the same formula, to compare times
    layers: int = 2
    heads: int = 8
    hidden_channels: int = 64  # of all heads together
    score: str = "additive"
    share_weights: bool = True  # of gat: one map for queries, keys and values
    dropout: float = 0.6  # of features
    attention_dropout: float = 0.6
    self_loops: bool = True
    lr: float = 0.005
    one_cycle: bool = False  # the learning rate rises to lr and falls to 0; otherwise it stays
    weight_decay: float = 5e-4
    epochs: int = 1000
    patience: int = 100  # epochs without a lower validation loss


DEEP = Recipe(
    model="transformer",
    layers=8,
    heads=2,
    hidden_channels=32,
    score="dot",
    dropout=0.2,
    attention_dropout=0.0,
    self_loops=False,
    lr=0.01,
    one_cycle=True,
    weight_decay=0.0,
    epochs=150,
    patience=150,
)
RECIPES = {
    "Cora": Recipe(),
    "CiteSeer": Recipe(weight_decay=1e-3),  # better validation accuracy than the paper's 5e-4
    "Minesweeper": DEEP,
    "Tolokers": replace(DEEP, layers=4, epochs=60, patience=60),
}
PUBLISHED = {
    "Cora": "GAT 83.0 ± 0.7 (Veličković et al. 2018)",
    "CiteSeer": "GAT 72.5 ± 0.7 (Veličković et al. 2018)",
    "Minesweeper": "GAT 92.01 ± 0.68, GAT-sep 93.91 ± 0.35, transformer 91.85 ± 0.76 (Platonov et al. 2023)",
    "Tolokers": "GAT 83.70 ± 0.47, GAT-sep 83.78 ± 0.43, transformer 83.23 ± 0.64 (Platonov et al. 2023)",
}


def load(name: str, root: Path) -> Data:
    if name in ("Minesweeper", "Tolokers"):
        return HeterophilousGraphDataset(str(root / "heterophilous"), name)[0]
    return Planetoid(str(root / "planetoid"), name, transform=NormalizeFeatures())[0]


def masks_of(data: Data, run: int) -> list[Tensor]:
    """Training, validation and test nodes; masks of several splits are [num_nodes, num_splits]."""
    masks = (data.train_mask, data.val_mask, data.test_mask)
    return [mask if mask.dim() == 1 else mask[:, run] for mask in masks]


def features_of(data: Data) -> Tensor:
    """Bags of words as a sparse matrix: 1 % of them is not zero, and so is 1 % of the first layer's work."""
    is_sparse = (data.x != 0).double().mean() < 0.05
    return data.x.to_sparse_csr() if is_sparse else data.x


def graph_of(data: Data, recipe: Recipe) -> EdgeListGraph:
    edge_index = data.edge_index
    if recipe.self_loops:
        edge_index, _ = add_self_loops(edge_index, num_nodes=data.num_nodes)
    return EdgeListGraph(edge_index, data.num_nodes, is_undirected=True)


class PyGAttention(nn.Module):
    """PyG's layer of the formula that GraphAttention has with these options."""

    def __init__(self, in_channels: int, out_channels: int, heads: int = 1, *, score, dropout, share_weights=False):
        super().__init__()
        if (score, share_weights) == ("dot", False):
            self.conv = TransformerConv(in_channels, out_channels, heads, dropout=dropout, root_weight=False)
        elif (score, share_weights) == ("gatv2", True):
            options = {"dropout": dropout, "share_weights": True, "add_self_loops": False}
            self.conv = GATv2Conv(in_channels, out_channels, heads, **options)
        else:
            shared = "shared" if share_weights else "own"
            raise ValueError(f"PyG has no layer of score {score!r} with {shared} weights; name another --score")

    def forward(self, x: Tensor, graph: EdgeListGraph) -> Tensor:
        return self.conv(x, graph.edge_index())


LAYERS = {"graphattn": GraphAttention, "pyg": PyGAttention}


class GAT(nn.Module):
    """The network of Veličković et al. 2018: attention, ELU, and a last attention whose one head is the logits."""

    def __init__(self, num_features: int, num_classes: int, recipe: Recipe):
        super().__init__()
        options = {"score": recipe.score, "dropout": recipe.attention_dropout, "share_weights": recipe.share_weights}
        widths = [num_features] + [recipe.hidden_channels] * (recipe.layers - 1)
        head = recipe.hidden_channels // recipe.heads
        attention = LAYERS[recipe.layer]
        self.hidden = nn.ModuleList(attention(width, head, recipe.heads, **options) for width in widths[:-1])
        self.last = attention(widths[-1], num_classes, **options)
        self.dropout = recipe.dropout
        for parameter in self.parameters():  # as in the paper; features of row sum 1 would be too weak otherwise
            glorot(parameter) if parameter.dim() > 1 else zeros(parameter)

    def forward(self, x: Tensor, graph: EdgeListGraph) -> Tensor:
        for layer in self.hidden:
            x = F.elu(layer(dropout(x, self.dropout, self.training), graph))
        return self.last(dropout(x, self.dropout, self.training), graph)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Of a sparse matrix, the zeros need no dropping."""
    if x.layout != torch.sparse_csr:
        return F.dropout(x, p, training)
    return torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), F.dropout(x.values(), p, training), x.shape)


class NodeTransformer(nn.Module):
    """Blocks of x + dropout(gelu(W [h, attention(h)])) with h = norm(x).

    A node and its neighbourhood enter W apart, since neighbours may well be of another class (as in GAT-sep, Platonov
    et al. 2023). Residual, normalised and deep as in Luo et al. 2024, "Classic GNNs are strong baselines" (2406.08993).
    """

    def __init__(self, num_features: int, num_classes: int, recipe: Recipe):
        super().__init__()
        width, layers, heads = recipe.hidden_channels, range(recipe.layers), recipe.heads
        options = {"score": recipe.score, "dropout": recipe.attention_dropout}
        self.embed = nn.Linear(num_features, width)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in layers)
        attention = LAYERS[recipe.layer]
        self.attentions = nn.ModuleList(attention(width, width // heads, heads, **options) for _ in layers)
        self.linears = nn.ModuleList(nn.Linear(2 * width, width) for _ in layers)
        self.logits = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, num_classes))
        self.dropout = nn.Dropout(recipe.dropout)

    def forward(self, x: Tensor, graph: EdgeListGraph) -> Tensor:
        x = self.dropout(F.gelu(self.embed(x)))
        for norm, attention, linear in zip(self.norms, self.attentions, self.linears, strict=True):
            h = norm(x)
            x = x + self.dropout(F.gelu(linear(torch.cat([h, attention(h, graph)], dim=-1))))
        return self.logits(x)


MODELS = {"gat": GAT, "transformer": NodeTransformer}


class Epoch(NamedTuple):
    loss: float  # of the validation nodes
    validation: float
    test: float


def measure(logits: Tensor, y: Tensor) -> float:
    """ROC AUC of two classes, accuracy of more."""
    if logits.size(1) == 2:
        return float(roc_auc_score(y, logits[:, 1] - logits[:, 0]))
    return float((logits.argmax(dim=1) == y).double().mean())


def best_epoch(history: list[Epoch]) -> int:
    """Lowest validation loss: the accuracy of 500 nodes is too coarse to tell epochs apart."""
    return min(range(len(history)), key=lambda epoch: history[epoch].loss)


def one_cycle(optimizer: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.OneCycleLR:
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.epochs, pct_start=0.1)


def train(data: Data, recipe: Recipe, run: int, title: str = "") -> tuple[nn.Module, list[Epoch]]:
    """The model after its last epoch, and how it fared."""
    torch.manual_seed(run)
    x, y, graph = features_of(data), data.y, graph_of(data, recipe)
    training, validation, test = masks_of(data, run)
    model = MODELS[recipe.model](data.num_features, int(y.max()) + 1, recipe)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    schedule = one_cycle(optimizer, recipe) if recipe.one_cycle else None
    history = []
    for _ in (progress := tqdm(range(recipe.epochs), desc=title, leave=False)):
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(x, graph)[training], y[training]).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        model.eval()
        with torch.no_grad():
            logits = model(x, graph)
        loss = F.cross_entropy(logits[validation], y[validation]).item()
        history.append(Epoch(loss, *(measure(logits[part], y[part]) for part in (validation, test))))
        progress.set_postfix(loss=f"{loss:.3f}", validation=f"{history[-1].validation:.3f}")
        if len(history) - best_epoch(history) > recipe.patience:
            break
    return model, history


def run_all(name: str, data: Data, recipe: Recipe, runs: int, file: Path) -> list[dict]:
    """A record of each run; runs that `file` has of the same recipe are not repeated."""
    records = read_results(file, [])
    wanted = {"dataset": name, "recipe": asdict(recipe)}
    finished = {record["run"]: record for record in records if wanted.items() <= record.items()}
    for run in range(runs):
        if run in finished:
            continue
        wall, cpu = time.perf_counter(), time.process_time()
        model, history = train(data, recipe, run, f"{name} run {run}")
        spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        epoch = best_epoch(history)
        best = {"run": run, "epoch": epoch, **history[epoch]._asdict()}
        finished[run] = wanted | best | spent | {"history": [list(each) for each in history]}
        records.append(finished[run])
        write_results(file, records)
        print(f"{name} run {run}: test {100 * history[epoch].test:.2f} % at epoch {epoch}", flush=True)
        if run == 0 and recipe.layer == "graphattn":
            draw_attention(name, model, data, recipe, picture(file, name, "attention"))
    return [finished[run] for run in range(runs)]


def picture(file: Path, name: str, what: str) -> Path:
    return file.with_name(f"{file.stem}_{name}_{what}.png")


def draw_curves(name: str, records: list[dict], file: Path) -> None:
    """Validation and test measure of every run over the epochs, and the epochs chosen."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for column, part, colour in ((1, "validation", "tab:blue"), (2, "test", "tab:orange")):
        for record in records:
            curve = [100 * epoch[column] for epoch in record["history"]]
            axes.plot(curve, color=colour, alpha=0.4, linewidth=0.8, label=part if record is records[0] else None)
    epochs, tests = zip(*((record["epoch"], 100 * record["test"]) for record in records), strict=True)
    axes.scatter(epochs, tests, color="black", s=14, zorder=3, label="test where the validation loss is lowest")
    axes.set(xlabel="epoch", ylabel="accuracy or ROC AUC, %", title=f"{name}: {len(records)} runs")
    axes.set_ylim(min(tests) - 12, max(tests) + 4)
    axes.legend(loc="lower right")
    figure.savefig(file, dpi=150)
    plt.close(figure)


def attention_of(model: nn.Module, x: Tensor, graph: EdgeListGraph) -> tuple[Tensor, Tensor]:
    """(edge_index, weights [num_edges], the mean of the heads) of the model's first attention."""
    layer = next(module for module in model.modules() if isinstance(module, GraphAttention))
    inputs = []
    hook = layer.register_forward_pre_hook(lambda _, arguments: inputs.extend(arguments))
    with torch.no_grad():
        model.eval()(x, graph)
        hook.remove()
        _, (edge_index, weights) = layer(*inputs, return_attention_weights=True)
    return edge_index, weights.mean(dim=1)


def small_neighbourhood(data: Data) -> tuple[int, list[int]]:
    """The first test node with 8 to 20 nodes within two hops, and those nodes; failing that, the fewest of 200."""
    found = []
    for node in masks_of(data, run=0)[2].nonzero().flatten()[:200].tolist():
        near = k_hop_subgraph(node, 2, data.edge_index, num_nodes=data.num_nodes)[0].tolist()
        if 8 <= len(near) <= 20:
            return node, near
        found.append((node, near))
    return min(found, key=lambda item: len(item[1]))


def draw_attention(name: str, model: nn.Module, data: Data, recipe: Recipe, file: Path) -> None:
    """What the first layer attends to around one test node: arrows from key to query, as wide as their weight."""
    edge_index, weights = attention_of(model, features_of(data), graph_of(data, recipe))
    centre, near = small_neighbourhood(data)
    inside = torch.isin(edge_index, torch.tensor(near)).all(dim=0)
    network = nx.DiGraph()
    network.add_nodes_from(near)
    network.add_weighted_edges_from(zip(*edge_index[:, inside].tolist(), weights[inside].tolist(), strict=True))
    percent = {(key, query): f"{100 * weight:.0f}" for key, query, weight in network.edges.data("weight")}
    network.remove_edges_from([(node, node) for node in near])
    places = nx.kamada_kawai_layout(network.to_undirected(), weight=None)
    strength = [weight for *_, weight in network.edges.data("weight")]
    figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
    nodes = {"node_color": data.y[near].tolist(), "cmap": "tab10", "vmin": 0, "vmax": 9, "alpha": 0.7, "node_size": 420}
    nx.draw_networkx_nodes(network, places, near, ax=axes, **nodes)
    nx.draw_networkx_nodes(network, places, [centre], ax=axes, node_color="none", edgecolors="black", node_size=520)
    nx.draw_networkx_labels(network, places, {n: percent.get((n, n), "") for n in near}, ax=axes, font_size=8)
    arrows = {"ax": axes, "connectionstyle": "arc3,rad=0.12"}
    nx.draw_networkx_edges(
        network,
        places,
        width=[0.4 + 5 * weight for weight in strength],
        edge_color=strength,
        edge_cmap=plt.cm.Greys,
        edge_vmin=-0.3,
        edge_vmax=0.7,
        node_size=420,
        **arrows,
    )
    shares = {edge: percent[edge] for edge in network.in_edges(centre)}
    nx.draw_networkx_edge_labels(network, places, shares, font_size=8, **arrows)
    own = " and, inside the nodes, of each to itself" if recipe.self_loops else ""
    title = f"{name}: first attention around test node {centre} (ringed); colours are classes,"
    axes.set_title(f"{title}\nnumbers the weights in % into this node{own}", fontsize=9)
    axes.set_axis_off()
    figure.savefig(file, dpi=150)
    plt.close(figure)


def print_table(records: dict[str, list[dict]]) -> None:
    print(
        f"\n{'data set':<12} {'runs':>4} {'ours, %':>14} {'CPU seconds':>12} {'seconds':>8} {'an epoch':>8}  published, %"
    )
    for name, finished in records.items():
        tests = 100 * torch.tensor([record["test"] for record in finished], dtype=torch.float64)
        ours = f"{tests.mean():.2f} ± {tests.std(correction=0):.2f}"
        cpu, wall = (sum(record[key] for record in finished) for key in ("cpu_seconds", "seconds"))
        epoch = wall / sum(len(record["history"]) for record in finished)
        print(f"{name:<12} {len(finished):>4} {ours:>14} {cpu:>12.0f} {wall:>8.0f} {epoch:>8.3g}  {PUBLISHED[name]}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", choices=RECIPES, default=["Cora", "CiteSeer"])
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("GRAPHATTN_DATA", "datasets")))
    parser.add_argument("--runs", "--seeds", "--splits", type=int, choices=range(1, 11), default=10)
    parser.add_argument("--results", type=Path, default=Path("results/node_classification.json"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    for field in fields(Recipe):
        if not isinstance(field.default, bool):
            choices = {"layer": LAYERS, "model": MODELS}.get(field.name)
            name = f"--{field.name.replace('_', '-')}"
            parser.add_argument(name, type=type(field.default), choices=choices, help="not the recipe's")
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    given = {field.name: getattr(options, field.name, None) for field in fields(Recipe)}
    given = {name: value for name, value in given.items() if value is not None}
    records = {}
    for name in options.dataset:
        recipe, data = replace(RECIPES[name], **given), load(name, options.root)
        records[name] = run_all(name, data, recipe, options.runs, options.results)
        draw_curves(name, records[name], picture(options.results, name, "curves"))
    print_table(records)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
    warnings.filterwarnings("ignore", "Sparse invariant checks are implicitly disabled")
    main()
