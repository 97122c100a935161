"""Attention with every option on every graph: random tensors, what the loops make of them, and its gradients."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphattn.formulas.normalizers import Softmax, TopK
from graphattn.formulas.scores import Additive, Bilinear, Cosine, Gat, Gaussian, Score
from graphattn.graphs import Graph
from graphattn.testing.cases import GRAPHS
from graphattn.testing.loops import loop_attention, sees_features

Case = tuple[str, Graph, Sequence[tuple[int, int]]]  # (name, graph, edges) as in GRAPHS

CASES = {name: (graph, edges) for name, graph, edges in GRAPHS}
# what to give beside query, key, value; tensors by name
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale": {"scale": 0.3},
    "bias": {"bias": True},
    "head_bias": {"bias": "heads"},
    "edges": {"edge_features": True, "edge_query": True},
    "head_edges": {"edge_features": "heads", "edge_query": True},
    "head_edge_values": {"edge_features": "heads", "normalizer": "relu", "bias": "heads"},
    "additive_edges": {"edge_features": "hidden", "score": "additive_edges"},
    "additive_weights": {"edge_features": "heads", "score": "additive_weights"},
    "edge_values": {"edge_features": True, "bias": "heads"},
    "relu": {"normalizer": "relu", "bias": "heads", "edge_features": True, "edge_query": True},
    "sigmoid": {"normalizer": "sigmoid", "edge_features": True, "edge_query": True},
    "additive": {"score": "additive", "bias": "heads"},
    "sink": {"normalizer": "sink", "edge_features": True, "edge_query": True},
    "gaussian": {"score": "gaussian", "normalizer": "squared_relu", "bias": "heads", "edge_features": True},
    "bilinear": {"score": "bilinear", "normalizer": "identity", "bias": "heads", "edge_features": True},
    "cosine": {"score": "cosine", "normalizer": "sink"},
    "sparsemax": {"normalizer": "sparsemax", "bias": "heads", "edge_features": True, "edge_query": True},
    "entmax15": {"normalizer": "entmax15", "edge_features": True, "edge_query": True},
    "top_k": {"normalizer": ("top_k", 2), "bias": "heads", "score": "gat"},
}
# shape of each parameter, the score made of them, and its formula for one query and key
SCORES: dict[str, tuple[dict[str, str], Callable[..., Score], Callable[..., Tensor]]] = {
    "additive": ({"vector": "hd"}, Additive, lambda q, k, vector: (vector * (q + k).tanh()).sum()),
    "additive_edges": (
        {"vector": "hd"},
        lambda vector: Additive(vector, activation="leaky_relu", adds_features=True),
        sees_features(lambda q, k, vector, edge: (vector * torch.nn.functional.leaky_relu(q + k + edge, 0.2)).sum()),
    ),
    "additive_weights": (
        {"vector": "hd", "weight": "hde"},
        Additive,
        sees_features(lambda q, k, vector, weight, edge: (vector * (q + k + weight @ edge).tanh()).sum()),
    ),
    "cosine": ({"positive": "h"}, Cosine, lambda q, k, t: torch.cosine_similarity(q, k, 0) / t),
    "gaussian": ({"positive": "h"}, Gaussian, lambda q, k, width: -((q - k) / width).square().sum() / 2),
    "bilinear": ({"matrix": "hdd"}, Bilinear, lambda q, k, weight: q @ weight @ k),
    "gat": (
        {"source": "kd", "target": "hd"},
        lambda source, target: Gat(source, target, negative_slope=0.1),
        lambda q, k, source, target: torch.nn.functional.leaky_relu(source @ k + target @ q, 0.1),
    ),
}
HEADS, KV_HEADS, DIM, VALUE_DIM, EDGE_DIM = 4, 2, 11, 9, 3  # no multiples of vector lengths


class Widths(NamedTuple):
    """Of query, key and value."""

    heads: int = HEADS
    kv_heads: int = KV_HEADS
    dim: int = DIM
    value_dim: int = VALUE_DIM


MOST = Widths()
# What a kernel may refuse: the first that it runs asks most of it.
WIDTHS = (MOST, Widths(value_dim=DIM), Widths(kv_heads=HEADS), Widths(kv_heads=HEADS, value_dim=DIM))


@cache
def problem(name: str, option: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Random leaves in float64 and the other arguments."""
    return problem_of((name, *CASES[name]), option)


def problem_of(case: Case, option: str, widths: Widths = MOST) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """`problem` on any graph, of any widths."""
    heads, kv_heads, dim, value_dim = widths
    name, graph, edges = case
    wanted = dict(OPTIONS[option])
    generator = torch.Generator().manual_seed(sum(map(ord, name + option)))

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    leaves = {
        "query": leaf(graph.num_queries, heads, dim),
        "key": leaf(graph.num_keys, kv_heads, dim),
        "value": leaf(graph.num_keys, kv_heads, value_dim),
    }
    bias = wanted.pop("bias", None)
    if bias is not None:
        leaves["bias"] = leaf(len(edges), heads) if bias == "heads" else leaf(len(edges))
        leaves["bias"][::4] = -torch.inf  # every fourth edge is taken away
    features = wanted.pop("edge_features", None)
    if features is not None:
        shapes = {True: (EDGE_DIM,), "heads": (heads, EDGE_DIM), "hidden": (heads, dim)}
        leaves["edge_features"] = leaf(len(edges), *shapes[features])
    if wanted.pop("edge_query", False):
        leaves["edge_query"] = leaf(graph.num_queries, heads, EDGE_DIM)
    for parameter, axes in SCORES[wanted["score"]][0].items() if "score" in wanted else ():
        leaves[parameter] = leaf(*({"h": heads, "k": kv_heads, "d": dim, "e": EDGE_DIM}[axis] for axis in axes))
        if parameter == "positive":
            leaves[parameter] = 2 + leaves[parameter].abs()
    if wanted.get("normalizer") == "sink":
        leaves["sink"] = leaf(heads)
    return leaves, wanted


@cache
def expected(name: str, option: str) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor], Tensor]:
    """Result of the loops, cotangents, and gradients of the leaves."""
    return expected_of(*problem(name, option), CASES[name][1])


def expected_of(
    leaves: dict[str, Tensor], wanted: dict[str, Any], edges: Sequence[tuple[int, int]]
) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor], Tensor]:
    """`expected` on any edges."""
    leaves = {k: v.clone().requires_grad_() for k, v in leaves.items()}
    arguments: dict[str, Any] = dict(leaves)
    if "score" in wanted:
        parameters, _, formula = SCORES[wanted["score"]]
        wanted = {**wanted, "score": (formula, *(arguments.pop(parameter) for parameter in parameters))}
    if "sink" in arguments:
        wanted = {**wanted, "normalizer": ("softmax", arguments.pop("sink"))}
    out, edge_out, weights, _ = loop_attention(edges=edges, **arguments, **wanted)
    outputs = [out] if edge_out is None else [out, edge_out]
    generator = torch.Generator().manual_seed(5)
    cotangents = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in outputs]
    connected = [(x, g) for x, g in zip(outputs, cotangents) if x.requires_grad]
    gradients = [torch.zeros_like(x) for x in leaves.values()]
    if connected:
        connected_outputs, connected_cotangents = zip(*connected)
        found = torch.autograd.grad(connected_outputs, list(leaves.values()), connected_cotangents, allow_unused=True)
        gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves.values())]
    return [x.detach() for x in outputs], cotangents, dict(zip(leaves, gradients)), weights.detach()


def arguments_of(leaves: dict[str, Tensor], wanted: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {**leaves, **wanted}
    if "score" in wanted:
        parameters, make, _ = SCORES[wanted["score"]]
        arguments["score"] = make(*(arguments.pop(parameter) for parameter in parameters))
    if "sink" in arguments:
        arguments["normalizer"] = Softmax(arguments.pop("sink"))
    if isinstance(arguments.get("normalizer"), tuple):
        arguments["normalizer"] = TopK(arguments["normalizer"][1])
    return arguments
