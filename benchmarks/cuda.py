"""Attention on a GPU: checked, then timed beside its peers.

    python -m benchmarks.cuda               edges, windows, complete graphs, sentences, grids; bfloat16
    python -m benchmarks.cuda --sweep       time and memory for 1e4 ... 1e8 random edges, 20 per node, with a picture
    python -m benchmarks.cuda --rounds 3    fewer rounds

Every result is compared with 'edges_torch' in float32 on a smaller problem of the same kind first. Times are those of a GPU that
is kept busy, as a model keeps it: of calls one after the other, in turn with those of the peers, medians over the rounds.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers
from benchmarks.edges import gatv2, with_edge_features
from benchmarks.graphs import random_edges
from benchmarks.measure import Timing
from benchmarks.report import Row
from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GridGraph, attend, causal, choose_kernel
from graphattn.graphs import Graph

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # tests run parts of it without a GPU
TOLERANCE = 3e-2  # bfloat16 keeps 8 bits
ROUNDS = 7
BURST = 0.02  # seconds of calls that follow each other
MOST_CALLS = 20  # of a burst
MESSAGES = 14  # tensors of edges x heads x dim that PyG may hold in training
HEADER = "| work | pass | by | ms | times the first | GiB beyond | gathered |\n|---|---|---|---|---|---|---|"

Call = Callable[..., Tensor]


def plain(graph: Graph, kernel: str | None = None) -> Call:
    return partial(attend, graph=graph, kernel=kernel)


def node_shapes(graph: Graph, heads: int, dim: int) -> list[tuple[int, ...]]:
    """Of queries, keys and values."""
    return [(size, heads, dim) for size in (graph.num_queries, graph.num_keys, graph.num_keys)]


class Work(NamedTuple):
    """A graph, a smaller one of its kind for the check, and who else computes the same.

    Args:
        of: Attention over a graph by a kernel (None: the one that is chosen), from inputs.
        shapes: Of the inputs, from (graph, heads, dim).
        peers: Others by name, from (graph, heads, dim).
        gathers: Whether keys and values are read edge by edge, so that bytes by time say something.
    """

    name: str
    graph: Graph
    small: Graph
    heads: int
    dim: int
    peers: Callable[[Graph, int, int], dict[str, Call]]
    of: Callable[[Graph, str | None], Call] = plain
    shapes: Callable[[Graph, int, int], list[tuple[int, ...]]] = node_shapes
    gathers: bool = False


# Peers ----------------------------------------------------------------------------------------------------------------


def nobody(graph: Graph, heads: int, dim: int) -> dict[str, Call]:
    return {}


def pyg(
    layer: str, make: Callable[..., Call], *more, compiled: bool = True
) -> Callable[[Graph, int, int], dict[str, Call]]:
    """One of PyG's layers after its projections, eager and, unless told otherwise, compiled."""

    def found(graph: Graph, heads: int, dim: int) -> dict[str, Call]:
        call = make(listed(graph), heads, dim, *more)
        return {f"PyG {layer}": call} | ({f"PyG {layer}, compiled": torch.compile(call)} if compiled else {})

    return found


def kernels(*names: str) -> Callable[[Graph, int, int], dict[str, Call]]:
    """The same by kernels of one's own choice, where one overtakes another."""
    return lambda graph, heads, dim: {name: plain(graph, name) for name in names}


def listed(graph: Graph) -> EdgeListGraph:
    """The same edges, one by one."""
    return EdgeListGraph(graph.edge_index(DEVICE), *graph.shape)


def sdpa(graph: Graph, heads: int, dim: int) -> dict[str, Call]:
    """torch's attention over all pairs of each example, or the causal ones; it chooses its kernel."""
    is_causal, examples = isinstance(graph, BandedGraph), len(graph.sizes)

    def call(*tensors):
        batch = (x.unflatten(0, (examples, -1)).transpose(1, 2) for x in tensors)  # [examples, heads, nodes, dim]
        return F.scaled_dot_product_attention(*batch, is_causal=is_causal).transpose(1, 2).flatten(0, 1)

    return {"torch SDPA": call}


def sdpa_of_all(graph: BandedGraph, heads: int, dim: int) -> dict[str, Call]:
    """More than the work of a window, which the operator does not know."""
    return {"torch SDPA, all pairs": peers.full_sdpa}


def padded_sdpa(graph: CompleteGraph, heads: int, dim: int) -> dict[str, Call]:
    """Sentences padded to the longest, with a mask of their words; padding and taking it off again are timed."""
    counts = torch.tensor([count for count, _ in graph.sizes], device=DEVICE)
    is_word = torch.arange(int(counts.max()), device=DEVICE) < counts[:, None]

    def pad(x):
        return x.new_zeros(*is_word.shape, heads, dim).index_put((is_word,), x).transpose(1, 2)

    def call(*tensors):
        out = F.scaled_dot_product_attention(*map(pad, tensors), attn_mask=is_word[:, None, None])
        return out.transpose(1, 2)[is_word]

    return {"torch SDPA, padded": call}


# Works ----------------------------------------------------------------------------------------------------------------


def shapes_with_edges(graph: Graph, heads: int, dim: int) -> list[tuple[int, ...]]:
    return [*node_shapes(graph, heads, dim), (graph.num_edges, dim), (heads * dim, dim)]


def gatv2_shapes(graph: Graph, heads: int, dim: int) -> list[tuple[int, ...]]:
    return [(graph.num_queries, heads, dim), (graph.num_keys, heads, dim), (1, heads, dim)]


def works(few: bool = False) -> list[Work]:
    """`few` makes the graphs of the check only, for tests."""
    many, some = (((2_000, 40_000),) * 2) if few else ((500_000, 10_000_000), (200_000, 4_000_000))
    edges, skewed, fewer = random_edges(*many), random_edges(*many, is_skewed=True), random_edges(*some)
    small, small_skewed = random_edges(500, 6_000), random_edges(500, 6_000, is_skewed=True)
    conv = pyg("TransformerConv", peers.transformer_conv)
    words = torch.randint(5, 513, (64,), generator=torch.Generator().manual_seed(0)).tolist()
    window = BandedGraph(2**15, 1024, 1023), BandedGraph(200, 40, 39)
    return [
        Work("random edges, N 500k, E 10M, 8 heads of 16", edges, small, 8, 16, conv, gathers=True),
        Work("the same, 1 head of 128", edges, small, 1, 128, nobody, gathers=True),
        Work("power law, N 500k, E 10M, 8 heads of 16", skewed, small_skewed, 8, 16, conv, gathers=True),
        Work("edge features of 16, N 200k, E 4M, 8 heads of 16", fewer, small, 8, 16,
             pyg("TransformerConv", peers.transformer_conv, 16), with_edge_features, shapes_with_edges),
        Work("GATv2, N 200k, E 4M, 8 heads of 16", fewer, small, 8, 16, pyg("GATv2Conv", peers.gatv2_conv), gatv2, gatv2_shapes),
        Work("grid 256 x 256, reach 3, 4 heads of 32", GridGraph((256, 256), 3), GridGraph((20, 30), 3), 4, 32, conv),
        Work("window of 2048 over 32k, 1 head of 128", *window, 1, 128, sdpa_of_all),
        Work("every 4th node of 512 over 32k, 8 heads of 64", BandedGraph(2**15, 64, 64, dilation=4),
             BandedGraph(200, 13, 13, dilation=4), 8, 64, sdpa_of_all),
        *(Work(f"band of {width} each side over 262k, 8 heads of 64", BandedGraph(2**18, width, width),
               BandedGraph(200, width, width), 8, 64, kernels("flash_cuda", "edges_cuda")) for width in (1, 4, 16, 64)),
        Work("complete, N 8192, 16 heads of 64", CompleteGraph(8192), CompleteGraph(60), 16, 64, sdpa),
        Work("complete, N 8192, 16 heads of 128", CompleteGraph(8192), CompleteGraph(60), 16, 128, sdpa),
        Work("causal, N 8192, 16 heads of 64", causal(8192), causal(60), 16, 64, sdpa),
        Work("64 sentences of 5 ... 512 words, 8 heads of 64", CompleteGraph(words), CompleteGraph([5, 40, 23]), 8, 64,
             padded_sdpa),
        Work("34 nodes, 156 edges, 4 heads of 8", random_edges(34, 156), random_edges(34, 156), 4, 8, conv),
    ]  # fmt: skip


# Measuring ------------------------------------------------------------------------------------------------------------


def tensors(work: Work, graph: Graph) -> list[Tensor]:
    generator = torch.Generator(DEVICE).manual_seed(0)
    shapes = work.shapes(graph, work.heads, work.dim)
    return [torch.randn(x, generator=generator, device=DEVICE, dtype=torch.bfloat16).requires_grad_() for x in shapes]


def cotangent_of(out: Tensor) -> Tensor:
    return torch.randn(out.shape, device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(1)).to(out.dtype)


def training(call: Call, inputs: list[Tensor], cotangent: Tensor) -> list[Tensor]:
    out = call(*inputs)
    return [out, *torch.autograd.grad(out, inputs, cotangent)]


def check(work: Work) -> None:
    """Raises ValueError where output or gradients are not those of edges_torch in float32."""
    graph = work.small.to(DEVICE)
    inputs = tensors(work, graph)
    cotangent = cotangent_of(work.of(graph, None)(*inputs))
    wide = [x.detach().float().requires_grad_() for x in inputs]
    expected = training(work.of(graph, "edges_torch"), wide, cotangent.float())
    for found, wanted in zip(training(work.of(graph, None), inputs, cotangent), expected, strict=True):
        error = ((found.float() - wanted).abs().max() / wanted.abs().max()).item()
        if not error <= TOLERANCE:
            raise ValueError(f"{work.name}: off by {error:.1e} of the largest number, more than {TOLERANCE:.0e}")


def burst(call: Callable[[], object], count: int) -> float:
    """Milliseconds of a call, of `count` that follow each other."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / count


def milliseconds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Times of each call in every round; the calls take turns."""
    counts = {}
    for name, call in calls.items():
        call(), torch.cuda.synchronize()  # compiles
        start = time.perf_counter()
        call(), torch.cuda.synchronize()
        counts[name] = min(max(int(BURST / (time.perf_counter() - start)), 1), MOST_CALLS)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(burst(call, counts[name]))
    return times


def gibibytes_beyond(call: Callable[[], object]) -> float:
    """The peak of memory of one call, over what is there before it."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 2**30


def rate(graph: Graph, heads: int, dim: int, time: float) -> str:
    """Bytes of gathered keys and values by time."""
    return f"{graph.num_edges * heads * dim * 2 * 2 / time / 1e9:.2f} TB/s"


def passes_of(work: Work, graph: Graph) -> dict[str, dict[str, Callable[[], object]]]:
    inputs = tensors(work, graph)
    plain_inputs = [x.detach() for x in inputs]
    callers = {name_of(work, graph, plain_inputs): work.of(graph, None), **work.peers(graph, work.heads, work.dim)}
    cotangent = cotangent_of(work.of(graph, None)(*plain_inputs))
    return {
        "forward": {name: partial(without_gradients, call, plain_inputs) for name, call in callers.items()},
        "training": {name: partial(training, call, inputs, cotangent) for name, call in callers.items()},
    }


def name_of(work: Work, graph: Graph, inputs: list[Tensor]) -> str:
    return f"graphattn ({choose_kernel(graph, *inputs).kernel})" if work.of is plain else "graphattn"


@torch.no_grad()
def without_gradients(call: Call, inputs: list[Tensor]) -> Tensor:
    return call(*inputs)


def measure(work: Work, rounds: int) -> list[Row]:
    """Prints the rows of one piece of work."""
    graph, rows = work.graph.to(DEVICE), []
    for pass_, calls in passes_of(work, graph).items():
        times = milliseconds(calls, rounds)
        first = median(next(iter(times.values())))
        for name, found in times.items():
            middle, memory = median(found), gibibytes_beyond(calls[name])
            gathered = rate(graph, work.heads, work.dim, middle) if pass_ == "forward" and work.gathers else ""
            cells = work.name, pass_, name, f"{middle:.3f}", f"{middle / first:.2f}", f"{memory:.2f}", gathered
            print("| " + " | ".join(cells) + " |", flush=True)
            timing = Timing(middle / 1e3, min(found) / 1e3, max(found) / 1e3, 0.0)
            peer, extra = name.split(" (")[0], int(memory * 2**30)
            rows.append(Row(work.name, pass_, peer, timing, middle / first, extra, size=graph.num_edges))
    return rows


def sweep(largest: int, rounds: int, out: Path) -> None:
    """1e4, 1e5, ... edges, 20 for each node, and a picture; the peer stops where memory does."""
    rows, heads, dim, size = [], 8, 16, 10_000
    while size <= largest:
        graph = random_edges(size // 20, size)
        fits = size * heads * dim * 2 * MESSAGES < torch.cuda.mem_get_info()[0]
        found = pyg("TransformerConv", peers.transformer_conv, compiled=False) if fits else nobody
        rows += measure(Work(f"{size:,} edges", graph, graph, heads, dim, found, gathers=True), rounds)
        torch.cuda.empty_cache()
        size *= 10
    from benchmarks.picture import draw

    out.mkdir(parents=True, exist_ok=True)
    draw(rows, out / "cuda_sweep.png")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of which medians are taken (default {ROUNDS})")
    parser.add_argument("--only", default="", help="only works whose name contains this text")
    parser.add_argument("--sweep", action="store_true", help="random edges of growing number instead, with a picture")
    parser.add_argument("--largest", type=int, default=10**8, help="edges of a sweep at most (default 1e8)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the picture of a sweep")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no GPU that torch can use is here, so there is nothing to measure")
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, bfloat16\n\n{HEADER}")
    if options.sweep:
        sweep(options.largest, options.rounds, options.out)
        return
    for work in works():
        if options.only in work.name:
            check(work)
            measure(work, options.rounds)


if __name__ == "__main__":
    main()
