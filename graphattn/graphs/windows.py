"""The window of a grid along one of its axes: which keys a query sees there."""

from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs.banded import count_edges

BORDERS = ("clip", "shift")


class Window(NamedTuple):
    """What `GridGraph` says of one axis, in the words of its arguments."""

    before: int
    after: int
    dilation: int = 1
    stride: int = 1
    border: str = "clip"
    group: int = 1
    is_causal: bool = False

    def keys(self, query: Tensor, key_side: int | Tensor) -> tuple[Tensor, Tensor]:
        """First key and number of keys of the queries at coordinates `query`, among `key_side` keys."""
        if self.border == "clip" and self.group == 1:
            centre = query * self.stride
            # Steps t with 0 <= centre + dilation * t < key_side; -(x // d) is x / d rounded up.
            first = (-(centre // self.dilation)).clamp(min=-self.before)
            last = ((key_side - 1 - centre) // self.dilation).clamp(max=self.after)
            return centre + first * self.dilation, (last - first + 1).clamp(min=0)
        # From here on places among the keys with the residue of the query, `available` of them.
        place, residue = query // self.dilation, query % self.dilation
        available = (key_side - 1 - residue) // self.dilation + 1
        leader = place
        if self.group > 1:
            leader = torch.minimum(place - place % self.group + self.place_of_leader, available - 1)
        if self.border == "shift":
            count = self.before + self.after + 1
            first = torch.minimum((leader - self.before).clamp(min=0), available - count)
            return first * self.dilation + residue, torch.full_like(query, count)
        first = (leader - self.before).clamp(min=0)
        last = place if self.is_causal else torch.minimum(leader + self.after, available - 1)
        return first * self.dilation + residue, (last - first + 1).clamp(min=0)

    @property
    def place_of_leader(self) -> int:
        """Which query of a whole group has the window that all of them share."""
        return self.group - 1 if self.is_causal else self.group // 2

    def steps(self) -> tuple[int, int]:
        """The least and the greatest step, in units of `dilation`, from a query to a key that it may see."""
        behind, ahead = self.group - 1 - self.place_of_leader, self.place_of_leader
        if self.is_causal:
            return -self.before, 0
        if self.border == "shift":
            width = self.before + self.after  # at the border a window reaches as far as it is wide
            return -max(width, self.before + behind), max(width, self.after + ahead)
        return -self.before - behind, self.after + ahead

    def span(self, block: int) -> int:
        """Keys that a block of neighbouring queries sees, all counted that lie between the first and the last."""
        leaders = block if self.group == 1 else -(-block // self.group)  # blocks begin where groups do
        return (leaders - 1) * self.group * self.stride + 1 + self.before + self.after

    def count_edges(self, queries: int, keys: int) -> int:
        """Pairs of a query and a key that it sees, of so many along the axis."""
        if self.border == "shift":
            return queries * (self.before + self.after + 1)
        if self.group > 1:
            return int(self.keys(torch.arange(queries, device="cpu"), keys)[1].sum())
        steps = range(-self.before, self.after + 1)
        if self.stride == 1:
            return count_edges((queries, keys), 0, self.dilation, steps)
        first_and_last = (
            (-(self.dilation * t // self.stride), (keys - 1 - self.dilation * t) // self.stride) for t in steps
        )
        return sum(max(0, min(queries - 1, last) - max(0, first) + 1) for first, last in first_and_last)

    def plain(self, queries: int, keys: int) -> "Window":
        """The same window with its numbers as small as they can be, where no example has more queries or keys."""
        window = self
        if window.border == "shift" and not window.before + window.after:
            window = window._replace(border="clip")  # one key, which is never outside
        if window.border == "clip":
            window = window._replace(
                before=min(window.before, max(0, queries - 1) * window.stride // window.dilation),
                after=min(window.after, max(0, keys - 1) // window.dilation),
            )
        window = window._replace(group=window.least_group(queries), stride=window.stride if queries > 1 else 1)
        if window.group == 1:
            is_causal = window.border == "clip" and not window.after
            # Where there is nothing to step over, a dilation has one spelling.
            dilation = window.dilation if window.before + window.after else 1
            window = window._replace(is_causal=is_causal, dilation=dilation)
        return window

    def least_group(self, queries: int) -> int:
        """The smallest group that makes the same of every axis with at most so many queries."""
        places = max(1, -(-queries // self.dilation))  # of the queries that may share a window
        sees_all_before = self.border == "clip" and self.before >= places - 1
        if places == 1 or (sees_all_before and (self.is_causal or self.after >= places - 1)):
            return 1
        # From here on the leader of the only group is the last query.
        return min(self.group, places if self.is_causal else max(places, 2 * places - 2))


def intersect_windows(one: Window, other: Window, sides: list[tuple[int, int]]) -> Window | None:
    """The window that both allow, None if it is none; `sides` are the queries and the keys along the axis."""
    for window, rest in ((one, other), (other, one)):
        if window == rest or all(rest.count_edges(queries, keys) == queries * keys for queries, keys in sides):
            return window
    if any(window.border != "clip" or window.group > 1 for window in (one, other)) or one.stride != other.stride:
        return None
    before, after = min(one.before, other.before), min(one.after, other.after)
    if one.dilation != other.dilation and before + after:
        return None
    return Window(before, after, max(one.dilation, other.dilation), one.stride)
