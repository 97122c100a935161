"""How long, how fast and with what optimizer a model is trained."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

SHAPES = ("constant", "one_cycle", "linear")
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True)
class Schedule:
    """Epochs, batches, learning rate, and what keeps the weights small and calm.

    Args:
        epochs: Times that every training example is seen, at most.
        lr: Learning rate, the highest of the schedule.
        batch_size: Examples of a step (a network is one example).
        weight_decay: Of the optimizer: `'adam'` adds it to the gradient, `'adamw'` shrinks the weights.
        shape: Of the learning rate over the steps: `'constant'`, `'one_cycle'` (up and down again in half cosines, Smith and
            Topin 2019) or `'linear'` (up in a straight line, then down to 0).
        warmup: Share of the steps in which it rises.
        clip: Largest norm of a gradient; None leaves it as it is.
        averaging: Share of the old weights in a running mean over the steps, which is then what is evaluated and kept; 0: none.
        forget_start: Whether that mean is a quick one in the first steps and counts statistics of batch norms too.
        patience: Epochs without a better one after which training ends; None: it does not.
        least_steps: There are as many more epochs as it takes to come to so many steps, for few examples.
        fused: Whether the optimizer runs as one loop (the same but for rounding).

    Raises:
        ValueError: if a number is out of its range, or a name unknown.
    """

    epochs: int = 20
    lr: float = 1e-3
    batch_size: int = 32
    weight_decay: float = 1e-2
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    fused: bool = False
    shape: str = "one_cycle"
    warmup: float = 0.1
    clip: float | None = None
    averaging: float = 0.0
    forget_start: bool = False
    patience: int | None = None
    least_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"'{name}' must be 1 or more (got {getattr(self, name)})")
        if not self.lr > 0:
            raise ValueError(f"'lr' must be above 0 (got {self.lr})")
        if not 0 <= self.averaging < 1 or not 0 <= self.warmup <= 1:
            raise ValueError(
                f"'averaging' must be in [0, 1) and 'warmup' in [0, 1] (got {self.averaging} and {self.warmup})"
            )
        for name, known in (("shape", SHAPES), ("optimizer", tuple(OPTIMIZERS))):
            if getattr(self, name) not in known:
                raise ValueError(f"'{name}' must be one of {list(known)} (got {getattr(self, name)!r})")

    def num_epochs(self, num_batches: int) -> int:
        """Of an epoch of so many steps.

        >>> Schedule(epochs=10, least_steps=300).num_epochs(5), Schedule(epochs=10, least_steps=300).num_epochs(100)
        (60, 10)
        """
        return max(self.epochs, -(-self.least_steps // num_batches))

    def make_optimizer(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """Of parameters, or of groups of them with a weight decay of their own."""
        options: dict[str, Any] = {"lr": self.lr, "betas": self.betas, "weight_decay": self.weight_decay}
        options |= {"fused": True} if self.fused else {}
        return OPTIMIZERS[self.optimizer](parameters, **options)

    def make_rates(self, optimizer: torch.optim.Optimizer, num_steps: int) -> LRScheduler | None:
        """The learning rate of every step; None if it stays."""
        if self.shape == "constant":
            return None
        if self.shape == "one_cycle":
            # Where the rate would rise in exactly one step, torch divides by the no steps between the first and that one.
            is_one = self.warmup * num_steps == 1
            share = self.warmup * (1 - 1e-9) if is_one else self.warmup
            return OneCycleLR(optimizer, self.lr, total_steps=num_steps, pct_start=share)
        rising = max(1, int(self.warmup * num_steps))
        falling = max(1, num_steps - rising)
        return LambdaLR(optimizer, lambda step: min((step + 1) / rising, max(0.0, (num_steps - step) / falling)))


def groups_of(model: nn.Module, weight_decay: float) -> list[Any]:
    """The parameters of a model, in the groups that it makes itself where it has `parameter_groups(weight_decay)`."""
    grouped = getattr(model, "parameter_groups", None)
    return list(model.parameters()) if grouped is None else grouped(weight_decay)
