"""Compiled functions against the same functions without a compiler."""

import torch
from torch._dynamo.utils import counters
from torch.utils._pytree import tree_leaves

SIZES = (5, 7, 9, 4)  # the compiler takes equal numbers for one: no number of channels is 5 or 6


def features(num_rows, channels=8):
    return torch.randn(num_rows, channels, dtype=torch.float64)


def edges(num_nodes):
    """Three for each node, repeats and self loops among them."""
    return torch.randint(num_nodes, (2, 3 * num_nodes))


def run(function, arguments, tensors, seed=1):
    """The result and the gradients of all floating arguments, inside lists and dictionaries too, and `tensors` for a random
    cotangent."""
    leaves = [x.requires_grad_() for x in tree_leaves(arguments) if torch.is_tensor(x) and x.is_floating_point()]
    leaves += tensors
    torch.manual_seed(seed)
    out = function(*arguments)
    outputs = out if isinstance(out, tuple) else (out,)
    cotangents = [torch.randn_like(x) for x in outputs]
    if not any(x.requires_grad for x in outputs):
        return outputs
    return *outputs, *torch.autograd.grad(outputs, leaves, cotangents, allow_unused=True, materialize_grads=True)


def check_compiled(function, arguments_of, backend="eager", sizes=SIZES, **tolerance):
    """`function` compiled whole, and once for all sizes, has the results and gradients that it has without a compiler."""
    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=backend)
    parameters = list(function.parameters()) if isinstance(function, torch.nn.Module) else []
    for size in sizes:
        arguments = arguments_of(size)
        expected, found = (run(way, arguments, parameters) for way in (function, compiled))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, **tolerance)
    assert counters["stats"]["unique_graphs"] == 1
