"""Node classification on one graph that lies with many processes: Tolokers, full graph, the same numbers on any number of them.

    python -m examples.one_graph_many_processes
    python -m torch.distributed.run --nproc-per-node 2 -m examples.one_graph_many_processes
    python -m examples.one_graph_many_processes --picture     # time and bytes of the runs so far, halo of orders of the nodes

Each process owns a range of the nodes with as many edges as the others have, with features and labels; keys and values that own
nodes see come from their owners, layer by layer. The model is that of `examples.node_classification` without dropout of
features, which is drawn by the place of a number in its tensor; dropout of attention is drawn by the edge and is the same on any
number of processes. A run that was cut off goes on from --checkpoint, on any number of processes; by itself where
torch.distributed.run has --max-restarts.
"""

import argparse
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.data import Data

from examples.kept_results import read_results, write_results
from examples.node_classification import load
from graphattn import EdgeListGraph
from graphattn.distributed import ShardedGraph, balanced_ptr, mean_of_all, placing, shard, share_batch_norms
from graphattn.recipes.models.node import NodeTransformer
from graphattn.recipes.parts import masks_of
from graphattn.transforms import ReverseCuthillMcKee

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@dataclass(frozen=True)
class Recipe:
    layers: int = 4
    heads: int = 2
    hidden_channels: int = 32
    attention_dropout: float = 0.1
    lr: float = 0.01
    epochs: int = 30

    def model(self, num_features: int, num_classes: int) -> nn.Module:
        options = {"hidden_channels": self.hidden_channels, "layers": self.layers, "heads": self.heads}
        options |= {"dropout": 0.0, "attention_dropout": self.attention_dropout}
        return NodeTransformer(num_features, num_classes, **options)


RECIPE = Recipe()
PROCESSES = (2, 4, 8, 16, 32, 64)  # of the picture's halo


@dataclass
class Rows:
    """What this process has of the data."""

    graph: ShardedGraph
    x: Tensor
    y: Tensor
    masks: list[Tensor]  # of training, validation and test nodes

    @classmethod
    def of(cls, data: Data, graph: ShardedGraph, run: int) -> "Rows":
        masks = [mask[graph.rows] for mask in masks_of(data, run)]
        return cls(graph, data.x[graph.rows], data.y[graph.rows], masks)


def graph_of(data: Data) -> EdgeListGraph:
    return EdgeListGraph(data.edge_index, data.num_nodes, is_undirected=True)


def start_processes() -> None:
    """Those of torch.distributed.run, or one alone."""
    if "RANK" in os.environ:
        store, rank, size = next(dist.rendezvous("env://"))
        # The store outlives processes that are started again: what dead ones said of themselves stays under another name.
        store = dist.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    else:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def train(data: Data, recipe: Recipe, run: int = 0, folder: Path | None = None) -> dict:
    """The measures and the cost of a run; the same on every process but for the rows that it owns."""
    torch.manual_seed(run)
    graph = graph_of(data)
    own = Rows.of(
        data, shard(graph, query_ptr=balanced_ptr(graph, dist.get_world_size())), run
    )  # hubs are not shared out evenly
    model = share_batch_norms(recipe.model(data.num_features, int(data.y.max()) + 1), own.graph)
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.epochs, pct_start=0.1)
    first, loss = load_checkpoint(folder, wrapped, optimizer, schedule)
    seconds = []
    for epoch in range(first, recipe.epochs):
        begin = time.perf_counter()
        torch.manual_seed(1000 * run + epoch)  # so that an epoch is the same in a run that was cut off
        loss = step(wrapped.train(), optimizer, own).item()
        schedule.step()
        seconds.append(time.perf_counter() - begin)
        if folder is not None:
            save_checkpoint(folder, wrapped, optimizer, schedule, epoch + 1, loss)
    traffic = own.graph.traffic
    width = recipe.hidden_channels // recipe.heads
    counts = {"own": traffic.own, "received": traffic.received, "bytes": traffic.num_bytes(recipe.heads, width)}
    return {
        "processes": own.graph.num_processes,
        "loss": loss,
        "test": tested(model, own),
        "seconds": sorted(seconds)[len(seconds) // 2] if seconds else 0.0,
        "ranks": gather(counts),
    }


def step(model: nn.Module, optimizer: torch.optim.Optimizer, own: Rows) -> Tensor:
    optimizer.zero_grad()
    training = own.masks[0]
    losses = F.cross_entropy(model(own.x, own.graph)[training], own.y[training], reduction="none")
    loss = mean_of_all(losses, own.graph)
    loss.backward()
    optimizer.step()
    return loss.detach()


def tested(model: nn.Module, own: Rows) -> float:
    """ROC AUC of the test nodes of all processes."""
    model.eval()
    with torch.no_grad():
        logits = model(own.x, own.graph)[own.masks[2]]
    found = gather((logits, own.y[own.masks[2]]))
    logits, y = (torch.cat(parts) for parts in zip(*found, strict=True))
    return float(roc_auc_score(y, logits[:, 1] - logits[:, 0]))


def gather(mine):
    """What every process has, rank after rank."""
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    return found


def save_checkpoint(folder: Path, model, optimizer, schedule, epoch: int, loss: float) -> None:
    weights, state = get_state_dict(model, optimizer)
    content = {"model": weights, "optimizer": state, "schedule": schedule.state_dict(), "epoch": epoch, "loss": loss}
    checkpoint.save(content, checkpoint_id=folder / f"epoch_{epoch}")
    if dist.get_rank() == 0:  # only what is complete is named
        (folder / "last.tmp").write_text(str(epoch))
        (folder / "last.tmp").replace(folder / "last")


def load_checkpoint(folder: Path | None, model, optimizer, schedule) -> tuple[int, float]:
    """The number of epochs that are done, and the loss of the last."""
    if folder is None or not (folder / "last").exists():
        return 0, float("nan")
    weights, state = get_state_dict(model, optimizer)
    content = {"model": weights, "optimizer": state, "schedule": schedule.state_dict(), "epoch": 0, "loss": 0.0}
    checkpoint.load(content, checkpoint_id=folder / f"epoch_{(folder / 'last').read_text()}")
    epochs = content["schedule"]["total_steps"]
    if epochs != schedule.total_steps:
        raise ValueError(
            f"the run in '{folder}' is one of {epochs} epochs, over which its learning rate rises and falls (got"
            f" {schedule.total_steps}); give as many, or another folder"
        )
    set_state_dict(model, optimizer, model_state_dict=content["model"], optim_state_dict=content["optimizer"])
    schedule.load_state_dict(content["schedule"])
    return content["epoch"], content["loss"]


def orders(data: Data) -> dict[str, Data]:
    """The data with its nodes in several orders."""
    shuffled = torch.randperm(data.num_nodes, generator=torch.Generator().manual_seed(0))
    mixed = Data(edge_index=shuffled[data.edge_index], num_nodes=data.num_nodes)
    plain = Data(edge_index=data.edge_index, num_nodes=data.num_nodes)
    return {"shuffled": mixed, "as published": plain, "reverse Cuthill-McKee": ReverseCuthillMcKee()(plain.clone())}


def draw(data: Data, records: list[dict], file: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    records = sorted(records, key=lambda record: record["processes"])
    counts = [str(record["processes"]) for record in records]
    axes[0].bar(counts, [record["seconds"] for record in records])
    axes[0].set(title="seconds of a training step", xlabel="processes")
    most = [max(rank["bytes"] for rank in record["ranks"]) / 1e6 for record in records]
    axes[1].bar(counts, most)
    axes[1].set(title="MB received: one layer, forward, fullest process", xlabel="processes")
    for name, ordered in orders(data).items():
        graph = graph_of(ordered)
        axes[2].plot(PROCESSES, [placing(graph, size).halo_per_row for size in PROCESSES], "o-", label=name)
    axes[2].set(title="keys of others for each own row", xlabel="processes", xscale="log", xticks=PROCESSES)
    axes[2].set_xticklabels(PROCESSES)
    axes[2].minorticks_off()
    axes[2].legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def report(result: dict, recipe: Recipe) -> None:
    test, loss = 100 * result["test"], result["loss"]
    print(f"{result['processes']} processes: test {test:.2f} % after {recipe.epochs} epochs, loss {loss:.6f}")
    print(f"a training step: {result['seconds']:.3f} s")
    for rank, counts in enumerate(result["ranks"]):
        print(
            f"rank {rank}: {counts['own']} own nodes, {counts['received']} keys of others a layer,"
            f" {counts['bytes'] / 1e6:.2f} MB a layer and forward pass"
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("GRAPHATTN_DATA", "datasets")))
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--checkpoint", type=Path, help="folder from which a run goes on that was cut off")
    parser.add_argument("--results", type=Path, default=Path("results/one_graph_many_processes.json"))
    parser.add_argument("--picture", action="store_true", help="draw what the runs so far came to")
    return parser.parse_args()


def main() -> None:
    options = parse()
    data = load("Tolokers", options.root)
    if options.picture:
        draw(data, read_results(options.results, []), options.results.with_suffix(".png"))
        return
    start_processes()
    recipe = replace(RECIPE, epochs=options.epochs)
    result = train(ReverseCuthillMcKee()(data), recipe, folder=options.checkpoint)
    if dist.get_rank() == 0:
        report(result, recipe)
        others = [each for each in read_results(options.results, []) if each["processes"] != result["processes"]]
        write_results(options.results, [*others, result])
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
