"""Checkpoints and seeds of earlier versions: keys, first weights and results of a layer with each option stay as they are."""

import json
from pathlib import Path

import pytest
import torch

from graphattn import BandedGraph, EdgeListGraph
from graphattn.nn import ALiBi, Dot, GraphAttention, HeteroGraphAttention, Relu, RotaryPositions, TopK

PINNED = Path(__file__).with_name("pinned.json")
EDGE_DIM, NODES = 3, 9
SOURCES, TARGETS = (torch.arange(40) * 7 + torch.arange(40) // 9) % NODES, torch.arange(40) * 5 % NODES


class ByNetwork(torch.nn.Module):
    """A learned score of two vectors of 6 channels."""

    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(12, 1)

    def forward(self, query, key):
        return self.lin(torch.cat([query, key], -1).tanh()).squeeze(-1)


def distance(query, key):
    return -(query - key).abs().sum(-1)


LAYERS = {
    "nothing": {},
    "mean": {"concat": False},
    "grouped": {"kv_heads": 2},
    "additive": {"score": "additive", "edge_dim": EDGE_DIM},
    "additive without edges": {"score": "additive", "kv_heads": 2},
    "gatv2": {"score": "gatv2", "edge_dim": EDGE_DIM, "scale": 0.5},
    "cosine": {"score": "cosine", "edge_dim": EDGE_DIM, "kv_heads": 2},
    "bilinear": {"score": "bilinear", "edge_dim": EDGE_DIM},
    "gaussian": {"score": "gaussian", "edge_dim": EDGE_DIM},
    "function": {"score": distance},
    "module": {"score": ByNetwork, "edge_dim": EDGE_DIM},
    "object": {"score": Dot, "scale": 0.3},
    "relu": {"normalizer": Relu(scale_by_degree=True)},
    "top k": {"normalizer": TopK(2), "edge_dim": EDGE_DIM},
    "sink": {"sink": True},
    "gate": {"gate": True, "concat": False},
    "edges": {"edge_dim": EDGE_DIM},
    "dropout": {"dropout": 0.4},
    "no bias": {"bias": False, "edge_dim": EDGE_DIM},
    "talking heads": {"talking_heads": True, "edge_dim": EDGE_DIM},
    "new edges": {"update_edges": True, "edge_dim": EDGE_DIM},
    "talking and new edges": {"talking_heads": True, "update_edges": True, "edge_dim": EDGE_DIM},
    "shared": {"share_weights": True, "score": "additive"},
    "last map": {"project_out": True, "concat": False},
    "kernel": {"kernel": "edges_torch"},
    "positions": {"positions": lambda: RotaryPositions(6)},
    "bias of edges": {"edge_bias": lambda: ALiBi(4)},
    "all": {
        "score": "gatv2",
        "sink": True,
        "gate": True,
        "update_edges": True,
        "talking_heads": True,
        "edge_dim": EDGE_DIM,
        "project_out": True,
    },
}


def waves(*shape):
    """Numbers that no generator has a part in."""
    return (torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float64) * 0.7).sin().view(shape)


def perturbed(module):
    """Away from the identities and zeros of a new layer."""
    for parameter in module.parameters():
        parameter.data += 0.1 * waves(*parameter.shape)
    return module


def made(options):
    is_maker = {"score": (ByNetwork, Dot), "positions": None, "edge_bias": None}
    return {
        name: option() if name in is_maker and (is_maker[name] is None or option in is_maker[name]) else option
        for name, option in options.items()
    }


def numbers_of(results):
    """One product with fixed numbers for each tensor among the results."""
    results = results if isinstance(results, (tuple, list)) else [results]
    flat = [x for result in results for x in (result if isinstance(result, tuple) else [result])]
    return [(x.detach() * waves(*x.shape)).sum().item() for x in flat if x.is_floating_point()]


def of_attention(options):
    torch.manual_seed(0)
    layer = GraphAttention(8, 6, heads=4, **made(options)).double()
    found = {"keys": list(layer.state_dict()), "weights": numbers_of(list(layer.state_dict().values()))}
    perturbed(layer)
    x = waves(NODES, 8).requires_grad_()
    given = (
        (x, EdgeListGraph(torch.stack([SOURCES, TARGETS]), NODES), waves(40, EDGE_DIM))
        if "edge_dim" in options
        else (x, BandedGraph(NODES, 2, 1))
    )
    torch.manual_seed(1)
    results = layer(*given, return_attention_weights=True)
    torch.manual_seed(1)
    out = layer(*given)
    out = out[0] if isinstance(out, tuple) else out
    (gradient,) = torch.autograd.grad(out, x, waves(*out.shape))
    return found | {"results": numbers_of(results), "gradient": numbers_of(gradient), "next": torch.rand(()).item()}


TYPES = ["user", "item"], [("user", "buys", "item"), ("item", "near", "item"), ("item", "of", "user")]
HETERO = {
    "nothing": {},
    "mean": {"concat": False, "kv_heads": 2},
    "edges": {"edge_dim": {TYPES[1][0]: EDGE_DIM}},
    "no maps": {"relation_maps": False, "relation_bias": False, "edge_dim": EDGE_DIM, "bias": False},
    "gaussian": {"score": "gaussian", "normalizer": "sparsemax"},
    "last map": {"project_out": True, "scale": 0.3, "dropout": 0.4},
}


def of_hetero(options):
    torch.manual_seed(0)
    layer = HeteroGraphAttention({"user": 8, "item": 5}, 6, TYPES, heads=4, **options).double()
    found = {"keys": list(layer.state_dict()), "weights": numbers_of(list(layer.state_dict().values()))}
    perturbed(layer)
    x_dict = {"user": waves(NODES, 8).requires_grad_(), "item": waves(NODES, 5)}
    graphs = {kind: torch.stack([SOURCES, TARGETS.roll(place)]) for place, kind in enumerate(TYPES[1])}
    edge_dim = options.get("edge_dim")
    kinds = edge_dim if isinstance(edge_dim, dict) else TYPES[1] if edge_dim else ()
    torch.manual_seed(1)
    edge_attr = {kind: waves(40, EDGE_DIM) for kind in kinds}
    out, weights = layer(x_dict, graphs, edge_attr, return_attention_weights=True)
    (gradient,) = torch.autograd.grad(list(out.values()), x_dict["user"], [waves(*y.shape) for y in out.values()])
    results = numbers_of([*out.values(), *weights.values()])
    return found | {"results": results, "gradient": numbers_of(gradient), "next": torch.rand(()).item()}


KINDS = {"GraphAttention": (of_attention, LAYERS), "HeteroGraphAttention": (of_hetero, HETERO)}


@pytest.mark.parametrize(("kind", "option"), [(kind, option) for kind, (_, all) in KINDS.items() for option in all])
def test_keys_seeds_and_numbers_stay(kind, option):
    find, options = KINDS[kind]
    found, wanted = find(options[option]), json.loads(PINNED.read_text())[kind][option]
    assert found.pop("keys") == wanted.pop("keys")
    for name, numbers in wanted.items():
        assert found[name] == pytest.approx(numbers, rel=1e-5, abs=1e-6), name


def write_pinned():
    """What this version gives, for new options: `python -m tests.nn.test_pinned`."""
    lines = [
        f"  {json.dumps(kind)}: {{\n"
        + ",\n".join(f"    {json.dumps(name)}: {json.dumps(find(given))}" for name, given in options.items())
        + "\n  }"
        for kind, (find, options) in KINDS.items()
    ]
    PINNED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write_pinned()
