"""Ways to make another layer of one of torch's: each leaves traces that no copy of the weights has."""

import torch
from torch.nn.utils import parametrizations, prune


def with_hook(name):
    def spoil(module):
        getattr(module, f"register_{name}")(lambda *_: None)

    return spoil


def with_method(name):
    def spoil(module):
        setattr(module, name, lambda *_, **__: 0)

    return spoil


def with_hook_on_a_parameter(name):
    def spoil(module):
        for parameter in module.parameters():
            getattr(parameter, f"register_{name}")(lambda _: None)

    return spoil


def of_a_subclass(module):
    kind = type(module)
    module.__class__ = type(f"Own{kind.__name__}", (kind,), {"forward": lambda self, *_, **__: 0})


HOOKS = ("forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook")
WAYS = {
    "subclass": (of_a_subclass, "has methods of its own"),
    "method": (with_method("forward"), "has methods of its own"),
    **{name: (with_hook(name), "has hooks") for name in HOOKS},
}
WEIGHT_WAYS = {
    "hook": (with_hook_on_a_parameter("hook"), "has hooks on parameters"),
    "post_accumulate_grad_hook": (with_hook_on_a_parameter("post_accumulate_grad_hook"), "has hooks on parameters"),
    "weight_norm": (parametrizations.weight_norm, "has parametrizations"),
    "old spectral_norm": (torch.nn.utils.spectral_norm, "has hooks"),
    "pruning": (lambda module: prune.l1_unstructured(module, "weight", 0.5), "has hooks"),
}
