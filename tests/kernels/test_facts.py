"""Each fact of a kernel refuses what does not fit it, in a sentence, and nothing else."""

from typing import ClassVar

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GridGraph
from graphattn.extending import Kernel, register_kernel, remove_kernel
from graphattn.formulas.normalizers import Relu, Softmax
from graphattn.formulas.scores import Additive, Dot
from graphattn.graphs import Graph
from graphattn.kernels.choose import KERNELS
from graphattn.kernels.facts import PER_EDGE, GraphKind, check_facts
from graphattn.kernels.kernel import Inputs, Plan


class Plain(Kernel):
    """One that declares the least: its graphs."""

    name = "plain"
    graphs = (CompleteGraph, EdgeListGraph)

    def forward(self, plan, inputs):
        raise NotImplementedError

    backward = forward


class Wide(Plain):
    """One that has everything but the score, dtype and device."""

    graphs = (Graph,)
    devices, dtypes = ("cpu", "cuda"), (torch.float32, torch.float64)
    score_names, normalizer_names = ("cosine", "dot"), None
    per_edge = ("bias", "edge_features")
    takes_dropout = takes_grouped_heads = takes_other_value_dim = True
    least_channels = 3


class Square(Plain):
    graphs = GraphKind("square graphs", lambda graph: graph.num_queries == graph.num_keys)

    def why_not_here(self, plan, inputs):
        return "'plain' is tired"


def plan(graph=None, score=None, normalizer=None, **options):
    return Plan(graph or CompleteGraph(3), score or Dot(), normalizer or Softmax(), 1.0, **options)


def nodes(heads=2, kv_heads=2, dim=4, value_dim=4, **options):
    return Inputs(*(torch.zeros(3, *x, **options) for x in ((heads, dim), (kv_heads, dim), (kv_heads, value_dim))))


PER_EDGE_TENSORS = Inputs(None, None, None, torch.zeros(9, 1), torch.zeros(9, 2), torch.zeros(3, 2, 2))
GRID = GridGraph((3,), 1)
ADDITIVE = Additive(torch.ones(2, 4))
CASES = [
    (Plain, plan(), nodes(), None),
    (Plain, plan(), nodes(device="meta", dtype=torch.bfloat16), None),
    (Plain, plan(GRID), nodes(), "'plain' runs a CompleteGraph or an EdgeListGraph (got GridGraph)"),
    (Plain, plan(score=ADDITIVE), nodes(), "'plain' has the dot score only (got 'additive')"),
    (Plain, plan(normalizer=Relu()), nodes(), "'plain' has softmax only (got 'relu')"),
    (Plain, plan(dropout=0.5), nodes(), "'plain' has no dropout that can be repeated (got dropout > 0)"),
    (Plain, plan(), nodes(kv_heads=1), "'plain' needs as many heads in keys and values as in queries (got 1 and 2)"),
    (Plain, plan(), nodes(value_dim=5), "'plain' needs as many channels in values as in queries (got 5 and 4)"),
    (Plain, plan(), nodes(dim=0, value_dim=0), None),
    (Wide, plan(GRID, normalizer=Relu(), dropout=0.5), nodes(2, 1, 4, 7), None),
    (Wide, plan(), nodes(dtype=torch.float16), "'plain' runs float32 and float64 (got torch.float16)"),
    (Wide, plan(), nodes(device="meta"), "'plain' runs on CPU and CUDA (got meta)"),
    (Wide, plan(score=ADDITIVE), nodes(), "'plain' has the cosine and the dot score (got 'additive')"),
    (Wide, plan(), nodes(dim=2), "'plain' needs at least 3 channels (got dim=2)"),
    (Square, plan(CompleteGraph(2, 3)), nodes(), "'plain' runs square graphs (got CompleteGraph)"),
    (Square, plan(), nodes(), "'plain' is tired"),
]


@pytest.mark.parametrize(("kind", "plan", "inputs", "sentence"), CASES)
def test_sentences(kind, plan, inputs, sentence):
    assert kind().why_not(plan, inputs) == sentence


@pytest.mark.parametrize("name", PER_EDGE)
def test_per_edge(name):
    given = nodes()._replace(**{name: getattr(PER_EDGE_TENSORS, name)})
    assert Plain().why_not(plan(), given) == f"'plain' takes nothing per edge (got '{name}')"
    wanted = "'plain' takes only bias and edge_features per edge (got 'edge_query')" if name == "edge_query" else None
    assert Wide().why_not(plan(), given) == wanted


def test_a_bias_by_offset_is_a_fact_of_its_own():
    class ByOffset(Plain):
        takes_bias_by_offset = True

    given = nodes()._replace(bias_by_offset=torch.zeros(5, 2))
    assert "nothing per edge" in Plain().why_not(plan(), given)
    assert ByOffset().why_not(plan(), given) is None
    by_edge = nodes()._replace(bias=torch.zeros(9, 2))
    assert "nothing per edge but a bias by offset (got 'bias')" in ByOffset().why_not(plan(), by_edge)


def test_a_class_that_names_no_graph_runs_none():
    class Silent(Plain):
        graphs: ClassVar = ()

    assert "names none in 'graphs'" in Silent().why_not(plan(), nodes())


def test_why_not_alone_decides_where_a_class_has_its_own():
    class Own(Plain):
        graphs: ClassVar = ()

        def why_not(self, plan, inputs):
            return None

    assert Own().why_not(plan(BandedGraph(3, 1, 1), ADDITIVE, Relu(), dropout=0.5), nodes(2, 1, 4, 5)) is None


def test_families_are_facts():
    class Relative(Plain):
        name, family = "relative", "edges"

    from graphattn import choose_kernel

    x = torch.zeros(3, 2, 4)
    register_kernel(Relative())
    try:
        assert choose_kernel(CompleteGraph(3), x, kernel="edges").kernel == "relative"
        assert choose_kernel(GRID, x, kernel="edges").kernel == "edges_cpu"
    finally:
        remove_kernel("relative")
    with pytest.raises(ValueError, match="a name of its own, other than .*'banded', 'cudnn', 'edges'"):
        register_kernel(type("Taken", (Plain,), {"name": "banded"})())
    with pytest.raises(ValueError, match=r"or of the families .*'edges'.* \(got 'relative'\)"):
        choose_kernel(CompleteGraph(3), x, kernel="relative")


@pytest.mark.parametrize(
    "fact, given, words",
    [
        ("graphs", CompleteGraph, "a tuple of classes of graphs"),
        ("graphs", (GraphKind("all", bool),), "a GraphKind in place of the tuple"),
        ("graphs", None, "a tuple of classes"),
        ("devices", "cpu", "types of torch.device"),
        ("dtypes", ("float32",), "dtypes"),
        ("score_names", "dot", "names of scores"),
        ("normalizer_names", ["softmax"], "names of normalizers"),
        ("per_edge", ("weight",), "some of .*'bias'"),
        ("per_edge", "bias", "some of .*'bias'"),
    ],
)
def test_a_fact_of_another_kind_is_refused_where_the_kernel_is_registered(fact, given, words):
    with pytest.raises(TypeError, match=f"'{fact}' of Wrong must be .*{words}"):
        register_kernel(type("Wrong", (Plain,), {"name": "wrong", fact: given})())
    assert "wrong" not in [kernel.name for kernel in KERNELS]


def test_every_kernel_declares_what_it_is():
    """Facts are of the known words: a misspelt one would refuse all, or nothing."""
    from graphattn.formulas import normalizers, scores

    for kernel in KERNELS:
        check_facts(kernel)
        assert isinstance(kernel.graphs, GraphKind) or all(issubclass(kind, Graph) for kind in kernel.graphs)
        assert kernel.graphs and set(kernel.per_edge) <= set(PER_EDGE)
        assert set(kernel.devices or ()) | set(kernel.only_by_name) <= {"cpu", "cuda"}
        assert set(kernel.score_names or ()) <= set(scores.OWN) and set(kernel.normalizer_names or ()) <= set(
            normalizers.OWN
        )
