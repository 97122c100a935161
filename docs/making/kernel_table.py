"""Which kernel runs which graph, asked of the library itself."""

import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, GridGraph, causal, choose_kernel

NODES, HEADS, DIM = 2000, 4, 32
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def graphs() -> dict:
    return {
        "complete": CompleteGraph(NODES),
        "causal": causal(NODES),
        "a band, 16 to either side": BandedGraph(NODES, 16, 16),
        "a grid, reach 2": GridGraph((40, 50), 2),
        "given edges, 5 a node": EdgeListGraph(torch.arange(10_000).view(2, -1) * 7 % NODES, NODES),
        "a band and a global node": BandedGraph(NODES, 16, 16) | GlobalGraph(NODES, [0]),
    }


def table() -> str:
    """The table in Markdown."""
    names = [str(dtype).removeprefix("torch.") for dtype in DTYPES]
    lines = [f"| graph | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for name, graph in graphs().items():
        chosen = [choose_kernel(graph, torch.zeros(NODES, HEADS, DIM, dtype=dtype)).kernel for dtype in DTYPES]
        lines.append(f"| {name} | {' | '.join(f'`{kernel}`' for kernel in chosen)} |")
    return "\n".join(lines)
