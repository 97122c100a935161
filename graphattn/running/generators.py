"""torch's random numbers, drawn again: a score of the caller's own may have dropout, and is evaluated a second time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from graphattn.formulas.scores import Custom, Score


class Generators:
    """The state of the generators that code on a device draws from."""

    def __init__(self, device: torch.device):
        self.device, self.states = device, self.now(device)

    @classmethod
    def of(cls, score: Score, device: torch.device) -> "Generators | None":
        """Those of now, for a score that may draw from them; None for others."""
        return cls(device) if isinstance(score, Custom) else None

    @staticmethod
    def now(device: torch.device) -> list[Tensor]:
        of_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
        return [torch.get_rng_state(), *of_device]

    def have_moved(self) -> bool:
        """Whether something was drawn since."""
        return not all(map(torch.equal, self.states, self.now(self.device)))

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Inside, they are as they were; afterwards, as before."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.set_rng_state(self.states[0])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(self.states[1], self.device)
            yield
