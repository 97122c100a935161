"""What a kernel supports, as data, and the sentence that says which of these facts does not fit a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch

from graphattn.graphs import Graph

if TYPE_CHECKING:
    from graphattn.kernels.kernel import Inputs, Plan

Sentence = Callable[[], str]  # made for who reads it, where most kernels refuse most calls
PER_EDGE = ("bias", "edge_features", "edge_query")  # the fields of `Inputs` that a call need not have
DEVICES = {"cpu": "CPU", "cuda": "CUDA"}  # as sentences call them


class GraphKind(NamedTuple):
    """Graphs that their classes alone do not tell."""

    words: str  # what a sentence calls them
    has: Callable[[Graph], bool]


class Facts:
    """What a kernel declares of itself: a class says what it has, the rest is refused.

    Attributes:
        name: By which it is asked for.
        family: Kernels of one family answer to its name too: the first of them that runs.
        graphs: Classes of the graphs that it runs, or `GraphKind`; `(Graph,)` is every graph.
        devices: Types of `torch.device`; None: every one.
        dtypes: Of query, key and value; None: every floating one.
        score_names, normalizer_names: Of those that it has; None: all.
        per_edge: Which of `PER_EDGE` it takes, in the order of `graph.edge_index()`.
        takes_bias_by_offset: Whether it takes a bias with a row for each of `offsets_of(graph)`; others are given one for
            each edge.
        takes_dropout: As `formulas/dropout.py` draws it, which is the same in every kernel and every pass.
        takes_numbers: Whether it draws dropout by the numbers of `plan.nodes`, for rows of a larger graph.
        takes_grouped_heads: Whether keys and values may have fewer heads than queries.
        takes_other_value_dim: Whether values may have other channels than keys.
        least_channels: Of queries and keys.
        numbers_kept: For every edge and head, at a time: what `memory_budget` counts. Tiles keep none.
        finds_nan: Whether it raises `NotFinite` where it would spread NaN, so that keys need not be looked at before.
        only_by_name: On these types of device it runs only if it is asked for by its own name, and why.
    """

    name: ClassVar[str]
    family: ClassVar[str | None] = None
    graphs: ClassVar[tuple[type[Graph], ...] | GraphKind] = ()
    devices: ClassVar[tuple[str, ...] | None] = None
    dtypes: ClassVar[tuple[torch.dtype, ...] | None] = None
    score_names: ClassVar[tuple[str, ...] | None] = ("dot",)
    normalizer_names: ClassVar[tuple[str, ...] | None] = ("softmax",)
    per_edge: ClassVar[tuple[str, ...]] = ()
    takes_bias_by_offset: ClassVar[bool] = False
    takes_dropout: ClassVar[bool] = False
    takes_numbers: ClassVar[bool] = False
    takes_grouped_heads: ClassVar[bool] = False
    takes_other_value_dim: ClassVar[bool] = False
    least_channels: ClassVar[int] = 0
    numbers_kept: ClassVar[int] = 0
    finds_nan: ClassVar[bool] = False
    only_by_name: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def has_graph(cls, graph: Graph) -> bool:
        return cls.graphs.has(graph) if isinstance(cls.graphs, GraphKind) else is_one_of(type(graph), cls.graphs)


@lru_cache(512)
def is_one_of(kind: type[Graph], kinds: tuple[type[Graph], ...]) -> bool:
    """issubclass, which takes long to ask of abstract classes."""
    return issubclass(kind, kinds)


# What each fact has in it; all but the first two may be None.
TUPLES: dict[str, tuple[type, str]] = {
    "graphs": (type, "classes of graphs, or a GraphKind in place of the tuple"),
    "per_edge": (str, f"some of {PER_EDGE}"),
    "devices": (str, "types of torch.device such as 'cpu'"),
    "dtypes": (torch.dtype, "dtypes"),
    "score_names": (str, "names of scores"),
    "normalizer_names": (str, "names of normalizers"),
}


def check_facts(kernel: Facts) -> None:
    """TypeError unless the facts that are tuples are tuples of what they should be: a string is none."""
    for fact, (kind, words) in TUPLES.items():
        given = getattr(kernel, fact)
        is_left_open = (given is None and fact not in ("graphs", "per_edge")) or isinstance(given, GraphKind)
        is_tuple = isinstance(given, tuple) and all(isinstance(x, kind) for x in given)
        if not (is_left_open or is_tuple) or (fact == "per_edge" and not set(given) <= set(PER_EDGE)):
            raise TypeError(f"{fact!r} of {type(kernel).__name__} must be a tuple of {words} (got {given!r})")


def why_not_by_facts(kernel: Facts, plan: Plan, inputs: Inputs) -> str | None:
    """The sentence that says which fact of a kernel does not fit, None if all do."""
    rest = unfit_fact(kernel, plan, inputs)
    return None if rest is None else f"'{kernel.name}' {rest()}"


def unfit_fact(kernel: Facts, plan: Plan, inputs: Inputs) -> Sentence | None:
    """The rest of that sentence, not made yet."""
    device, devices = inputs.query.device, kernel.devices
    if devices is not None and device.type not in devices:
        return lambda: f"runs on {listed([DEVICES.get(x, x) for x in devices])} (got {device})"
    return unfit_graph(kernel, plan, inputs) or unfit_formula(kernel, plan) or unfit_tensors(kernel, inputs)


def unfit_graph(kernel: Facts, plan: Plan, inputs: Inputs) -> Sentence | None:
    """About the graphs and dtypes that it runs."""
    dtype, dtypes = inputs.query.dtype, kernel.dtypes
    if not kernel.has_graph(plan.graph):
        return lambda: f"runs {graphs_in_words(kernel)} (got {type(plan.graph).__name__})"
    if dtypes is not None and dtype not in dtypes:
        return lambda: f"runs {listed([str(x).removeprefix('torch.') for x in dtypes])} (got {dtype})"
    return None


def unfit_formula(kernel: Facts, plan: Plan) -> Sentence | None:
    """About what is computed."""
    score, scores = plan.score.name, kernel.score_names
    normalizer, normalizers = plan.normalizer.name, kernel.normalizer_names
    if scores is not None and score not in scores:
        return lambda: f"has {listed([f'the {x}' for x in scores])} score{only(scores)} (got {score!r})"
    if normalizers is not None and normalizer not in normalizers:
        return lambda: f"has {listed(normalizers)}{only(normalizers)} (got {normalizer!r})"
    if plan.dropout and not kernel.takes_dropout:
        return lambda: "has no dropout that can be repeated (got dropout > 0)"
    if plan.dropout and plan.nodes is not None and not kernel.takes_numbers:
        return lambda: "draws dropout by the numbers of its own rows (got rows of a larger graph)"
    return None


def unfit_tensors(kernel: Facts, inputs: Inputs) -> Sentence | None:
    """About what the tensors are."""
    for name in PER_EDGE:
        # A bias by offset is made one of edges for kernels that do not take it.
        is_wanted = getattr(inputs, name) is not None or (
            name == "bias" and inputs.bias_by_offset is not None and not kernel.takes_bias_by_offset
        )
        if is_wanted and name not in kernel.per_edge:
            return partial(sentence_per_edge, kernel, name)
    (_, heads, dim), (_, kv_heads, value_dim), least = inputs.query.shape, inputs.value.shape, kernel.least_channels
    if heads != kv_heads and not kernel.takes_grouped_heads:
        return lambda: f"needs as many heads in keys and values as in queries (got {kv_heads} and {heads})"
    if value_dim != dim and not kernel.takes_other_value_dim:
        return lambda: f"needs as many channels in values as in queries (got {value_dim} and {dim})"
    if dim < least:
        return lambda: f"needs at least {least} channel{'s' * (least > 1)} (got dim={dim})"
    return None


def sentence_per_edge(kernel: Facts, name: str) -> str:
    taken = f"only {listed(kernel.per_edge)}" if kernel.per_edge else "nothing"
    return f"takes {taken} per edge{' but a bias by offset' * kernel.takes_bias_by_offset} (got {name!r})"


def graphs_in_words(kernel: Facts) -> str:
    if isinstance(kernel.graphs, GraphKind):
        return kernel.graphs.words
    if not kernel.graphs:
        return "no graph: its class names none in 'graphs' and has no 'why_not' of its own"
    names = [kind.__name__ for kind in kernel.graphs]
    return " or ".join(f"an {name}" if name[0] in "AEIOU" else f"a {name}" for name in names)


def listed(words: Sequence[str]) -> str:
    """
    >>> listed(["softmax", "relu", "sigmoid"]), listed(["softmax"]), listed([])
    ('softmax, relu and sigmoid', 'softmax', '')
    """
    return "".join(words) if len(words) < 2 else f"{', '.join(words[:-1])} and {words[-1]}"


def only(words: Sequence[str]) -> str:
    return " only" if len(words) == 1 else ""
