"""A layer on a graph as one node of autograd.

A layer of a small graph takes its time from what is called, not from what is multiplied: its maps, attention and skip connection
are one node here, whose passes are a few loops, or products of torch, and nothing between them. Where a graph comes again with
tables of the same sizes, a pass is those loops alone (`kernels/native/replay.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from graphattn.graphs import Graph
from graphattn.graphs.spread import SpreadGraph
from graphattn.kernels.budget import current_budget
from graphattn.kernels.choose import has_others, select
from graphattn.kernels.kernel import Inputs, Plan
from graphattn.kernels.native.border import PLAIN
from graphattn.kernels.native.edges_cpu import EdgesCpu
from graphattn.kernels.native.replay import Ready, Replay
from graphattn.kernels.native.tape import Tape
from graphattn.kernels.plain.batched import each_of_batch
from graphattn.kernels.plain.differentiable import gradients_by_torch, is_differentiated_again
from graphattn.nn.linear_maps import is_looked_at, may_differentiate
from graphattn.nn.plain import are_linear
from graphattn.nn.tables import Tables, Tensors
from graphattn.running.arguments import check_dropout, new_seed
from graphattn.running.execution import are_lost, is_one_piece

TRIES = range(1, 4)  # calls that are written down, if they can be: what comes once is not worth it
MOST_RATES = 4  # of dropout, that are remembered for a graph
WIDE = torch.float32, torch.float64  # halves are rounded in other places
LOOPS = EdgesCpu()


class Passed(NamedTuple):
    """A pass forward, and what the pass backward reads of it."""

    result: Tensor
    lse: Tensor  # [num_queries, heads]
    kept: Tensors  # all else


class Step(ABC):
    """What a layer computes on a graph, both ways, but for its tensors.

    They are given in one order: nodes, the sources if these are others, features of edges, then what the layer learns: what is
    no map, up to the fourth of all, the weights of its maps, and their biases.

    Attributes:
        graph: Whose edges are attended to.
        heads: Into which what maps make of nodes is cut.
        dropout: Probability of dropping a weight.
        keeps_result: Whether the backward pass reads the result.
        refusal: What the graph remembers where other kernels run, if anything: who asks for it first need not make a step.
    """

    NODES_AND_EDGES: ClassVar[int] = 3  # tensors that are not learned
    NUM_TABLES: ClassVar[int]  # of the first tensors, as far as they are given, are mapped

    graph: Graph
    heads: int
    dropout: float
    keeps_result: bool
    refusal: Hashable | None = None

    def by_head(self, x: Tensor) -> Tensor:
        """[rows, heads * out_channels] -> [rows, heads, out_channels]."""
        return x.view(-1, self.heads, x.size(1) // self.heads)

    @abstractmethod
    def key(self) -> tuple[Hashable, ...]:
        """All that tells two layers on one graph apart, beside the shapes of their tensors and the rate of dropout."""

    @abstractmethod
    def takes(self, given: Tensors) -> bool:
        """Whether tables fit together, and loops over edges are what runs."""

    @abstractmethod
    def forward(self, given: Tensors, seed: int) -> Passed: ...

    @abstractmethod
    def tables(self, given: Tensors) -> Tables:
        """What is mapped, and by which maps."""

    def by_tables(self, needed: Sequence[bool], given: Tensors) -> list[bool]:
        """Whether each of the tables that there are needs a gradient."""
        return [is_needed for is_needed, x in zip(needed[: self.NUM_TABLES], given) if x is not None]

    def read_later(self, given: Tensors, needed: Sequence[bool]) -> Tensors:
        """What is given, as far as the backward pass reads it; None for the rest."""
        tables = self.tables(given)
        weights = tables.weights_for_gradients(self.by_tables(needed, given))
        return *given[:4], *weights, *[None] * len(tables.biases)

    @abstractmethod
    def backward(
        self, grad: Tensor, given: Tensors, passed: Passed, needed: Sequence[bool], seed: int
    ) -> list[Tensor | None]:
        """The gradients of what is given, None for those that are not needed."""

    @abstractmethod
    def by_torch(self, passed: Passed, before: Tensors, seed: int, *given: Tensor | None) -> Tensor:
        """`forward` from plain operations, with the numbers that it had: whoever wrote a map since is not seen.

        Args:
            before: What was read then.
            given: What is differentiated by now.
        """


def run(step: Step, modules: Sequence[Any], given: Tensors, read: Tensors | None = None) -> Tensor | None:
    """The result of a step, None where another kernel runs, or where somebody would see what runs.

    Args:
        modules: Those whose weights are given, which must be linear maps and nothing more.
        given: The tensors, `modules` their weights and biases.
        read: The same as loops read them, where that differs.
    """
    if torch.compiler.is_compiling() or not are_linear(modules):
        return None
    nodes = given[0]
    assert nodes is not None
    if type(nodes) not in PLAIN or nodes.dtype not in WIDE or is_looked_at(given) or current_budget() is not None:
        return None
    goes_back = may_differentiate(*given)
    if goes_back and not all([module._parameters["weight"].requires_grad for module in modules]):
        return None  # a map that is frozen need not keep its input
    step.dropout = check_dropout(step.dropout)
    read = given if read is None else read
    memory = None if has_others() else memory_of(step, read)
    may_repeat = memory is not None and memory.forward is not None and not are_packed()
    ready = memory.forward.ready(read) if may_repeat else None  # type: ignore[union-attr] # mypy forgets
    if ready is None and not may_run(step, read, memory):
        return None
    if not goes_back:
        return forward(step, read, memory, ready).passed.result
    return RunStep.apply(step, read, memory, ready, *given)


def learned_by(modules: Sequence[Any]) -> Tensors:
    """The weights of linear maps, and their biases, as a step is given them; of another module None, which `run` refuses."""
    parameters = [getattr(module, "_parameters", {}) for module in modules]  # `module.weight` is a function of PyTorch
    return *[of.get("weight") for of in parameters], *[of.get("bias") for of in parameters]


def run_loops(plan: Plan, inputs: Inputs) -> bool:
    """Whether the loops over edges are what runs, on the graph as a whole."""
    return is_one_piece(plan, inputs, None) and type(select(plan, inputs, None, is_finite=True)) is EdgesCpu


def are_packed() -> bool:
    """Whether hooks see what is saved for backward passes, as checkpoints do, which count it and want the same each time."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


class Memory:
    """What a layer on a graph with tables of the same type and sizes ran before."""

    def __init__(self) -> None:
        self.takes: bool | None = None  # whether loops over edges run, which is asked once
        self.calls = 0
        self.forward: Replay | None = None
        self.backward: dict[tuple[bool, ...], Replay | None] = {}  # by the gradients that are asked for


def memory_of(step: Step, read: Tensors) -> Memory:
    shapes = [None if x is None else x.shape for x in read]
    of_layer = *step.key(), step.dropout > 0, read[0].dtype  # type: ignore[union-attr] # nodes are always given
    by_rate = step.graph.remember(("step", *of_layer, *shapes), dict[float, Memory])
    memory = by_rate.get(step.dropout)
    if memory is None:
        if len(by_rate) >= MOST_RATES:
            by_rate.clear()  # who changes the rate from step to step does not come back to one
        memory = by_rate.setdefault(step.dropout, Memory())
    return memory


def may_run(step: Step, read: Tensors, memory: Memory | None) -> bool:
    """Whether loops over edges run, on plain tables that fit together."""
    dtype = read[0].dtype  # type: ignore[union-attr] # nodes are always given
    if not all([x is None or is_wide(x, dtype) for x in read]):
        return False
    if isinstance(step.graph, SpreadGraph):
        return False
    if memory is None:
        return step.takes(read)
    if memory.takes is None:
        memory.takes = step.takes(read)
        if not memory.takes and step.refusal is not None:
            step.graph.remember(step.refusal, lambda: True)
    return memory.takes


def is_wide(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether it is a plain tensor on the CPU, whose numbers are rounded nowhere on the way."""
    return type(x) in PLAIN and x.dtype is dtype and dtype in WIDE and x.is_cpu and x.layout is torch.strided


class Done(NamedTuple):
    """A forward pass, with the seed that it drew; what it keeps is the memory of a `replay`, if it was one."""

    passed: Passed
    seed: Tensor | None
    replay: Replay | None = None


def forward(step: Step, read: Tensors, memory: Memory | None, ready: Ready | None) -> Done:
    """By what is written down, if that takes these tensors."""
    drawn = new_seed(torch.device("cpu")) if step.dropout else None
    seed = number_of(drawn)
    if memory is not None and memory.forward is not None and ready is not None:
        (result, lse), room = memory.forward.run(ready, seed)
        return Done(Passed(result, lse, [room]), drawn, memory.forward)
    is_new = memory is not None and memory.forward is None and memory.calls in TRIES
    with Tape() if is_new else nullcontext() as tape:
        passed = step.forward(read, seed)
    if memory is not None:
        memory.calls += 1
        if tape is not None:
            memory.forward = Replay.of(tape, read, passed[:2], passed.kept)  # type: ignore[arg-type] # all are there
    return Done(passed, drawn)


def number_of(seed: Tensor | None) -> int:
    return 0 if seed is None else int(seed)


class RunStep(Function):
    """A step forward and backward; it keeps what maps and attention would keep each for themselves.

    As in PyG's layers, a weight may be written before the backward pass where no gradient needs it: where its table has none.
    """

    @staticmethod
    def forward(ctx, step: Step, read: Tensors, memory: Memory | None, ready: Ready | None, *given):
        passed, seed, ctx.replay = forward(step, read, memory, ready)
        ctx.step, ctx.memory, ctx.learned = step, memory, given[step.NODES_AND_EDGES :]
        result = passed.result if step.keeps_result else None
        later = step.read_later(read, ctx.needs_input_grad[4:])
        # The seed too: a checkpoint may draw another one when it runs this again.
        ctx.save_for_backward(seed, *later, result, passed.lse, *passed.kept)
        return passed.result

    @staticmethod
    @each_of_batch
    def backward(ctx, grad):
        if torch.is_autocast_enabled("cpu"):  # for whoever calls this; the step was none of it
            with torch.autocast("cpu", enabled=False):
                return RunStep.backward(ctx, grad)
        step, replay, needed, (seed, *saved) = ctx.step, ctx.replay, ctx.needs_input_grad[4:], ctx.saved_tensors
        seed = number_of(seed)
        given, (result, lse, *kept) = saved[: len(needed)], saved[len(needed) :]
        is_lost = is_differentiated_again() or not is_plain_gradient(grad) or are_lost(step.graph, lse)
        grad = grad if is_lost else grad.contiguous()
        known = None if is_lost or replay is None else ctx.memory.backward.get(needed)
        ready = None if known is None else known.ready([grad, *saved])
        if known is not None and ready is not None:
            found = iter(known.run(ready, seed)[0])
            return None, None, None, None, *[next(found) if is_needed else None for is_needed in needed]

        passed = Passed(result, lse, kept if replay is None else replay.views(*kept))
        if is_lost:
            again = partial(step.by_torch, passed, given, seed)
            now = *given[: step.NODES_AND_EDGES], *ctx.learned
            return None, None, None, None, *gradients_by_torch(again, now, needed, grad)
        is_new = replay is not None and needed not in ctx.memory.backward
        with Tape() if is_new else nullcontext() as tape:
            grads = step.backward(grad, given, passed, needed, seed)
        if tape is not None:
            asked = [x for x, is_needed in zip(grads, needed) if is_needed]
            ctx.memory.backward[needed] = Replay.of(tape, [grad, *saved], asked)
        return None, None, None, None, *grads


def is_plain_gradient(grad: Tensor) -> bool:
    """Whether loops may read a cotangent."""
    return type(grad) is Tensor and grad.layout is torch.strided and not is_looked_at([grad])
