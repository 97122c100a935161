"""When a layer must go through PyG's message passing instead of a kernel, and what it passes there."""

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn import Module
from torch_geometric.nn.aggr import SumAggregation
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.dense import Linear

from graphattn.nn.plain import has_hooks, home, runs_as

STEPS = ("propagate", "message", "aggregate", "message_and_aggregate", "edge_update")
HOOKS = tuple(f"_{step}_forward{when}_hooks" for step in STEPS for when in ("", "_pre"))
METHODS = ("message", "edge_update", "aggregate", "update", "message_and_aggregate", "propagate", "edge_updater")


def reader_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Of what an object has under each name, in one step, as each layer asks in each call; compilers take one after the other."""
    at_once = attrgetter(*names)

    def read(owner: Any) -> tuple[Any, ...]:
        return tuple([getattr(owner, name) for name in names]) if torch.compiler.is_compiling() else at_once(owner)

    return read


hooks_of, methods_of = reader_of(HOOKS), reader_of(METHODS)


def is_watched(conv: MessagePassing) -> bool:
    """Explainers and hooks look into the messages; nobody else pays for them."""
    return bool(conv.explain) or any(hooks_of(conv))


def adds_up(conv: MessagePassing, node_dim: int = 0) -> bool:
    """Messages run from source to target and are summed, which is what kernels do."""
    aggregation = conv.aggr_module  # PyG reads `aggr` no more once it has made this of it
    is_sum = runs_as(aggregation, SumAggregation) and not has_hooks(aggregation)
    return is_sum and conv.flow == "source_to_target" and conv.node_dim == node_dim


def is_plain(linear: Module | None) -> bool:
    """Nothing but a linear map: no hooks (a lazy one has a hook until its first call), no wrapper, no parametrization."""
    return linear is None or (type(linear) is Linear and runs_as(linear, Linear) and not has_hooks(linear))


def own_method(conv: MessagePassing, kind: type[MessagePassing]) -> str | None:
    """The first method of message passing that is not the one of `kind`, which kernels compute: of a subclass, set on the
    object, or put into the class of PyG."""
    cls = type(conv)
    if torch.compiler.is_compiling() or not vars(conv).keys().isdisjoint(METHODS):
        return own_function(cls, kind, methods_of(conv))
    return remembered_own_function(cls, kind, methods_of(cls))


def own_function(cls: type, kind: type, functions: Sequence[Any]) -> str | None:
    """The same of what a class, or an object of it, has for each name of METHODS now."""
    homes = {base.__module__ for base in kind.__mro__}
    for name, function in zip(METHODS, functions, strict=True):
        where = home(function)
        if where not in homes and not is_compiled(cls, name, where):
            return name
    return None


remembered_own_function: Callable[[type, type, tuple[Any, ...]], str | None] = lru_cache(maxsize=256)(own_function)


def is_compiled(cls: type[MessagePassing], name: str, where: str | None) -> bool:
    """Whether PyG wrote this down: it makes `propagate` and `edge_updater` anew for each class."""
    if where is None or not where.endswith(f"_{name}"):
        return False
    return any(where == compiled_home(cls, name) for cls in cls.__mro__)


def compiled_home(cls: type, name: str) -> str:
    return f"{cls.__module__}_{cls.__name__}_{name}"


def needs_messages(conv: MessagePassing) -> bool:
    """True where a drop-in for `conv.peer` gives its kernel up; the numbers are those of PyG's layer."""
    lin_edge = conv.lin_edge
    is_map = lin_edge is None or (is_plain(lin_edge) and lin_edge.bias is None)
    return is_watched(conv) or not adds_up(conv) or not is_map or own_method(conv, conv.peer) is not None


class PerThread:
    """An attribute that each thread has for itself, None until it is set.

    PyG's layers hand results from one method to another by attributes, which two threads that call one layer would mix up.
    """

    def __init__(self) -> None:
        self.thread = threading.local()

    def __get__(self, layer: Module | None, owner: type) -> Any:
        if layer is None:
            return self
        values = getattr(self.thread, "values", None)
        return None if values is None else values.get(layer)

    def __set__(self, layer: Module, value: Any) -> None:
        if not hasattr(self.thread, "values"):
            self.thread.values = WeakKeyDictionary()
        if value is None:
            self.thread.values.pop(layer, None)
        else:
            self.thread.values[layer] = value
