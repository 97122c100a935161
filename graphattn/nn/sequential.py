"""A torch.nn.Sequential of linear maps, its steps by loops where nobody sees them called."""

from typing import Any

import torch
from torch import Tensor

from graphattn.nn.dropout import Dropout
from graphattn.nn.linear_maps import apply_linear, is_looked_at, relu_between, relu_over, suits_relu_between
from graphattn.nn.plain import has_hooks, is_linear, runs_as


def in_turn(modules: torch.nn.Module, x: Tensor) -> Tensor:
    """modules(x) of a torch.nn.Sequential, its linear maps by `apply_linear`; of any other module as it is called."""
    if type(modules) is not torch.nn.Sequential or has_hooks(modules) or "forward" in vars(modules):
        return modules(x)
    steps, is_new = [module for module in modules if not drops_nothing(module)], False
    while steps:
        first, *steps = steps
        if len(steps) > 1 and is_relu(steps[0]) and suits_relu_between(x, first, steps[1]):
            x, is_new, steps = relu_between(x, first, steps[1]), True, steps[2:]
        elif is_new and is_relu(first):
            x, is_new = relu_over(x), False
        else:
            will_be_new = is_linear(first)  # before a hook that goes after its first call
            (x,), is_new = apply_linear(x, first), will_be_new
    return x


def is_relu(module: torch.nn.Module) -> bool:
    return type(module) is torch.nn.ReLU and runs_as(module, torch.nn.ReLU) and not has_hooks(module)


def drops_nothing(module: Any) -> bool:
    """Whether it gives back what it is given, and nobody sees it called."""
    kind = type(module)
    is_plain = kind in (torch.nn.Dropout, Dropout) and runs_as(module, kind) and not has_hooks(module)
    if not is_plain or torch.compiler.is_compiling():
        return False
    return (not module.training or module.p == 0) and not is_looked_at(())
