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
On Cora and CiteSeer a run reports its test nodes at the epoch whose validation nodes had the lowest loss, as in the paper;
on the others at the epoch whose validation nodes had the highest area: where a network is small or its labels few, the
loss is lowest long before the model has learned. The weights that come back are those of that epoch. Runs differ by
seed on the public split of Cora and CiteSeer (Yang et al. 2016), by split elsewhere. Finished runs are kept in --results
and not repeated. `graphattn train --npz FILE` does the same with a network of your own.
"""

import argparse
import os
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import matplotlib
import networkx as nx
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv, TransformerConv
from torch_geometric.transforms import NormalizeFeatures
from torch_geometric.utils import k_hop_subgraph

from examples.kept_results import read_results, write_results
from graphattn import EdgeListGraph
from graphattn.datasets import HeterophilousGraphDataset, Planetoid
from graphattn.nn import GraphAttention
from graphattn.recipes import NodeClassification, Trained
from graphattn.recipes.of_network import MODELS
from graphattn.recipes.parts import masks_of

matplotlib.use("Agg")
import matplotlib.pyplot as plt


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


@dataclass(frozen=True)
class Recipe(NodeClassification):
    """The recipe of graphattn, by its own layer or by PyG's of the same formula, to compare times."""

    name: ClassVar[str] = "node classification of the example"

    layer: str = "graphattn"

    @property
    def attention_layer(self) -> type[nn.Module]:
        return LAYERS[self.layer]


DEEP = Recipe()
RECIPES = {
    "Cora": Recipe.gat(),
    "CiteSeer": Recipe.gat().scheduled(weight_decay=1e-3),  # better validation accuracy than the paper's 5e-4
    "Minesweeper": DEEP,
    "Tolokers": replace(DEEP, layers=4).scheduled(epochs=60),
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


def train(data: Data, recipe: Recipe, run: int) -> Trained:
    """The model of the reported epoch, and how every epoch fared."""
    return recipe.train(data, split=run, seed=run)


def measure_of(trained: Trained) -> str:
    """ROC AUC of two classes, accuracy of more."""
    return "roc_auc" if len(trained.facts["classes"]) == 2 else "accuracy"


def run_all(name: str, data: Data, recipe: Recipe, runs: int, file: Path) -> list[dict]:
    """A record of each run; runs that `file` has of the same recipe are not repeated."""
    records = read_results(file, [])
    wanted = {"dataset": name, "recipe": plain(recipe)}
    finished = {record["run"]: record for record in records if wanted.items() <= record.items()}
    for run in range(runs):
        if run in finished:
            continue
        wall, cpu = time.perf_counter(), time.process_time()
        trained = train(data, recipe, run)
        spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        measure, figures = measure_of(trained), trained.figures
        best = {"run": run, "epoch": trained.epoch, "loss": figures["validation"]["loss"]}
        best |= {part: figures[part][measure] for part in ("validation", "test")}
        columns = ("loss", measure, f"test {measure}")
        history = [[numbers[column] for column in columns] for numbers in trained.history]
        finished[run] = wanted | best | spent | {"history": history}
        records.append(finished[run])
        write_results(file, records)
        print(f"{name} run {run}: test {100 * best['test']:.2f} % at epoch {trained.epoch}", flush=True)
        if run == 0 and recipe.layer == "graphattn":
            draw_attention(name, trained, data, picture(file, name, "attention"))
    return [finished[run] for run in range(runs)]


def plain(recipe: Recipe) -> dict:
    """As JSON has it."""
    options = asdict(recipe)
    return options | {"schedule": options["schedule"] | {"betas": list(recipe.schedule.betas)}}


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
    axes.scatter(epochs, tests, color="black", s=14, zorder=3, label="test at the reported epoch")
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
    for node in masks_of(data)[2].nonzero().flatten()[:200].tolist():
        near = k_hop_subgraph(node, 2, data.edge_index, num_nodes=data.num_nodes)[0].tolist()
        if 8 <= len(near) <= 20:
            return node, near
        found.append((node, near))
    return min(found, key=lambda item: len(item[1]))


def draw_attention(name: str, trained: Trained, data: Data, file: Path) -> None:
    """What the first layer attends to around one test node: arrows from key to query, as wide as their weight."""
    edge_index, weights = attention_of(trained.model, *trained.recipe.inputs(data, trained.facts))
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
    own = " and, inside the nodes, of each to itself" if trained.recipe.self_loops else ""
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
        print(
            f"{name:<12} {len(finished):>4} {ours:>14} {cpu:>12.0f} {wall:>8.0f} {epoch:>8.3g}  {PUBLISHED.get(name, '-')}"
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", choices=RECIPES, default=["Cora", "CiteSeer"])
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("GRAPHATTN_DATA", "datasets")))
    parser.add_argument("--runs", "--seeds", "--splits", type=int, choices=range(1, 11), default=10)
    parser.add_argument("--results", type=Path, default=Path("results/node_classification.json"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    for name, kind in OPTIONS.items():
        choices = {"layer": LAYERS, "model": MODELS}.get(name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, choices=choices, help="not the recipe's")
    return parser.parse_args()


OPTIONS = {"model": str, "layer": str, "layers": int, "heads": int, "hidden_channels": int, "score": str}
OPTIONS |= {"dropout": float, "attention_dropout": float}
OF_SCHEDULE = {"epochs": int, "patience": int, "lr": float, "weight_decay": float}
OPTIONS |= OF_SCHEDULE


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    given = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    schedule = {name: given.pop(name) for name in OF_SCHEDULE if name in given}
    records = {}
    for name in options.dataset:
        recipe, data = replace(RECIPES[name].scheduled(**schedule), **given), load(name, options.root)
        records[name] = run_all(name, data, recipe, options.runs, options.results)
        draw_curves(name, records[name], picture(options.results, name, "curves"))
    print_table(records)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
    warnings.filterwarnings("ignore", "Sparse invariant checks are implicitly disabled")
    main()
