"""Attention on a GPU: checked, then timed beside its peers; half precision, medians by CUDA events.

    python -m benchmarks.cuda               random edges, a window over a long sequence, a complete graph
    python -m benchmarks.cuda --rounds 5    fewer rounds

Every result is compared with 'edges_torch' in float32 on a smaller problem of the same kind first.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers
from benchmarks.graphs import random_graph
from graphattn import BandedGraph, CompleteGraph, attend, choose_kernel
from graphattn.graphs import Graph

TOLERANCE = 3e-2  # bfloat16 keeps 8 bits
ROUNDS = 20
WARM_UP = 3


class Work(NamedTuple):
    """A graph, a smaller one of its kind for the check, and who else computes the same."""

    name: str
    graph: Graph
    small: Graph
    heads: int
    dim: int
    peers: Callable[[Graph, int, int], dict[str, Callable[..., Tensor]]]
    trains: bool = True


def edge_peers(graph: Graph, heads: int, dim: int) -> dict[str, Callable[..., Tensor]]:
    """PyG's TransformerConv after its projections, eager and compiled."""
    conv = peers.transformer_conv(graph, heads, dim)
    return {"PyG TransformerConv": conv, "PyG, compiled": torch.compile(conv)}


def sdpa_peers(graph: Graph, heads: int, dim: int) -> dict[str, Callable[..., Tensor]]:
    """torch's attention without a mask: the same work as a complete graph, more than a window."""

    def call(*tensors):
        batch = (x.transpose(0, 1)[None] for x in tensors)  # [1, heads, nodes, dim]
        return F.scaled_dot_product_attention(*batch)[0].transpose(0, 1)

    return {"torch SDPA, complete": call}


def works() -> list[Work]:
    edges, few = random_graph(500_000, 10_000_000), random_graph(2_000, 40_000)
    return [
        Work("random edges, N 500k, E 10M, 8 heads of 16", edges, few, 8, 16, edge_peers),
        Work("random edges, N 500k, E 10M, 1 head of 128", edges, few, 1, 128, lambda *sizes: {}, trains=False),
        Work("window of 2048 over 32k, 1 head of 128", BandedGraph(2**15, 1024, 1023), BandedGraph(700, 40, 39), 1, 128,
             sdpa_peers),
        Work("complete graph, N 8192, 16 heads of 64", CompleteGraph(8192), CompleteGraph(300), 16, 64, sdpa_peers),
    ]  # fmt: skip


def tensors(graph: Graph, heads: int, dim: int) -> list[Tensor]:
    generator = torch.Generator("cuda").manual_seed(0)
    sizes = (graph.num_queries, graph.num_keys, graph.num_keys)
    shapes = [(size, heads, dim) for size in sizes]
    return [torch.randn(x, generator=generator, device="cuda", dtype=torch.bfloat16).requires_grad_() for x in shapes]


def training(call: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    out = call(*inputs)
    cotangent = torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out).to(out.dtype)
    return [out, *torch.autograd.grad(out, inputs, cotangent)]


def check(work: Work) -> None:
    """Raises ValueError where output or gradients are not those of edges_torch in float32."""
    graph = work.small.to("cuda")
    inputs = tensors(graph, work.heads, work.dim)
    wide = [x.detach().float().requires_grad_() for x in inputs]
    expected = training(lambda *x: attend(*x, graph, kernel="edges_torch"), wide)
    for found, wanted in zip(training(lambda *x: attend(*x, graph), inputs), expected, strict=True):
        error = ((found.float() - wanted).abs().max() / wanted.abs().max()).item()
        if not error <= TOLERANCE:
            raise ValueError(f"{work.name}: off by {error:.1e} of the largest number, more than {TOLERANCE:.0e}")


def milliseconds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median time of each call; the calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM_UP + rounds):
        for name, call in calls.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            end.synchronize()
            if number >= WARM_UP:
                times[name].append(start.elapsed_time(end))
    return {name: median(found) for name, found in times.items()}


def rate(graph: Graph, heads: int, dim: int, time: float) -> str:
    """Bytes of gathered keys and values by time."""
    return f"{graph.num_edges * heads * dim * 2 * 2 / time / 1e9:.2f} TB/s"


def measure(work: Work, rounds: int) -> None:
    """Prints the rows of one piece of work."""
    graph = work.graph.to("cuda")
    inputs = tensors(graph, work.heads, work.dim)
    kernel = choose_kernel(graph, *inputs).kernel
    callers = {f"graphattn ({kernel})": lambda *x: attend(*x, graph), **work.peers(graph, work.heads, work.dim)}
    plain = [x.detach() for x in inputs]
    passes = {"forward": {name: partial(call, *plain) for name, call in callers.items()}}
    if work.trains:
        passes["training"] = {name: partial(training, call, inputs) for name, call in callers.items()}
    for pass_, calls in passes.items():
        times = milliseconds(calls, rounds)
        first = next(iter(times.values()))
        for name, time in times.items():
            gathered = rate(graph, work.heads, work.dim, time) if pass_ == "forward" and "random" in work.name else ""
            print(f"| {work.name} | {pass_} | {name} | {time:.3f} | {time / first:.2f} | {gathered} |", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timed rounds, of which the median is printed")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no GPU that torch can use is here, so there is nothing to measure")
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, bfloat16\n")
    print("| work | pass | by | median ms | times the first | gathered |\n|---|---|---|---|---|---|")
    for work in works():
        check(work)
        measure(work, options.rounds)


if __name__ == "__main__":
    main()
