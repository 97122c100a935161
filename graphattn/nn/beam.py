"""Beam search for the text of one example."""

import heapq
import math
from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor


class Hypothesis(NamedTuple):
    """A text and how likely it is."""

    tokens: Tensor  # [num_tokens], the prompt first, the end token last if it was written
    score: float  # sum of the log probabilities after the prompt, divided by the length penalty


class Beam:
    """The search for the text of one example."""

    def __init__(self, prompt: Tensor, beams: int, max_length: int, length_penalty: float, ends: Collection[int]):
        self.beams, self.max_length, self.ends = beams, max_length, ends
        self.length_penalty, self.prompt_length = length_penalty, len(prompt)
        self.alive = [(0.0, prompt)]  # sum of log probabilities, tokens
        self.finished: list[Hypothesis] = []

    def step(self, log_probabilities: Tensor) -> list[tuple[int, int]]:
        """(beginning, next token) of each beginning that goes on, from [beginnings, num_tokens]."""
        if not self.alive:
            return []
        known = log_probabilities.new_tensor([total for total, _ in self.alive])
        totals = known[:, None] + log_probabilities
        # Each beginning may end in all ways, and still as many as are kept go on.
        values, places = likeliest(totals.flatten(), self.beams * (1 + max(1, len(self.ends))))
        alive, going_on = [], []
        for total, place in zip(values.tolist(), places.tolist(), strict=True):
            if total == -math.inf:  # a text that cannot be; so are all that follow
                break
            parent, token = divmod(place, totals.size(1))
            tokens = torch.cat([self.alive[parent][1], self.alive[parent][1].new_tensor([token])])
            if token in self.ends or len(tokens) == self.max_length:
                self.finished.append(Hypothesis(tokens, self.normalized(total, len(tokens))))
            else:
                alive.append((total, tokens))
                going_on.append((parent, token))
            if len(alive) == self.beams:
                break
        self.finished = heapq.nlargest(self.beams, self.finished, key=lambda text: text.score)
        self.alive = alive
        if self.is_decided():
            self.alive, going_on = [], []
        return going_on

    def is_decided(self) -> bool:
        """Whether no living beginning can enter the best: totals only fall, and the penalty is at most that of the end."""
        if len(self.finished) < self.beams or not self.alive:
            return not self.alive
        best = self.alive[0][0]
        lengths = (len(self.alive[0][1]) + 1, self.max_length)
        return max(self.normalized(best, length) for length in lengths) <= self.finished[-1].score

    def normalized(self, total: float, length: int) -> float:
        return total / ((5 + length - self.prompt_length) / 6) ** self.length_penalty

    def best(self) -> list[Hypothesis]:
        return sorted(self.finished, key=lambda text: -text.score)


def likeliest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of scores [n] and their places, the larger first; of equal ones the first, as argmax takes it.

    >>> likeliest(torch.tensor([1.0, 3.0, 2.0, 3.0, 2.0]), 3)
    (tensor([3., 3., 2.]), tensor([1, 3, 2]))
    """
    count = min(count, scores.numel())
    least = scores.topk(count).values[-1]
    places = (~(scores < least)).nonzero().flatten()  # topk does not say which of equal ones it takes
    order = scores[places].argsort(descending=True, stable=True)[:count]
    return scores[places[order]], places[order]
