"""attention_of: the attention weights of every layer of a model, in one call."""

import inspect
import warnings
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module


class LayerAttention(NamedTuple):
    """The attention of one layer.

    Args:
        edge_index: [2, num_edges], with self loops where the layer adds them.
        weights: [num_edges, heads].

    Of a layer over a PerHead both are lists with one entry for each head.
    """

    edge_index: Tensor | list[Tensor]
    weights: Tensor | list[Tensor]


def attention_of(model: Module, *args: Any, **kwargs: Any) -> dict[str, LayerAttention]:
    """Runs `model(*args, **kwargs)` and gives the weights of each attention layer in it, in the order of their calls.

    Layers are those whose `forward` has `return_attention_weights`: GraphAttention (alone, in encoders and decoders) and
    TransformerConv, GATConv, GATv2Conv, ours and PyG's. Each is called a second time for its weights; nothing is kept for
    gradients. A layer that runs several times has its last call. Weights are those before dropout, in evaluation mode of the
    model as it is. Layers whose weights have another form, such as HeteroGraphAttention with one for each type of edges, are
    left out, and a warning says so.

    Returns:
        Name of the layer as in `model.named_modules()` ('' for the model itself) -> its attention.

    Raises:
        TypeError: if the model is no module.
        ValueError: if no layer gives weights.

    Example:
        >>> import torch
        >>> from graphattn import causal
        >>> from graphattn.explain import attention_of
        >>> from graphattn.nn import GraphTransformer
        >>> model = GraphTransformer(8, num_layers=2, heads=2).eval()
        >>> found = attention_of(model, torch.randn(4, 8), causal(4))
        >>> {name: tuple(layer.weights.shape) for name, layer in found.items()}
        {'layers.0.attention': (10, 2), 'layers.1.attention': (10, 2)}
    """
    if not isinstance(model, Module):
        raise TypeError(
            f"'model' must be a torch.nn.Module, followed by what it is called with (got {type(model).__name__})"
        )
    found: dict[str, LayerAttention] = {}
    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            if takes_weights(module):
                recorder = Recorder(name, found)
                hooks.enter_context(module.register_forward_hook(recorder, with_kwargs=True))
        model(*args, **kwargs)
    if not found:
        raise ValueError(f"no layer of {type(model).__name__} gives attention weights")
    return found


def takes_weights(module: Module) -> bool:
    """Whether a module can be asked for its weights."""
    try:
        return "return_attention_weights" in inspect.signature(module.forward).parameters
    except ValueError:  # what torch has compiled may have no signature
        return False


class Recorder:
    """A forward hook that asks the layer again, for its weights."""

    def __init__(self, name: str, found: dict[str, LayerAttention]):
        self.name, self.found, self.is_asking = name, found, False

    def __call__(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self.is_asking:
            return
        self.is_asking = True
        try:
            *_, pair = module(*args, **(kwargs | {"return_attention_weights": True}))
        finally:
            self.is_asking = False
        if isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, (Tensor, list)) for part in pair):
            self.found.pop(self.name, None)
            self.found[self.name] = LayerAttention(*pair)
        else:
            warnings.warn(f"attention_of leaves out {self.name or 'the model'!r} ({type(module).__name__}), whose weights are a"
                          f" {type(pair).__name__}; call it with return_attention_weights=True", stacklevel=2)  # fmt: skip
