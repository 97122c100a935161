"""Checks for graphs, scores, normalizers and kernels of your own, by the cases and loops that test this package's."""

import copy
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import torch
from torch import Tensor

from graphattn.formulas.normalizers import Normalizer, as_normalizer
from graphattn.formulas.scores import Score, as_score
from graphattn.functional import attend, attention_weights
from graphattn.graphs import EdgeListGraph, Graph, batch_graphs, causal
from graphattn.kernels.choose import KERNELS, register_kernel, remove_kernel
from graphattn.kernels.kernel import Kernel
from graphattn.running.arguments import Options, prepare
from graphattn.testing.cases import GRAPHS
from graphattn.testing.layouts import LAYOUTS
from graphattn.testing.loops import loop_attention
from graphattn.testing.problems import (
    CASES,
    MOST,
    OPTIONS,
    WIDTHS,
    Case,
    Widths,
    arguments_of,
    expected,
    expected_of,
    problem_of,
)
from graphattn.testing.tolerance import TOLERANCE

HEADS, DIM = 2, 5
# Degrees of 0, 1, 2 and 4, a repeated edge, and edges in no order.
EDGES = [(0, 1), (2, 2), (1, 2), (3, 4), (0, 4), (3, 4), (2, 4)]


def check_graph(graph: Graph, edges: Sequence[tuple[int, int]]) -> None:
    """Raises AssertionError unless `graph` has these edges, in all that it answers, and attention over it is attention over them.

    Args:
        graph: A graph of any class.
        edges: (key, query) pairs in the order of `graph.edge_index()`, found by other code than that of the class.

    >>> from graphattn import BandedGraph
    >>> check_graph(BandedGraph(3, 1, 0), [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)])
    """
    index = torch.tensor(list(edges), dtype=torch.long).reshape(-1, 2).T
    mask = torch.zeros(graph.shape, dtype=torch.bool)
    mask[index[1], index[0]] = True
    both = batch_graphs([graph, causal(2)])
    end = torch.tensor([[graph.num_keys], [graph.num_queries]])
    for what, found, wanted in (
        ("num_edges", graph.num_edges, len(edges)),
        ("edge_index()", graph.edge_index(), index),
        ("T.edge_index()", graph.T.edge_index(), index.flip(0)),
        ("T.T.edge_index()", graph.T.T.edge_index(), index),
        ("mask(), of what it allows,", graph.mask(), mask),
        ("T.mask()", graph.T.mask(), mask.T),
        ("degrees()", graph.degrees(), torch.bincount(index[1], minlength=graph.num_queries)),
        ("edge_index() of a copy", copy.deepcopy(graph).edge_index(), index),
        ("edge_index() of what pickle reads", pickle.loads(pickle.dumps(graph)).edge_index(), index),
        ("mask() of ~", (~graph).mask(), ~mask),
        ("edge_index() in a batch", both.edge_index(), torch.cat([index, causal(2).edge_index() + end], 1)),
    ):
        assert same(found, wanted), f"{what} of {graph!r} gives {found} where {wanted} is right"
    query, key, value = leaves(graph.num_queries, graph.num_keys, graph.num_keys)
    wanted = loop_attention(query, key, value, list(edges))[0]
    assert_close([attend(query, key, value, graph)], [wanted], (query, key, value), "attend over the graph")


def check_score(score: str | Score | Callable[[Tensor, Tensor], Tensor]) -> None:
    """Raises AssertionError unless the score of many pairs at once is the score of each pair, with its gradients; where a Score
    has a `reduce`, unless what that gives is what `between` gives.

    >>> check_score(lambda query, key: -(query - key).abs().sum(-1))
    """
    score = as_score(score)
    score.check(HEADS, DIM, None)
    query, key, value = leaves(5, 5, 5)
    graph, rows = graph_of_edges(), []
    rewritten = score.reduce(query, key)
    for node, head in product(range(5), range(HEADS)):
        seen = [source for source, target in EDGES if target == node]
        pairs = [(query[node : node + 1], key[source : source + 1]) for source in seen]
        scores = [score.between(*pair, None)[0, head] * score.default_scale(DIM) for pair in pairs]
        weights = torch.stack(scores).softmax(0) if scores else value.new_zeros(0)
        rows.append(sum((weight * value[source, head] for weight, source in zip(weights, seen)), value.new_zeros(DIM)))
    wanted = torch.stack(rows).view(5, HEADS, DIM)
    assert_close(
        [attend(query, key, value, graph, score=score)], [wanted], (query, key, value), "attend with the score"
    )
    assert rewritten[0].shape[:-1] == query.shape[:-1], (
        f"'reduce' must keep nodes and heads (got {list(rewritten[0].shape)})"
    )
    run = lambda query, key, value: attend(query, key, value, graph, score=score)  # noqa: E731
    assert torch.autograd.gradgradcheck(run, (query, key, value))


def check_normalizer(normalizer: str | Normalizer | Callable[[Tensor], Tensor]) -> None:
    """Raises AssertionError unless the weights of many rows at once are those of each row alone, with their gradients; edges of
    score -inf have weight 0, and rows without edges give 0.

    >>> check_normalizer(lambda scores: scores.exp() / (1 + scores.exp().sum(-1, keepdim=True)))
    """
    normalizer = as_normalizer(normalizer)
    query, key, value = leaves(5, 5, 5)
    bias = torch.randn(len(EDGES), HEADS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bias[4, 1] = bias[0, 0] = -torch.inf
    bias.requires_grad_()
    rows = []
    for node in range(5):
        places = [place for place, (_, target) in enumerate(EDGES) if target == node]
        seen = value.new_zeros(HEADS, DIM)
        for head in range(HEADS):
            kept = [place for place in places if bias[place, head] > -torch.inf]
            if kept:
                alone = EdgeListGraph(torch.tensor([[EDGES[place][0] for place in kept], [0] * len(kept)]), 1, 5)
                one = (query[node : node + 1, head : head + 1], key[:, head : head + 1])
                weights = attention_weights(*one, alone, bias=bias[kept, head], normalizer=normalizer)
                row = sum(weight * value[EDGES[place][0], head] for weight, place in zip(weights[:, 0], kept))
                seen = torch.cat([seen[:head], row[None], seen[head + 1 :]])
        rows.append(seen)
    given = (query, key, value, bias)
    for kernel in ("edges_torch", "reference"):
        found = attend(query, key, value, graph_of_edges(), bias=bias, normalizer=normalizer, kernel=kernel)
        assert_close([found], [torch.stack(rows)], given, f"attend with the normalizer on {kernel!r}")
    run = lambda query, key, value: attend(query, key, value, graph_of_edges(), normalizer=normalizer)  # noqa: E731
    assert torch.autograd.gradgradcheck(run, (query, key, value))


def check_kernel(
    kernel: Kernel, dtype: torch.dtype = torch.float64, graphs: Sequence[Case] = ()
) -> dict[str, list[str]]:
    """Raises AssertionError unless a kernel equals the loops, forward and backward, on every case that it does not refuse, with
    memory laid out in any way and with the gradients that `.sum()` sends. Keys and values have fewer heads than queries, and
    values other channels, where it takes them.

    Args:
        kernel: An object of a subclass of `Kernel`, registered or not.
        dtype: Of query, key and value.
        graphs: (name, graph, edges) of graphs beside those of this package, such as of classes of your own; edges as for
            `check_graph`.

    Returns:
        The options that ran on each graph, by the names of `graphattn.testing.GRAPHS` and `graphs`; to be looked at, since it
        may refuse more than it should. One that refuses everything is an error.

    Example:
        >>> from graphattn.kernels.fused.sdpa import Sdpa
        >>> sorted(check_kernel(Sdpa()))[:3]
        ['causal', 'causal_ragged', 'complete']
    """
    ran: dict[str, list[str]] = {}
    refusals: dict[str, None] = {}  # a set that keeps its order
    if taken := [name for name, _, _ in graphs if name in CASES]:
        raise ValueError(f"'graphs' need names other than those of graphattn.testing.GRAPHS (got {taken})")
    with registered(kernel):
        for case, option in product((*GRAPHS, *graphs), OPTIONS):
            for widths in WIDTHS:
                reason = why_not_case(kernel, case, option, dtype, widths=widths)
                if reason is None:
                    check_case(kernel, case, option, dtype, widths)
                    ran.setdefault(case[0], []).append(option)
                    break
                refusals[reason] = None
    assert ran, (
        f"{kernel.name!r} refuses every case, and nothing was compared; give (name, graph, edges) of graphs that it runs as"
        f" 'graphs' (got {len(graphs)}): {'; '.join(list(refusals)[:5])}"
    )
    return ran


def check_case(kernel: Kernel, case: Case, option: str, dtype: torch.dtype, widths: Widths) -> None:
    """Raises AssertionError unless a kernel, which does not refuse it, equals the loops with one option on one graph."""
    name, graph, edges = case
    given, wanted = problem_of(case, option, widths)
    is_known = name in CASES and widths == MOST
    outputs, cotangents, gradients, _ = expected(name, option) if is_known else expected_of(given, wanted, edges)
    run = lambda tensors: as_list(attend(graph=graph, kernel=kernel.name, **arguments_of(tensors, wanted)))  # noqa: E731
    for layout in (torch.Tensor.clone, LAYOUTS["column"], LAYOUTS["row_step"], LAYOUTS["transposed"]):
        tensors = {key: layout(x.to(dtype)).requires_grad_() for key, x in given.items()}
        found = run(tensors)
        by_input = torch.autograd.grad(found, list(tensors.values()), [layout(x.to(dtype)) for x in cotangents])
        for actual, right in zip((*found, *by_input), (*outputs, *gradients.values()), strict=True):
            assert is_close(actual, right, dtype), (
                f"{kernel.name!r} is wrong on {name!r}, {option!r}: {actual} for {right}"
            )
    sums = [
        torch.autograd.grad([send(x) for x in run(tensors)], list(tensors.values()), allow_unused=True)
        for send in (torch.sum, lambda x: (x * torch.ones_like(x)).sum())
    ]
    for actual, right in zip(*sums):
        same_sum = actual is right or is_close(actual, right, dtype)
        assert same_sum, f"{kernel.name!r} has other gradients of .sum() on {name!r}, {option!r}: {actual} for {right}"


def why_not(kernel: Kernel, name: str, option: str, dtype: torch.dtype, device: str = "cpu") -> str | None:
    """The sentence by which a kernel refuses one option on one graph of this package, or None if it runs it."""
    return why_not_case(kernel, (name, *CASES[name]), option, dtype, device)


def why_not_case(
    kernel: Kernel, case: Case, option: str, dtype: torch.dtype, device: str = "cpu", widths: Widths = MOST
) -> str | None:
    """The same on any graph."""
    given, wanted = problem_of(case, option, widths)
    arguments = arguments_of({key: x.to(device, dtype) for key, x in given.items()}, wanted)
    query, key, value = (arguments.pop(name) for name in ("query", "key", "value"))
    plan, inputs, _ = prepare(query, key, value, case[1].to(device), Options(**arguments))
    return kernel.why_not(plan, inputs)


@contextmanager
def registered(kernel: Kernel) -> Iterator[None]:
    """A context in which `attend` knows the kernel by its name, whether or not it was registered before."""
    if any(known.name == kernel.name for known in KERNELS):
        yield
        return
    register_kernel(kernel, before=KERNELS[-1].name)
    try:
        yield
    finally:
        remove_kernel(kernel.name)


# What the checks share --------------------------------------------------------------------------------------------------


def leaves(*counts: int) -> tuple[Tensor, ...]:
    """Random tensors [count, HEADS, DIM] in float64 that want gradients."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(n, HEADS, DIM, dtype=torch.float64, generator=generator).requires_grad_() for n in counts)


def graph_of_edges() -> EdgeListGraph:
    return EdgeListGraph(torch.tensor(EDGES).T, 5)


def as_list(result: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def same(found: Any, wanted: Any) -> bool:
    return torch.equal(found, wanted) if isinstance(wanted, Tensor) else found == wanted


def is_close(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> bool:
    scale = max(1.0, wanted.abs().max().item()) if wanted.numel() else 1.0
    most = TOLERANCE[dtype]
    return found.shape == wanted.shape and torch.allclose(found.double() / scale, wanted.double() / scale, most, most)


def assert_close(found: list[Tensor], wanted: list[Tensor], inputs: Iterable[Tensor], what: str) -> None:
    """Raises AssertionError, which begins with `what`, unless results are close, and their gradients from random cotangents too."""
    inputs = [x for x in inputs if x.requires_grad]
    for actual, right in zip(found, wanted, strict=True):
        assert is_close(actual, right, torch.float64), f"{what} gives {actual} where loops give {right}"
        if not right.requires_grad:
            continue
        cotangent = torch.randn(right.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        gradients = (
            torch.autograd.grad(x, inputs, cotangent, retain_graph=True, allow_unused=True) for x in (actual, right)
        )
        for of_actual, of_right, leaf in zip(*gradients, inputs):
            of_actual, of_right = (torch.zeros_like(leaf) if x is None else x for x in (of_actual, of_right))
            assert is_close(of_actual, of_right, torch.float64), f"{what} has a gradient {of_actual} for {of_right}"
