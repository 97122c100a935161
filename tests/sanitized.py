"""Random calls of everything that runs in C, for a while: `.ci/sanitize` runs this with a library that watches its memory.

    python -m tests.sanitized --seconds 60
    python -m tests.sanitized --cases 50 --level _v3      the loops for AVX2, also where the processor has more

Case number i is drawn from seed + i alone, and its number is printed before it runs: what a sanitizer ends can be run again.
"""

import argparse
import random
import sys
import time
from contextlib import nullcontext, suppress

import torch

from graphattn import CompleteGraph, EdgeListGraph
from graphattn.kernels.native import border, dots, drop, gine, layer_norm, library, linear, sorting, threads
from graphattn.kernels.native.library import why_not_native
from graphattn.nn import GATConv, GATv2Conv, TransformerConv
from graphattn.running.mapped_edges import attend_mapped_edges
from tests.fuzz import Case

FORCED = ["edges_cpu", "edges_cpu", "banded_cpu"]


def attention(seed: int) -> None:
    """A case of `tests.fuzz`, by a kernel of loops in C if it has what the case needs."""
    case = Case(seed)
    case.kernel = random.Random(seed).choice(FORCED)
    case.twice = (
        False  # second derivatives are torch's, which throws a C++ exception on the way: the sanitizer ends at one
    )
    case.run()


def indices(seed: int) -> None:
    """Edges in any order, some of which are no edges: sorted, turned, looked through, compared."""
    drawn = random.Random(seed)
    dtype, count = drawn.choice([torch.int64, torch.int32]), drawn.choice([0, 1, 7, drawn.randint(0, 300), 70_000])
    num_rows, num_cols = drawn.randint(1, 40), drawn.randint(1, 40)
    generator = torch.Generator().manual_seed(seed)
    row, col = (torch.randint(size, (count,), generator=generator).to(dtype) for size in (num_rows, num_cols))
    if count and drawn.random() < 0.2:
        drawn.choice([row, col])[drawn.randrange(count)] = drawn.choice([-1, 40, 2**31 - 1, -(2**31)])
    is_outside = sorting.some_outside(row, col, num_rows, num_cols)
    in_order = sorting.is_sorted(row, col)
    copy = sorting.copy_pairs(torch.stack([col, row]), num_rows, num_cols, drawn.choice([torch.int32, dtype]))
    assert (copy is None) == is_outside and (copy is None or copy[1] == in_order)
    assert sorting.same_numbers(row.long(), row)
    with suppress(ValueError) if is_outside else nullcontext():
        starts, cols, places = sorting.sort_pairs(row, col, num_rows, num_cols)
        assert torch.equal(col[places.long()].int(), cols)
        sorting.turn_rows(starts, cols, drawn.choice([None, places]), num_cols)


def maps(seed: int) -> None:
    """Linear maps of one table, forward and backward."""
    drawn, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    rows, inputs = drawn.choice([8, 9, drawn.randint(8, 300)]), drawn.choice([1, 16, drawn.randint(1, 80)])
    outputs = [drawn.choice([8, 32, drawn.randint(8, 80)]) for _ in range(drawn.randint(1, 4))]
    x = torch.randn(rows, inputs, generator=generator)
    weights = [torch.randn(size, inputs, generator=generator) for size in outputs]
    biases = [drawn.choice([None, torch.randn(size, generator=generator)]) for size in outputs]
    grads = [torch.randn(rows, size, generator=generator) for size in outputs]
    for y, weight, bias in zip(linear.forward(x, weights, biases), weights, biases):
        torch.testing.assert_close(y, torch.nn.functional.linear(x, weight, bias), rtol=1e-4, atol=1e-4)
    wanted = sum(grad @ weight for grad, weight in zip(grads, weights))
    torch.testing.assert_close(linear.backward_input(grads, weights), wanted, rtol=1e-4, atol=1e-3)
    before = linear.backward_input(grads, weights, x)
    torch.testing.assert_close(before, wanted.masked_fill(x <= 0, 0), rtol=1e-4, atol=1e-3)
    linear.forward(x, weights, biases, relu=True)
    found = linear.backward_weight(grads, x, [bias is not None for bias in biases])
    for (of_weight, of_bias), grad in zip(found, grads):
        torch.testing.assert_close(of_weight, grad.T @ x, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(grad.sum(0) if of_bias is None else of_bias, grad.sum(0), rtol=1e-4, atol=1e-3)


def norms(seed: int) -> None:
    """Layer norms of examples, forward and backward."""
    drawn, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    sizes = [drawn.choice([0, 1, drawn.randint(2, 50)]) for _ in range(drawn.randint(0, 20))] + [drawn.randint(1, 9)]
    x = torch.randn(sum(sizes), drawn.choice([1, 8, drawn.randint(1, 40)]), generator=generator)
    weight, bias = (torch.randn(x.size(1), generator=generator) for _ in range(2))
    examples = layer_norm.examples_of(CompleteGraph(sizes))
    other, added = (drawn.choice([None, torch.randn(x.shape, generator=generator)]) for _ in range(2))
    keeps_sum = drawn.random() < 0.5
    y, total, mean, scale = layer_norm.forward(x, other, added, weight, bias, 1e-5, examples, keeps_sum)
    x = x if other is None else x + other
    assert total is None or torch.equal(total, x)
    part = x.split(sizes)[-1]
    wanted = torch.nn.functional.layer_norm(part, part.shape) * weight + bias
    wanted = wanted if added is None else wanted + added[-len(part) :]
    torch.testing.assert_close(y[-len(part) :], wanted, rtol=1e-3, atol=1e-3)
    layer_norm.backward(y, x, weight, mean, scale, examples, tuple(drawn.random() < 0.7 for _ in range(3)))


def mapped(seed: int) -> None:
    """Attention with mapped features of edges, forward and backward."""
    drawn, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    num_nodes, num_edges = drawn.randint(1, 30), drawn.choice([0, drawn.randint(1, 60), 300])
    kv_heads, groups, dim, edge_dim = (drawn.randint(1, most) for most in (3, 2, 33, 20))
    dtype, heads = drawn.choice([torch.float32, torch.float64]), kv_heads * groups
    graph = EdgeListGraph(torch.randint(num_nodes, (2, num_edges), generator=generator), num_nodes)
    shapes = [(num_nodes, heads, dim), *[(num_nodes, kv_heads, dim)] * 2, (num_edges, edge_dim), (heads, dim, edge_dim)]
    tensors = [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]
    out = attend_mapped_edges(*tensors[:3], graph, *tensors[3:], drawn.choice([0.0, 0.3]))
    assert out is not None
    out.sum().backward()


def messages(seed: int) -> None:
    """Sums of GINE's messages, forward and backward."""
    drawn, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    num_nodes, num_edges = drawn.randint(1, 30), drawn.choice([0, drawn.randint(1, 60), 300])
    channels, edge_dim = drawn.choice([1, 32, drawn.randint(1, 80)]), drawn.randint(1, 20)
    graph = EdgeListGraph(torch.randint(num_nodes, (2, num_edges), generator=generator), num_nodes)
    x, weight, bias, eps = (
        torch.randn(shape, generator=generator)
        for shape in ((num_nodes, channels), (channels, edge_dim), (channels,), (1,))
    )
    has_weight = drawn.random() < 0.7
    features = torch.randn(num_edges, edge_dim if has_weight else channels, generator=generator)
    maps = (weight, drawn.choice([bias, None])) if has_weight else (None, None)
    out, signs = gine.forward(x, features, *maps, eps, graph, keeps_signs=True)
    assert signs is not None
    mapped = torch.nn.functional.linear(features, *maps) if has_weight else features
    source, target = graph.edge_index()
    wanted = ((1 + eps) * x).index_add(0, target, (x[source] + mapped).relu())
    torch.testing.assert_close(out, wanted, rtol=1e-3, atol=1e-3)
    gine.backward(out, drawn.choice([x, None]), signs, eps, graph, drawn.random() < 0.7, drawn.random() < 0.7)


def drops(seed: int) -> None:
    """Dropout, and dot products of nodes, forward and backward."""
    drawn, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    x = torch.randn(drawn.choice([1, drawn.randint(2, 60), drawn.randint(4000, 13_000)]), generator=generator)
    assert torch.equal(drop.forward(x, 0.3, seed), x * drop.factors(x, 0.3, seed))
    rows, heads, dim = drawn.randint(1, 80), drawn.randint(1, 5), drawn.randint(1, 35)
    shapes = (rows, heads, dim), (heads, dim), (heads, dim), (rows, heads, 1), (rows, heads, 1), (rows, heads, dim)
    x, source, target, of_source, of_target, grad_x = (torch.randn(shape, generator=generator) for shape in shapes)
    found, _ = dots.forward(x, source, target)
    torch.testing.assert_close(found, (x * source).sum(-1, keepdim=True), rtol=1e-3, atol=1e-3)
    dots.backward(x, source, target, of_source, of_target, grad_x)


def layers(seed: int) -> None:
    """Layers on one graph, often enough that they run again what was written down."""
    drawn, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    num_nodes, channels, width, edge_dim = (drawn.randint(1, most) for most in (40, 30, 17, 5))
    edges = torch.randint(num_nodes, (2, drawn.randint(0, 200)), generator=generator)
    kind, heads = drawn.choice([TransformerConv, GATConv, GATv2Conv]), drawn.randint(1, 4)
    options = {
        "dropout": drawn.choice([0.0, 0.3]),
        "edge_dim": None if kind is GATConv else drawn.choice([None, edge_dim]),
    }
    layer, x = kind(channels, width, heads, **options), torch.randn(num_nodes, channels, generator=generator)
    features = [] if options["edge_dim"] is None else [torch.randn(edges.size(1), edge_dim, generator=generator)]
    for _ in range(5):
        layer(x.requires_grad_(), edges, *features).sum().backward()


def plant() -> None:
    """From now on one array of every struct ends a number too early, in memory of its own."""
    hand_over = border.hand_over

    def short(struct, real, **tensors):
        hand_over(struct, real, **tensors)
        name, tensor = next((name, x) for name, x in tensors.items() if x is not None)
        if tensor.numel():
            struct.planted = tensor.flatten()[:-1].clone()
            setattr(struct, name, struct.planted.data_ptr())
        return struct

    for module in modules_with(hand_over):
        module.hand_over = short


def modules_with(function) -> list:
    return [module for module in list(sys.modules.values()) if getattr(module, function.__name__, None) is function]


def stand_in(level: str) -> None:
    """From now on the loops for another level of processors run, as build.py names them: '' for the lowest."""
    for module in modules_with(library.level):
        module.level = lambda: level


def main(seconds: float, cases: int | None, seed: int, planted: bool) -> None:
    assert why_not_native() is None, why_not_native()
    for module in (threads, sorting, layer_norm, drop, dots):
        module.PIECE = 64  # many pieces, so that threads share the little that there is
    torch.set_num_threads(2)
    if planted:
        plant()
    start, count = time.monotonic(), 0
    while time.monotonic() - start < seconds if cases is None else count < cases:
        for task in (attention, indices, maps, norms, mapped, messages, drops, layers):
            print(f"\r{task.__name__} {seed + count}", end="", flush=True)
            task(seed + count)
        count += 1
    print(
        f"\r{count} cases of attention, and as many of indices, linear maps, norms, mapped edges and messages, in"
        f" {time.monotonic() - start:.0f} s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cases", type=int, help="so many, however long they take")
    parser.add_argument("--level", help="of the processor that loops are for")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plant", action="store_true", help="arrays that are a number short")
    arguments = parser.parse_args()
    if arguments.level is not None:
        stand_in(arguments.level)
    main(arguments.seconds, arguments.cases, arguments.seed, arguments.plant)
