"""`graphattn why`: the kernel that runs on a graph, and why not the others."""

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from graphattn.command.device import check_device
from graphattn.command.network import read_network
from graphattn.functional import choose_kernel
from graphattn.graphs import BandedGraph, CompleteGraph, EdgeListGraph, Graph, GridGraph, causal

SUMMARY = "Print which kernel computes attention over a graph, and why not each faster one"
EXAMPLES = """
  graphattn why complete 1000                       every node sees every node
  graphattn why causal 60,40                        a batch of two texts
  graphattn why banded 1000 20 20                   20 frames before and after
  graphattn why grid 28 28 3                        up to 3 patches away
  graphattn why edges 10000 500000                  a random graph of so many nodes and edges
  graphattn why network.npz --heads 8 --dim 16      a file with edges or edge_index (also .pt)
  graphattn why complete 1000 --dtype bfloat16 --edge-features 16 --normalizer sparsemax
"""
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def counts(word: str) -> int | list[int]:
    """Nodes of one example, or of each of a batch."""
    numbers = [int(part) for part in word.split(",")]
    return numbers[0] if len(numbers) == 1 else numbers


def complete(nodes: str, keys: str | None = None) -> Graph:
    return CompleteGraph(counts(nodes), None if keys is None else counts(keys))


def banded(nodes: str, before: str, after: str | None = None) -> Graph:
    return BandedGraph(counts(nodes), int(before), int(before if after is None else after))


def grid(side: str, next: str, *more: str) -> Graph:
    *sides, reach = (int(number) for number in (side, next, *more))
    return GridGraph(tuple(sides), reach)


def edges(nodes: str, count: str) -> Graph:
    chance = torch.Generator().manual_seed(0)
    return EdgeListGraph(torch.randint(int(nodes), (2, int(count)), generator=chance), int(nodes))


GRAPHS: dict[str, tuple[Callable[..., Graph], str]] = {
    "complete": (complete, "complete NODES [KEYS]"),
    "causal": (lambda nodes: causal(counts(nodes)), "causal NODES"),
    "banded": (banded, "banded NODES BEFORE [AFTER]"),
    "grid": (grid, "grid SIDE [SIDE ...] REACH"),
    "edges": (edges, "edges NODES EDGES"),
}


def read_graph(words: list[str]) -> Graph:
    """The graph that words or a file say. Raises ValueError on other words.

    >>> read_graph(['banded', '100', '5']), read_graph(['causal', '6,4'])
    (BandedGraph(100, before=5, after=5), BandedGraph([6, 4], before=5, after=0))
    """
    kind, *numbers = words
    if kind not in GRAPHS:
        if Path(kind).suffix not in (".npz", ".pt"):
            raise ValueError(
                f"a graph is one of {list(GRAPHS)} and its numbers, or a file .npz or .pt (got {' '.join(words)!r})"
            )
        data = read_network(kind)
        return EdgeListGraph(data.edge_index, data.num_nodes or 0)
    make, usage = GRAPHS[kind]
    try:
        inspect.signature(make).bind(*numbers)
    except TypeError:
        wrong = "it has too few numbers, or too many"
        raise ValueError(f"write {usage!r}, NODES as 60,40 for a batch (got {' '.join(words)!r}: {wrong})") from None
    try:
        return make(*numbers)
    except ValueError as error:
        raise ValueError(f"write {usage!r}, NODES as 60,40 for a batch (got {' '.join(words)!r}: {error})") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "graph", nargs="+", help="in words, or a file: " + "; ".join(usage for _, usage in GRAPHS.values())
    )
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--dim", type=int, default=16, help="of a head (default 16)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--edge-features", type=int, default=0, metavar="N", help="numbers of an edge that enter key and value"
    )
    parser.add_argument("--score", default="dot", help="'dot', 'cosine' or 'gaussian'")
    parser.add_argument(
        "--normalizer", default="softmax", help="'softmax', 'relu', 'sigmoid', 'sparsemax', 'entmax15', ..."
    )
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--kernel", help="why this one does not run")


def run(args: argparse.Namespace) -> int:
    graph = read_graph(args.graph)
    like: dict[str, Any] = {"dtype": DTYPES[args.dtype], "device": args.device}
    check_device(args.device)
    query, key = (torch.zeros(count, args.heads, args.dim, **like) for count in (graph.num_queries, graph.num_keys))
    options: dict[str, Any] = {"score": args.score, "normalizer": args.normalizer, "dropout": args.dropout}
    if args.edge_features:
        options["edge_features"] = torch.zeros(graph.num_edges, args.edge_features, **like)
        options["edge_query"] = torch.zeros(graph.num_queries, args.heads, args.edge_features, **like)
    choice = choose_kernel(graph.to(args.device), query, key, kernel=args.kernel, **options)
    print(f"{graph!r}, {graph.num_edges:,} edges: {choice.kernel} runs")
    for name, reason in choice.refusals.items():
        print(f"  not {name}: {reason}")
    return 0
