"""A piece of work, the peers that do it, and how they are checked and timed.

Peers are timed in turn, A B C A B C ..., in one process: what a noisy neighbour does in one second hits them all alike.
"""

import gc
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SHORTEST_SAMPLE = 0.005  # seconds; quicker calls are repeated until a sample lasts this long
ROUNDING = 1e-12  # what float64 makes of a gradient that is 0
LARGEST_PRECISE = 2**29  # numbers given; more are checked in float32 and on fewer rows, for want of memory and time
TOLERANCE = 1e-4  # of the largest number expected; float32 sums over a million edges reach 1e-5


def unchanged(x: Tensor) -> Tensor:
    return x


class Peer(NamedTuple):
    """One way to do the work.

    Args:
        call: Takes the inputs of the case, gives the output.
        own: From the common layout of a node tensor to the layout that this peer wants (padding); not timed.
        common: The way back.
        parameters: What else gets a gradient in training (the weights of a layer).
        trains: False where there is no backward pass.
    """

    call: Callable[..., Tensor]
    own: Callable[[Tensor], Tensor] = unchanged
    common: Callable[[Tensor], Tensor] = unchanged
    parameters: tuple[Tensor, ...] = ()
    trains: bool = True


class Case(NamedTuple):
    """One piece of work.

    Args:
        inputs: Tensors with gradients, node tensors first.
        peers: The first is the one that the others are compared with.
        expected: `expected(row, *inputs in float64)` is row `row` of the output, by other code than any peer's.
        rows: How many rows the output has.
        prepare: What is built once for a graph (its CSR), timed beside the table.
        beside: From the name of a pass to what is timed with the peers but is not the same work (reading memory, products
            alone), so neither checked nor weighed.
        ready: Called with the name of a pass before it is timed, after the check (to switch dropout on in training).
    """

    inputs: tuple[Tensor, ...]
    peers: dict[str, Peer]
    expected: Callable[..., Tensor]
    rows: int
    prepare: Callable[[], object] | None = None
    beside: Callable[[str], dict[str, Callable[[], object]]] | None = None
    ready: Callable[[str], object] | None = None


class Timing(NamedTuple):
    """Seconds of one call (median and quartiles of the rounds), and processor seconds per second (cores in use)."""

    median: float
    low: float
    high: float
    cores: float


def forward(peer: Peer, inputs: tuple[Tensor, ...]) -> Callable[[], Tensor]:
    """The call without gradients."""
    inputs = tuple(peer.own(x).detach() for x in inputs)

    def call():
        with torch.no_grad():
            return peer.call(*inputs)

    return call


def training(peer: Peer, inputs: tuple[Tensor, ...], cotangent: Tensor | None = None) -> Callable[[], list[Tensor]]:
    """Forward and backward from a random (or the given) cotangent: [output, gradients of inputs, of parameters]."""
    inputs = tuple(peer.own(x.detach()).requires_grad_() if x.requires_grad else peer.own(x) for x in inputs)
    wanted = [x for x in (*inputs, *peer.parameters) if x.requires_grad]
    grad_out = None if cotangent is None else peer.own(cotangent)

    def call():
        nonlocal grad_out
        out = peer.call(*inputs)
        if grad_out is None:
            grad_out = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
        return [out.detach(), *torch.autograd.grad(out, wanted, grad_out)]

    return call


PASSES = {"forward": forward, "forward + backward": training}


def calls_of(case: Case, pass_: str) -> dict[str, Callable]:
    """The peers that can do this pass, ready to be called."""
    if case.ready is not None:
        case.ready(pass_)
    able = {name: peer for name, peer in case.peers.items() if peer.trains or pass_ == "forward"}
    return {name: PASSES[pass_](peer, case.inputs) for name, peer in able.items()}


def check(case: Case, count: int = 16) -> None:
    """Compares `count` rows of every peer, and the gradients of inputs that flow from them, with float64; raises ValueError.

    Of huge inputs a few rows with float32, which their short sums leave precise enough.
    """
    is_large = sum(x.numel() for x in case.inputs) > LARGEST_PRECISE
    dtype, count = (torch.float32, 4) if is_large else (torch.float64, count)
    drawn = torch.randperm(case.rows, generator=torch.Generator().manual_seed(2))[:count].tolist()
    rows = sorted({0, *drawn})  # row 0 is the centre of a star
    precise = [x.detach().to(dtype).requires_grad_(x.requires_grad) for x in case.inputs]
    out = torch.stack([case.expected(row, *precise) for row in rows])
    grad_out = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    wanted = [x for x in precise if x.requires_grad]
    expected = [out.detach(), *(torch.autograd.grad(out, wanted, grad_out) if wanted else ())]
    cotangent = case.inputs[0].new_zeros(case.rows, *out.shape[1:])
    cotangent[rows] = grad_out.to(cotangent)
    for name, peer in case.peers.items():
        found = [forward(peer, case.inputs)()]
        if peer.trains:
            found = training(peer, case.inputs, cotangent)()
        found = [peer.common(x) for x in found[: len(expected)]]
        errors = [relative_error(x, y) for x, y in zip((found[0][rows], *found[1:]), expected)]
        if max(errors) > TOLERANCE:
            raise ValueError(f"{name!r} is wrong: relative errors of output and gradients {errors}")


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest deviation, as a share of the largest number expected (of 1 if all are 0); NaN counts as infinite."""
    scale = expected.abs().max()
    error = (found - expected).abs().max() / (scale if scale > ROUNDING else 1.0)
    return error.nan_to_num(torch.inf).item()


def interleaved(calls: dict[str, Callable], rounds: int = 9) -> dict[str, Timing]:
    """Times every call `rounds` times, in turn, after a warm-up."""
    repeats = {name: repeats_of(call) for name, call in calls.items()}
    samples = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in calls.items():
                samples[name].append(clock(call, repeats[name]))
    finally:
        gc.enable()
    return {name: summary(sample) for name, sample in samples.items()}


def repeats_of(call: Callable) -> int:
    """Warms up; how many calls make a sample long enough for the clock."""
    call()
    seconds, _ = clock(call, 1)
    seconds = min(clock(call, 3)[0], seconds) if seconds < SHORTEST_SAMPLE else seconds
    return max(1, round(SHORTEST_SAMPLE / seconds))


def clock(call: Callable, repeats: int) -> tuple[float, float]:
    """Wall seconds and processor seconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - wall) / repeats, (time.process_time() - processor) / repeats


def summary(samples: list[tuple[float, float]]) -> Timing:
    wall, processor = np.array(samples).T
    low, median, high = np.quantile(wall, (0.25, 0.5, 0.75))
    return Timing(float(median), float(low), float(high), float(processor.sum() / wall.sum()))
