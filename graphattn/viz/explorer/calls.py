"""How a model is called with a Data, and what its layers and it itself then give."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module
from torch_geometric.data import Batch, Data

from graphattn.explain.attention import attention_of, takes_weights
from graphattn.graphs.per_head import PerHead

Arguments = tuple[Any, ...] | Callable[[Data], tuple[Any, ...]] | None


class Call(NamedTuple):
    """One layer: its name, the numbers of its keys and queries, whether these are two sets of nodes, and its attention."""

    name: str
    num_keys: int
    num_queries: int
    is_cross: bool
    edge_index: Tensor | list[Tensor]
    weights: Tensor | list[Tensor]


def arguments_for(model: Module, data: Data, arguments: Arguments = None) -> tuple[Any, ...]:
    """What the model is called with: as given, a batch of one if it takes one thing, or the attributes that it names."""
    if arguments is not None:
        return tuple(arguments(data) if callable(arguments) else arguments)
    parameters = [entry for entry in inspect.signature(model.forward).parameters.values()
                  if entry.kind in (entry.POSITIONAL_ONLY, entry.POSITIONAL_OR_KEYWORD)]  # fmt: skip
    required = [entry.name for entry in parameters if entry.default is entry.empty]
    if len(required) == 1 and required[0] != "x":
        return (Batch.from_data_list([data]),)
    named = []
    for entry in parameters:
        value = attribute_of(data, entry.name)
        if value is None and entry.default is not entry.empty:
            break  # what comes after is optional, too
        if value is None:
            raise ValueError(
                f"{type(model).__name__}.forward takes {required}, and 'data' has no {entry.name!r} (got {data}); say what"
                " the model is called with, as args=(...) or args=lambda data: (...)"
            )
        named.append(value)
    return tuple(named)


def attribute_of(data: Data, name: str) -> Any:
    """What a parameter of this name stands for."""
    value = getattr(data, name, None)
    if name == "tokens" and not isinstance(value, Tensor):
        return data.x  # the words themselves are data.tokens
    if name == "batch" and value is None:
        return torch.zeros(data.num_nodes, dtype=torch.long)
    return value


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode for a while: every module is afterwards in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def run(model: Module, arguments: tuple[Any, ...]) -> tuple[list[Call], Any]:
    """The layers in the order of their calls, and the output of the model; in evaluation mode, nothing kept."""
    if not any(map(takes_weights, model.modules())):
        raise ValueError(f"no layer of {type(model).__name__} gives attention weights")
    sizes: dict[str, tuple[int | None, int | None, bool]] = {}
    outputs: list[Any] = []

    def note_sizes(name: str) -> Callable[..., None]:
        def hook(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            x = args[0] if args else kwargs.get("x")
            source, target = x if isinstance(x, (tuple, list)) else (x, x)
            lengths = [None if side is None else side.size(0) for side in (source, target)]
            sizes[name] = (lengths[0], lengths[1], source is not target)

        return hook

    with ExitStack() as hooks, evaluating(model):
        for name, module in model.named_modules():
            if takes_weights(module):
                hooks.enter_context(module.register_forward_hook(note_sizes(name), with_kwargs=True))
        hooks.enter_context(model.register_forward_hook(lambda module, args, output: outputs.append(output)))
        found = attention_of(model, *arguments)
    calls = []
    for name, (edge_index, weights) in found.items():
        num_keys, num_queries, is_cross = sizes[name]
        ends = torch.cat(edge_index, 1) if isinstance(edge_index, list) else edge_index
        largest = ends.max(1).values.tolist() if ends.size(1) else [-1, -1]
        num_keys, num_queries = (
            given if given is not None else 1 + most for given, most in zip((num_keys, num_queries), largest)
        )
        calls.append(Call(name, num_keys, num_queries, is_cross, edge_index, weights))
    return calls, outputs[0]


def heads_of(call: Call) -> list[tuple[Tensor, Tensor]]:
    """(edge_index, weights [num_edges, heads]) of the call: one pair, or one for each head that has a graph of its own."""
    edges, weights = call.edge_index, call.weights
    if isinstance(edges, PerHead):
        edges = [graph.edge_index() for graph in edges.graphs]
    if isinstance(edges, list):
        return [(edge_index, by_head(weight)) for edge_index, weight in zip(edges, weights)]
    assert isinstance(weights, Tensor)
    return [(edges, by_head(weights))]


def by_head(weights: Tensor) -> Tensor:
    """[num_edges, heads] of weights with or without an axis of heads."""
    return weights if weights.dim() == 2 else weights.unsqueeze(1)
