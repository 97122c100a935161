"""Node classification on a citation network, a board of mines and a crowd of annotators: one layer over given edges.

    python -m examples.node_classification                             # Cora and CiteSeer, ten seeds
    python -m examples.node_classification --dataset Minesweeper       # ten splits; Tolokers alike
    python -m examples.node_classification --dataset Cora --runs 1 --score gatv2

| data set    | nodes  | edges     | measure  | published, mean over ten runs                                         |
|-------------|--------|-----------|----------|-----------------------------------------------------------------------|
| Cora        | 2,708  | 10,556    | accuracy | 83.0 ± 0.7, GAT, Veličković et al. 2018 (arXiv 1710.10903)            |
| CiteSeer    | 3,327  | 9,104     | accuracy | 72.5 ± 0.7, GAT, same                                                 |
| Minesweeper | 10,000 | 78,804    | ROC AUC  | 92.01 ± 0.68, GAT; 91.85 ± 0.76, GT; Platonov et al. 2023 (2302.11640) |
| Tolokers    | 11,758 | 1,038,000 | ROC AUC  | 83.70 ± 0.47, GAT; 83.23 ± 0.64, GT; same                             |

Every run reports the test nodes at the epoch whose validation nodes were best. Runs differ by their seed on the public split of
Cora and CiteSeer (Yang et al. 2016), by their split elsewhere. Finished runs are kept in --results and not repeated.
"""

import argparse
import json
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
from torch_geometric.datasets import HeterophilousGraphDataset, Planetoid
from torch_geometric.nn.inits import glorot, zeros
from torch_geometric.transforms import NormalizeFeatures
from torch_geometric.utils import add_self_loops, k_hop_subgraph
from tqdm import tqdm

from graphattn import EdgeListGraph
from graphattn.nn import GraphAttention

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of backend)


@dataclass(frozen=True)
class Recipe:
    """What a run is made of; every field is also an option of the command line."""

    model: str = "gat"
    layers: int = 2
    heads: int = 8
    hidden_channels: int = 64  # of all heads together
    score: str = "additive"
    dropout: float = 0.6  # of features
    attention_dropout: float = 0.6
    self_loops: int = 1
    lr: float = 0.005
    schedule: str = "constant"
    weight_decay: float = 5e-4
    epochs: int = 1000
    patience: int = 100  # epochs without a better validation loss or measure


CITATIONS = Recipe()  # section 3.3 of the GAT paper
DEEP = Recipe(
    model="transformer", layers=8, heads=2, hidden_channels=32, score="dot", dropout=0.2, attention_dropout=0.0,
    self_loops=0, lr=0.01, schedule="one-cycle", weight_decay=0.0, epochs=150, patience=150,
)
RECIPES = {"Cora": CITATIONS, "CiteSeer": CITATIONS, "Minesweeper": DEEP, "Tolokers": replace(DEEP, layers=4)}
PUBLISHED = {
    "Cora": "83.0 ± 0.7 (GAT, Veličković et al. 2018)",
    "CiteSeer": "72.5 ± 0.7 (GAT, Veličković et al. 2018)",
    "Minesweeper": "92.01 ± 0.68 (GAT, Platonov et al. 2023)",
    "Tolokers": "83.70 ± 0.47 (GAT, Platonov et al. 2023)",
}


def load(name: str, root: Path) -> Data:
    if name in ("Minesweeper", "Tolokers"):
        return HeterophilousGraphDataset(str(root / "heterophilous"), name)[0]
    return Planetoid(str(root / "planetoid"), name, transform=NormalizeFeatures())[0]


def masks_of(data: Data, run: int) -> list[Tensor]:
    """Training, validation and test nodes; masks of several splits are [num_nodes, num_splits]."""
    masks = (data.train_mask, data.val_mask, data.test_mask)
    return [mask if mask.dim() == 1 else mask[:, run] for mask in masks]


def graph_of(data: Data, recipe: Recipe) -> EdgeListGraph:
    edge_index = data.edge_index
    if recipe.self_loops:
        edge_index, _ = add_self_loops(edge_index, num_nodes=data.num_nodes)
    return EdgeListGraph(edge_index, data.num_nodes, is_undirected=True)


class GAT(nn.Module):
    """The network of Veličković et al. 2018: attention, ELU, and a last attention whose one head is the logits."""

    def __init__(self, num_features: int, num_classes: int, recipe: Recipe):
        super().__init__()
        options = {"score": recipe.score, "dropout": recipe.attention_dropout}
        widths = [num_features] + [recipe.hidden_channels] * (recipe.layers - 1)
        head = recipe.hidden_channels // recipe.heads
        self.hidden = nn.ModuleList(GraphAttention(width, head, recipe.heads, **options) for width in widths[:-1])
        self.last = GraphAttention(widths[-1], num_classes, **options)
        self.dropout = recipe.dropout
        for parameter in self.parameters():  # as in the paper; features of row sum 1 would be too weak otherwise
            glorot(parameter) if parameter.dim() > 1 else zeros(parameter)

    def forward(self, x: Tensor, graph: EdgeListGraph) -> Tensor:
        for layer in self.hidden:
            x = F.elu(layer(dropout(x, self.dropout, self.training), graph))
        return self.last(dropout(x, self.dropout, self.training), graph)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Of a sparse bag of words, zeros need no dropping: 1 % of Cora's and CiteSeer's features is the rest."""
    if x.layout != torch.sparse_csr:
        return F.dropout(x, p, training)
    return torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), F.dropout(x.values(), p, training), x.shape)


class NodeTransformer(nn.Module):
    """Blocks of x + dropout(gelu(W [h, attention(h)])) with h = norm(x).

    A node and its neighbourhood enter W apart, since neighbours may well be of another class (Platonov et al. 2023,
    GAT-sep); residual, normalised and deep as in Luo et al. 2024, "Classic GNNs are strong baselines" (arXiv 2406.08993).
    """

    def __init__(self, num_features: int, num_classes: int, recipe: Recipe):
        super().__init__()
        width, layers, heads = recipe.hidden_channels, range(recipe.layers), recipe.heads
        options = {"score": recipe.score, "dropout": recipe.attention_dropout}
        self.embed = nn.Linear(num_features, width)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in layers)
        self.attentions = nn.ModuleList(GraphAttention(width, width // heads, heads, **options) for _ in layers)
        self.linears = nn.ModuleList(nn.Linear(2 * width, width) for _ in layers)
        self.head = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, num_classes))
        self.dropout = nn.Dropout(recipe.dropout)

    def forward(self, x: Tensor, graph: EdgeListGraph) -> Tensor:
        x = self.dropout(F.gelu(self.embed(x)))
        for norm, attention, linear in zip(self.norms, self.attentions, self.linears, strict=True):
            h = norm(x)
            x = x + self.dropout(F.gelu(linear(torch.cat([h, attention(h, graph)], dim=-1))))
        return self.head(x)


MODELS = {"gat": GAT, "transformer": NodeTransformer}


def measure(logits: Tensor, y: Tensor) -> float:
    """ROC AUC of two classes, accuracy of more."""
    if logits.size(1) == 2:
        return float(roc_auc_score(y, logits[:, 1] - logits[:, 0]))
    return float((logits.argmax(dim=1) == y).double().mean())


class Epoch(NamedTuple):
    loss: float  # of the validation nodes
    validation: float
    test: float


def best_epoch(history: list[Epoch]) -> int:
    """Lowest validation loss: 500 validation nodes make an accuracy too coarse to tell epochs apart."""
    return min(range(len(history)), key=lambda epoch: history[epoch].loss)


def features_of(data: Data) -> Tensor:
    """A bag of words as a sparse tensor: 1 % of it is not zero, and so is 1 % of the first layer's work."""
    is_sparse = (data.x != 0).double().mean() < 0.05
    return data.x.to_sparse_csr() if is_sparse else data.x


def schedule_of(optimizer: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.epochs, pct_start=0.1)


def train(data: Data, recipe: Recipe, run: int, title: str = "") -> tuple[nn.Module, list[Epoch]]:
    """The model after its last epoch, and how it fared."""
    torch.manual_seed(run)
    x, y, graph = features_of(data), data.y, graph_of(data, recipe)
    training, validation, test = masks_of(data, run)
    model = MODELS[recipe.model](data.num_features, int(y.max()) + 1, recipe)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    schedule, history = schedule_of(optimizer, recipe), []
    for _ in (progress := tqdm(range(recipe.epochs), desc=title, leave=False)):
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(x, graph)[training], y[training]).backward()
        optimizer.step()
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


def record_of(recipe: Recipe, run: int, history: list[Epoch], seconds: float, cpu_seconds: float) -> dict:
    best = best_epoch(history)
    return {
        "recipe": asdict(recipe), "run": run, "epoch": best, "test": history[best].test,
        "validation": history[best].validation, "seconds": seconds, "cpu_seconds": cpu_seconds,
        "curve": [[round(epoch.validation, 4), round(epoch.test, 4)] for epoch in history],
    }


def read_results(file: Path) -> dict[str, list[dict]]:
    return json.loads(file.read_text()) if file.exists() else {}


def write_results(file: Path, results: dict[str, list[dict]]) -> None:
    """In one step, so that an interruption leaves the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".part")
    draft.write_text(json.dumps(results))
    draft.replace(file)


def run_all(name: str, data: Data, recipe: Recipe, runs: int, file: Path) -> list[dict]:
    """The records of all runs; those that `file` has of the same recipe are not repeated."""
    results = read_results(file)
    records = results.setdefault(name, [])
    finished = {record["run"]: record for record in records if record["recipe"] == asdict(recipe)}
    for run in range(runs):
        if run not in finished:
            clock, cpu_clock = time.perf_counter(), time.process_time()
            model, history = train(data, recipe, run, f"{name} run {run}")
            finished[run] = record_of(recipe, run, history, time.perf_counter() - clock, time.process_time() - cpu_clock)
            records.append(finished[run])
            write_results(file, results)
            if run == 0:
                draw_attention(name, model, data, recipe, file.with_name(f"{file.stem}_{name}_attention.png"))
        print(f"{name} run {run}: {100 * finished[run]['test']:.2f} at epoch {finished[run]['epoch']}", flush=True)
    return [finished[run] for run in range(runs)]


def draw_curves(name: str, records: list[dict], file: Path) -> None:
    """Validation and test measure of every run over the epochs, and the epochs chosen."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for record in records:
        for column, colour in enumerate(("tab:blue", "tab:orange")):
            axes.plot([100 * epoch[column] for epoch in record["curve"]], color=colour, alpha=0.4, linewidth=0.8)
    axes.plot([], color="tab:blue", label="validation")
    axes.plot([], color="tab:orange", label="test")
    chosen = [(record["epoch"], 100 * record["test"]) for record in records]
    axes.scatter(*zip(*chosen, strict=True), color="black", s=14, zorder=3, label="test at the best validation epoch")
    lowest = min(100 * min(epoch) for record in records for epoch in record["curve"][len(record["curve"]) // 20 :])
    axes.set(xlabel="epoch", ylabel="%", title=f"{name}, {len(records)} runs", ylim=(lowest, None))
    axes.legend(loc="lower right")
    figure.savefig(file, dpi=150)
    plt.close(figure)


def first_attention(model: nn.Module, x: Tensor, graph: EdgeListGraph) -> tuple[Tensor, Tensor]:
    """(edge_index, weights [num_edges], the mean of the heads) of the model's first attention."""
    layer = next(module for module in model.modules() if isinstance(module, GraphAttention))
    arguments = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: arguments.extend(inputs))
    with torch.no_grad():
        model.eval()(x, graph)
        hook.remove()
        _, (edge_index, weights) = layer(*arguments, return_attention_weights=True)
    return edge_index, weights.mean(dim=1)


def small_neighbourhood(data: Data, run: int, hops: int = 2, sizes: range = range(8, 22)) -> tuple[int, Tensor]:
    """A test node with few but not too few nodes within `hops`, and those nodes; the smallest met if there is none."""
    candidates = masks_of(data, run)[2].nonzero().flatten()[:200].tolist()
    found = [(node, k_hop_subgraph(node, hops, data.edge_index, num_nodes=data.num_nodes)[0]) for node in candidates]
    return next(((node, near) for node, near in found if len(near) in sizes), min(found, key=lambda item: len(item[1])))


def draw_attention(name: str, model: nn.Module, data: Data, recipe: Recipe, file: Path) -> None:
    """What the first layer attends to around one test node: arrows from key to query, as wide as their weight."""
    edge_index, weights = first_attention(model, features_of(data), graph_of(data, recipe))
    centre, near = small_neighbourhood(data, run=0)
    inside = torch.isin(edge_index, near).all(dim=0)
    network = nx.DiGraph()
    network.add_nodes_from(near.tolist())
    for (key, query), weight in zip(edge_index[:, inside].t().tolist(), weights[inside].tolist(), strict=True):
        network.add_edge(key, query, weight=weight)
    loops = {node: network.edges[node, node]["weight"] for node in network if network.has_edge(node, node)}
    network.remove_edges_from([(node, node) for node in loops])
    labels = {node: f"{100 * weight:.0f}" for node, weight in loops.items()}
    places = nx.kamada_kawai_layout(network.to_undirected(), weight=None)
    strengths = [weight for *_, weight in network.edges.data("weight")]
    shares = {(key, query): f"{100 * weight:.0f}" for key, query, weight in network.in_edges(centre, data="weight")}
    figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
    nx.draw_networkx_nodes(
        network, places, ax=axes, node_color=[int(data.y[node]) for node in network], cmap="tab10", vmin=0, vmax=9, alpha=0.7,
        node_size=420, edgecolors=["black" if node == centre else "none" for node in network], linewidths=2.5,
    )
    nx.draw_networkx_labels(network, places, labels, ax=axes, font_size=8)
    nx.draw_networkx_edges(
        network, places, ax=axes, width=[0.4 + 5 * strength for strength in strengths], edge_color=strengths, node_size=420,
        edge_cmap=plt.cm.Greys, edge_vmin=-0.3, edge_vmax=0.7, connectionstyle="arc3,rad=0.12",
    )
    nx.draw_networkx_edge_labels(network, places, shares, ax=axes, font_size=8, connectionstyle="arc3,rad=0.12")
    axes.set_title(f"{name}: attention around test node {centre} (ringed); colour = class, numbers = weight in %\n"
                   "into the node, and of every node to itself", fontsize=9)
    axes.set_axis_off()
    figure.savefig(file, dpi=150)
    plt.close(figure)


def print_table(records: dict[str, list[dict]]) -> None:
    print(f"\n{'data set':<12} {'runs':>4} {'ours, %':>14} {'CPU minutes':>12} {'minutes':>8}  published, %")
    for name, finished in records.items():
        test = 100 * torch.tensor([record["test"] for record in finished], dtype=torch.float64)
        ours = f"{test.mean():.2f} ± {test.std(correction=0):.2f}"
        cpu, wall = (sum(record[key] for record in finished) / 60 for key in ("cpu_seconds", "seconds"))
        print(f"{name:<12} {len(finished):>4} {ours:>14} {cpu:>12.1f} {wall:>8.1f}  {PUBLISHED[name]}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", choices=RECIPES, default=["Cora", "CiteSeer"])
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("GRAPHATTN_DATA", "datasets")))
    parser.add_argument("--runs", "--seeds", "--splits", type=int, default=10, help="seeds or splits, from 0 on; at most 10")
    parser.add_argument("--results", type=Path, default=Path("results/node_classification.json"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    for field in fields(Recipe):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), help="instead of the recipe's")
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    changes = {field.name: getattr(options, field.name) for field in fields(Recipe)}
    changes = {name: value for name, value in changes.items() if value is not None}
    records = {}
    for name in options.dataset:
        recipe, data = replace(RECIPES[name], **changes), load(name, options.root)
        records[name] = run_all(name, data, recipe, options.runs, options.results)
        draw_curves(name, records[name], options.results.with_name(f"{options.results.stem}_{name}.png"))
    print_table(records)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
    warnings.filterwarnings("ignore", "Sparse invariant checks are implicitly disabled")
    main()
