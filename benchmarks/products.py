"""What a model's time cannot fall below while torch multiplies its matrices: its products and random draws alone.

A ratio of two models that share them is bounded by it: if products take half of PyG's time, no attention makes the model
more than twice as fast.
"""

from collections.abc import Callable

import torch
from torch import Tensor

CALLS: dict[str, Callable[..., Tensor]] = {
    "aten::mm": torch.mm,
    "aten::bmm": torch.bmm,
    "aten::addmm": torch.addmm,
    "aten::baddbmm": torch.baddbmm,
    "aten::bernoulli_": lambda x: x.bernoulli_(0.5),
}
TENSORS = {"aten::mm": 2, "aten::bmm": 2, "aten::addmm": 3, "aten::baddbmm": 3, "aten::bernoulli_": 1}


Step = tuple[Callable[..., Tensor], list[Tensor]]


def steps_of(call: Callable[[], object]) -> list[Step]:
    """The products of matrices and draws of a call, each with random numbers of the same shapes."""
    call()
    with torch.autograd.profiler.profile(use_kineto=False, record_shapes=True) as profile:
        call()
    found = [(event.name, event.input_shapes) for event in profile.function_events or () if event.name in CALLS]
    return [(CALLS[name], [torch.randn(shape) for shape in shapes[: TENSORS[name]]]) for name, shapes in found]


def products_of(call: Callable[[], object]) -> Callable[[], None]:
    """A function that repeats them."""
    steps = steps_of(call)

    def repeat() -> None:
        for function, tensors in steps:
            function(*tensors)  # forgotten at once: memory that is new each time would cost as much

    return repeat
