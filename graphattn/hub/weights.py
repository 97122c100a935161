"""The state of a model in a file of safetensors and a few JSON values."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module

from graphattn.hub.codec import Decoder, Encoder


def save_weights(model: Module, path: Path) -> dict[str, Any]:
    """Writes all tensors; returns as JSON what such a file cannot hold: names of one tensor, and what stands beside them."""
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    first_names: dict[tuple, str] = {}
    state = model.state_dict()
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"the state of {name!r} is no tensor (got {type(tensor).__name__}), which safetensors needs"
            )
        if torch.nn.parameter.is_lazy(tensor):
            raise ValueError(f"{name!r} has no size before the first call (in_channels=-1); call the model once")
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in first_names:
            shared[name] = first_names[place]
            continue
        first_names[place] = name
        tensors[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
    save_file(tensors, path, metadata={"format": "pt"})
    metadata = {name: dict(entry) for name, entry in getattr(state, "_metadata", {}).items()}
    return {"shared": shared, "metadata": Encoder().encode(metadata, "metadata")}


def load_weights(model: Module, path: str, beside: dict[str, Any]) -> None:
    """The way back, into a model of the same structure: its dtypes become those of the file."""
    tensors = load_file(path)
    state = OrderedDict((name, tensor) for name, tensor in tensors.items())
    for name, first in beside["shared"].items():
        state[name] = tensors[first]
    state._metadata = Decoder().decode(beside["metadata"])  # type: ignore[attr-defined]
    take_dtypes(model, state)
    model.load_state_dict(state)


def take_dtypes(model: Module, state: OrderedDict[str, Tensor]) -> None:
    dtypes = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    if len(dtypes) == 1:
        model.to(dtypes.pop())
        return
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in state and tensor.is_floating_point():
            tensor.data = tensor.data.to(state[name].dtype)
