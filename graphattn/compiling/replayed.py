"""Functions whose loops follow numbers that only the running code knows, as one operator of torch for its compilers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from graphattn.compiling.operators import (
    fake_gradients,
    fresh,
    gradients_by_tape,
    none_unless,
    refuse_second_derivatives,
    tape_of_its_own,
)

ONE_OPERATOR = (
    "what loops over examples or steps is one operator for compilers, which torch.func transforms do not take; LinearAttention"
    " has form='matrix' for them"
)
_FUNCTIONS: dict[str, tuple[Callable[..., Tensor], Callable[..., Sequence[int]]]] = {}


def replayed(shape_of: Callable[..., Sequence[int]]) -> Callable:
    """Decorates a function (*tensors, *numbers) -> Tensor, in the dtype of its first tensor.

    While torch.compile or torch.export trace, it is one operator that runs the function as it stands. The backward pass runs
    it again, with autograd, so that nothing is kept but the tensors given. Without a compiler nothing changes.

    Args:
        shape_of: Shape of the result, from the same arguments.
    """

    def decorate(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = f"{function.__module__}.{function.__name__}"
        _FUNCTIONS[name] = function, shape_of

        def call(*arguments) -> Tensor:
            if not torch.compiler.is_compiling():
                return function(*arguments)
            if torch._C._are_functorch_transforms_active():
                return uncompiled(*arguments)
            tensors = [x for x in arguments if isinstance(x, Tensor)]
            return replay(name, tensors, [float(x) for x in arguments[len(tensors) :]])

        uncompiled = torch.compiler.disable(function, reason=ONE_OPERATOR)
        call.__doc__ = function.__doc__
        return call

    return decorate


@torch.library.custom_op("graphattn::replay", mutates_args=())
def replay(name: str, tensors: list[Tensor], numbers: list[float]) -> Tensor:
    function, _ = _FUNCTIONS[name]
    with tape_of_its_own():
        return fresh([function(*tensors, *numbers)], tensors)[0]


@replay.register_fake
def _(name, tensors, numbers):
    _, shape_of = _FUNCTIONS[name]
    return tensors[0].new_empty(shape_of(*tensors, *numbers))


@torch.library.custom_op("graphattn::replay_backward", mutates_args=())
def replay_backward(
    grad: Tensor, name: str, tensors: list[Tensor], numbers: list[float], needed: list[bool]
) -> list[Tensor]:
    function, _ = _FUNCTIONS[name]
    return gradients_by_tape(lambda *leaves: function(*leaves, *numbers), tensors, needed, grad)


@replay_backward.register_fake
def _(grad, name, tensors, numbers, needed):
    return fake_gradients(tensors, needed, grad)


def keep_for_backward(ctx, inputs, output):
    ctx.name, tensors, ctx.numbers = inputs
    ctx.save_for_backward(*tensors)


def differentiate(ctx, grad):
    needed = list(ctx.needs_input_grad[1])
    found = replay_backward(grad, ctx.name, list(ctx.saved_tensors), ctx.numbers, needed)
    return None, none_unless(needed, found), None if ctx.numbers else []  # torch takes an empty list for one of tensors


replay.register_autograd(differentiate, setup_context=keep_for_backward)
replay_backward.register_autograd(refuse_second_derivatives)
