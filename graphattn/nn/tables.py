"""The tables of a layer, and the linear maps of each: forward and backward, all maps of one table at a time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from graphattn.nn.linear_maps import gradients_of_maps, products_of

Tensors = Sequence[Tensor | None]


class Tables(NamedTuple):
    """Tables [rows, in_channels], and which of the maps are maps of each.

    Maps have weights [out_channels, in_channels] and biases [out_channels], or None; backward, weights need not be there whose
    tables need no gradient.
    """

    tables: Sequence[tuple[Tensor, slice]]
    weights: Sequence[Any]
    biases: Tensors

    def fit(self) -> bool:
        """Whether tables have the channels that maps take, and biases those that they give; else modules say what is wrong."""
        for weight, bias in zip(self.weights, self.biases):
            if weight.dim() != 2 or (bias is not None and bias.shape != weight.shape[:1]):
                return False
        for x, which in self.tables:
            if x.dim() != 2 or not x.numel() or any([weight.size(1) != x.size(1) for weight in self.weights[which]]):
                return False
        return all([weight.size(0) for weight in self.weights])

    def mapped(self) -> list[Tensor]:
        """What each map makes of its table, [rows, out_channels]."""
        found: list[Any] = [None] * len(self.weights)
        for x, which in self.tables:
            products = products_of(x, [weight.size(0) for weight in self.weights[which]])
            found[which] = products.forward(x, self.weights[which], self.biases[which])
        return found

    def gradients(
        self, grads: Sequence[Tensor], by_tables: Sequence[bool], by_weights: Sequence[bool], by_biases: Sequence[bool]
    ) -> tuple[list[Tensor | None], list[Tensor | None], list[Tensor | None]]:
        """Of tables, weights and biases, None for those that are not needed, from those of what maps make."""
        of_tables: list[Tensor | None] = []
        of_weights: list[Tensor | None] = [None] * len(grads)
        of_biases: list[Tensor | None] = [None] * len(grads)
        for (x, which), by_x in zip(self.tables, by_tables):
            products = products_of(x, [grad.size(1) for grad in grads[which]])
            needed = by_weights[which], by_biases[which]
            of_x, *of_maps = gradients_of_maps(products, grads[which], x, self.weights[which], by_x, *needed)
            of_tables.append(of_x)
            half = len(of_maps) // 2
            of_weights[which], of_biases[which] = of_maps[:half], of_maps[half:]
        return of_tables, of_weights, of_biases

    def mapped_by_torch(self, before: Sequence[Tensor]) -> list[Tensor]:
        """`mapped` from plain operations, with the numbers that the first of them had before."""
        found: list[Any] = [None] * len(self.weights)
        for x, which in self.tables:
            found[which] = [F.linear(x, *of) for of in zip(self.weights[which], self.biases[which])]
        return [*[as_before(numbers, x) for numbers, x in zip(before, found)], *found[len(before) :]]

    def weights_for_gradients(self, by_tables: Sequence[bool]) -> list[Tensor | None]:
        """Those whose tables need gradients."""
        found: list[Any] = [None] * len(self.weights)
        for (_, which), by_x in zip(self.tables, by_tables):
            if by_x:
                found[which] = self.weights[which]
        return found


def as_before(numbers: Tensor, x: Tensor) -> Tensor:
    """x, which is differentiated, with numbers that it had."""
    return numbers.view_as(x) + (x - x.detach())
