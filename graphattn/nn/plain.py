"""Whether a module computes what its class says: no methods, hooks or parametrizations of its own."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from types import FunctionType
from typing import Any

import torch
import torch_geometric
from torch import Tensor
from torch.nn import Module
from torch.nn.modules import module as torch_modules
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
LINEAR = torch.nn.Linear, torch_geometric.nn.Linear
DECORATORS = "torch.utils._contextlib"  # no_grad and the like
# What PyG itself decorates so. On any other method such a decorator is the user's, who takes its gradients away.
DECORATED = {"initialize_parameters", "redraw_projection_matrix"}
# Methods that say nothing about what a module computes.
HARMLESS = {"reset_parameters", "_reset_parameters", "extra_repr"}


def has_hooks(module: Module) -> bool:
    """Whether anything looks at calls of the module or at their gradients, on this module or, by torch, on all of them."""
    own = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(own) or torch_modules._has_any_global_hook()


def runs_as(module: Module, kind: type[Module]) -> bool:
    """Whether it has the forward pass of this class; torch.export wraps modules in classes of its own."""
    own = type(module).forward if isinstance(module, kind) and "forward" not in vars(module) else None
    return own is kind.forward and home(own) == kind.__module__


def is_linear(module: Any) -> bool:
    """Whether calling a module is a product with its weight, plus its bias, and nobody looks at the result; compilers do."""
    return are_linear((module,))


def are_linear(modules: Iterable[Any]) -> bool:
    """Whether all are; in one function, for questions like these are half the time of a layer of few nodes."""
    if torch.compiler.is_compiling() or torch_modules._has_any_global_hook():
        return False
    for module in modules:
        kind = type(module)
        if kind not in LINEAR or not keeps_forward(kind, kind.forward):
            return False
        own = vars(module)
        if "forward" in own:
            return False
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
            return False
        parameters = own["_parameters"]  # `module.weight` is a function of PyTorch
        weight = parameters.get("weight")
        if (
            weight is None or is_lazy(weight) or "bias" not in parameters
        ):  # but another attribute or a buffer, which may learn
            return False
    return True


def has_own_forward(kind: Any, forward: Any) -> bool:
    """Whether a class has the forward pass that was written for it."""
    return is_home(forward, kind)


keeps_forward: Callable[[Any, Any], bool] = lru_cache(maxsize=64)(has_own_forward)


def home(function: Any) -> str | None:
    """Name of the module whose text the function is, that of the decorator for a decorated one; functools.wraps copies
    `__module__`, but not this."""
    return getattr(function, "__globals__", {}).get("__name__")


def is_home(function: Any, kind: type) -> bool:
    return home(function) == kind.__module__


def check_plain(name: str, module: Any, *kinds: type[Module]) -> None:
    """A conversion reads what a class of torch keeps, so that nothing else may take part in what the module computes.

    Raises:
        TypeError: if the module is of no such class.
        ValueError: if it has methods of its own (in a subclass, on the object, put into the class), hooks (its
            parameters' too) or parametrizations, or no weights yet.
    """
    kind = next((kind for kind in kinds if isinstance(module, kind)), None)
    if kind is None:
        wanted = " or ".join(f"{kind.__module__.partition('.')[0]}'s {kind.__name__}" for kind in kinds)
        raise TypeError(f"{name!r} must be {wanted} (got {type(module).__name__}), the only kind that is read")
    if any(map(is_lazy, module.parameters())):
        raise ValueError(f"{name!r} has no weights yet (got {module}); call it once, or give it its sizes")
    if is_parametrized(module):
        raise ValueError(
            f"{name!r} has parametrizations, which would be lost (got {list(module.parametrizations)}); call"
            " torch.nn.utils.parametrize.remove_parametrizations first"
        )
    own = own_methods(module, kind)
    if own:
        raise ValueError(
            f"{name!r} has methods of its own, which would be lost (got {type(module).__name__} with {', '.join(own)});"
            f" give a plain {kind.__name__}, or write these methods for the layer that is made of it"
        )
    hooks = [attribute.strip("_") for attribute in HOOKS if getattr(module, attribute)]
    if hooks:
        raise ValueError(
            f"{name!r} has hooks, which would be lost (got {', '.join(hooks)}; weight_norm, spectral_norm and pruning are"
            " hooks too); remove them first and register them on the result"
        )
    hooked = [key for key, parameter in module.named_parameters(recurse=False) if has_gradient_hooks(parameter)]
    if hooked:
        raise ValueError(
            f"{name!r} has hooks on parameters, which would be lost (got hooks on {', '.join(hooked)}); remove them first and"
            " register them on the parameters of the result"
        )


def has_gradient_hooks(parameter: Tensor) -> bool:
    return bool(parameter._backward_hooks) or bool(parameter._post_accumulate_grad_hooks)


def own_methods(module: Module, kind: type[Module]) -> list[str]:
    """Names of what `kind` defines and this module has otherwise."""
    classes = type(module).__mro__
    derived = classes[: classes.index(kind)]
    names = [name for cls in derived for name in vars(cls) if hasattr(kind, name) and not is_harmless(name)]
    names += [name for name in vars(module) if callable(getattr(kind, name, None)) and not is_harmless(name)]
    classes = kind.__mro__[: kind.__mro__.index(Module)]
    for cls in classes:
        functions = {name: function for name, function in vars(cls).items() if isinstance(function, FunctionType)}
        names += [
            name for name, function in functions.items() if not (is_harmless(name) or is_of(name, function, classes))
        ]
    return list(dict.fromkeys(names))


def is_of(name: str, function: FunctionType, classes: tuple[type, ...]) -> bool:
    """Whether it stands where one of the classes does, or where PyG writes down what it compiles for one."""
    if name in DECORATED and home(function) == DECORATORS:
        function = function.__wrapped__  # type: ignore[attr-defined] # which functools.wraps sets
    where = home(function) or ""
    return any(is_home(function, cls) or where.startswith(f"{cls.__module__}_{cls.__name__}_") for cls in classes)


def is_harmless(name: str) -> bool:
    return name in HARMLESS or (name.startswith("__") and name not in ("__call__", "__getattr__", "__getattribute__"))
