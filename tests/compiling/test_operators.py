"""Compiled layers against the same layers without a compiler, over several sizes and with one compilation."""

import gc

import networkx
import numpy
import pytest
import torch
from torch_geometric import EdgeIndex

from graphattn import (
    BandedGraph,
    CompleteGraph,
    GlobalGraph,
    GridGraph,
    PerHead,
    as_graph,
    attend,
    attention_weights,
    causal,
    memory_budget,
)
from graphattn.compiling.operators import fresh
from graphattn.formulas.normalizers import Relu, Softmax, TopK
from graphattn.formulas.scores import Additive, Cosine
from graphattn.graphs.traced import ticket_of
from graphattn.nn import (
    ALiBi,
    AttentionReadout,
    ClassNode,
    ContinuousPositions,
    DecoderLayer,
    EdgeTypeBias,
    EncoderLayer,
    GATConv,
    GATv2Conv,
    GPSConv,
    GraphAttention,
    GraphTransformer,
    GraphTransformerDecoder,
    HeteroGraphAttention,
    HopBias,
    LanguageModel,
    LearnedPositions,
    LinearAttention,
    MeanReadout,
    RandomSigns,
    RecurrentPositions,
    RelativeBias,
    RotaryPositions,
    Seq2Seq,
    SignInvariant,
    SinusoidalPositions,
    T5Bias,
    TransformerConv,
)
from tests.compiled import SIZES, check_compiled, edges, features, run


@pytest.fixture(autouse=True)
def forget_compilations():
    torch._dynamo.reset()


class WithClassNode(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.node, self.layer = ClassNode(8), EncoderLayer(8, 2)

    def forward(self, x, graph):
        x, graph = self.node(x, graph)
        return self.node.read(self.layer(x, graph), graph)


class OfTypes(torch.nn.Module):
    """The results of a layer for each type of nodes."""

    def __init__(self, metadata, **options):
        super().__init__()
        self.layer = HeteroGraphAttention({"author": 3, "paper": 4}, 4, metadata, heads=2, **options)

    def forward(self, *arguments):
        return tuple(self.layer(*arguments).values())


class WithHops(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bias, self.layer = HopBias(2, max_distance=3), GraphAttention(8, 4, 2)

    def forward(self, x, graph, bonds):
        return self.layer(x, graph, edge_bias=self.bias.along(bonds))


def on_edges(n):
    return features(n), edges(n)


def with_features(n):
    return features(n), edges(n), features(3 * n, 3)


def on_batch(n):
    return features(n), causal([n - 2, 2])


WRITES, CITES, LISTS = ("author", "writes", "paper"), ("paper", "cites", "paper"), ("paper", "lists", "author")
TYPES = ["author", "paper"]


def of_types(n):
    return {"author": features(n + 1, 3), "paper": features(n + 4, 4)}


def on_typed_edges(n):
    counts = {"author": n + 1, "paper": n + 4}
    ends = {kind: [torch.randint(counts[kind[end]], (3 * n,)) for end in (0, 2)] for kind in (WRITES, CITES, LISTS)}
    return of_types(n), {kind: torch.stack(pair) for kind, pair in ends.items()}


def with_typed_features(n):
    return *on_typed_edges(n), {WRITES: features(3 * n, 2), LISTS: features(3 * n, 8)}


def per_head(n):
    near = BandedGraph(n, 1, 1)
    return features(n), PerHead([near, causal(n), near])


def per_head_with_features(n):
    given = edges(n)
    first, second = features(3 * n, 2), features(3 * n, 2)
    return features(n), PerHead([given, edges(n), given], n), [first, second, first]


LAYERS = {
    "edge_index": (lambda: GraphAttention(8, 4, 2), on_edges),
    "EdgeIndex without sizes": (lambda: GraphAttention(8, 4, 2), lambda n: (features(n), EdgeIndex(edges(n)))),
    "mask": (lambda: GraphAttention(8, 4, 2), lambda n: (features(n), torch.rand(n, n) < 0.5)),
    "band": (lambda: GraphAttention(8, 4, 2), lambda n: (features(n), BandedGraph(n, 2, 1))),
    "union": (lambda: GraphAttention(8, 4, 2), lambda n: (features(n), BandedGraph(n, 1, 1) | GlobalGraph(n, [0]))),
    "list of graphs": (
        lambda: GraphAttention(8, 4, 2),
        lambda n: (features(n), [causal(n - 2), CompleteGraph(2)]),
    ),
    "bipartite": (
        lambda: GraphAttention((8, 3), 4, 2),
        lambda n: ((features(n + 1), features(n, 3)), CompleteGraph(n, n + 1)),
    ),
    "edge features": (lambda: GraphAttention(8, 4, 2, edge_dim=3), with_features),
    "cosine": (lambda: GraphAttention(8, 4, 2, score="cosine", kv_heads=1), on_edges),
    "gaussian": (lambda: GraphAttention(8, 4, 2, score="gaussian"), on_edges),
    "bilinear": (lambda: GraphAttention(8, 4, 2, score="bilinear"), on_edges),
    "gatv2": (lambda: GraphAttention(8, 4, 2, score="gatv2", edge_dim=3), with_features),
    "sink, gate": (lambda: GraphAttention(8, 4, 2, sink=True, gate=True), on_edges),
    "sink of a number": (lambda: GraphAttention(8, 4, 2, normalizer=Softmax(sink=0.5)), on_edges),
    "relu by degree": (lambda: GraphAttention(8, 4, 2, normalizer=Relu(scale_by_degree=True)), on_edges),
    "top_k": (lambda: GraphAttention(8, 4, 2, normalizer=TopK(2)), on_edges),
    "dropout": (lambda: GraphAttention(8, 4, 2, dropout=0.5), on_edges),
    "rotary on a grid": (
        lambda: GraphAttention(8, 4, 2, positions=RotaryPositions()),
        lambda n: (features(3 * n), GridGraph((n, 3), 1)),
    ),
    "rotary and bias beside a cache": (
        lambda: GraphAttention((8, 3), 4, 2, positions=RotaryPositions(), edge_bias=ALiBi(2)),
        lambda n: ((features(n + 4), features(n, 3)), BandedGraph(n, 3, 0, num_keys=n + 4, offset=4)),
    ),
    "hops": (WithHops, lambda n: (features(n), CompleteGraph(n), as_graph(edges(n), n))),
    "TransformerConv": (lambda: TransformerConv(8, 4, 2, edge_dim=3, beta=True), with_features),
    "GATConv": (lambda: GATConv(8, 4, 2), on_edges),
    "GATConv with features": (lambda: GATConv(8, 4, 2, edge_dim=3), with_features),
    "GATConv, complete": (lambda: GATConv(8, 4, 2), lambda n: (features(n), CompleteGraph(n))),
    "GATv2Conv": (lambda: GATv2Conv(8, 4, 2, edge_dim=3, fill_value=0.5), with_features),
    "GPSConv": (lambda: GPSConv(8, TransformerConv(8, 8), heads=2, norm="layer_norm"), on_edges),
    "GPSConv, batch": (
        lambda: GPSConv(8, GATConv(8, 8), heads=2),
        lambda n: (features(n), edges(n), (torch.arange(n) > 2).long()),
    ),
    "EncoderLayer": (lambda: EncoderLayer(8, 2, drop_path=0.5), on_batch),
    "DecoderLayer": (
        lambda: DecoderLayer(8, 2),
        lambda n: (features(n), features(n + 1), causal(n), CompleteGraph(n, n + 1)),
    ),
    "GraphTransformer": (lambda: GraphTransformer(8, 2, 2, edge_bias=T5Bias(2)), on_batch),
    "Seq2Seq": (
        lambda: Seq2Seq(20, 20, 8, 1, 2),
        lambda n: (torch.arange(n + 1), torch.arange(n), CompleteGraph([n - 1, 2]), causal([n - 3, 3])),
    ),
    "LanguageModel": (
        lambda: LanguageModel(20, 8, 1, 2, positions=RotaryPositions()),
        lambda n: (torch.arange(n), causal([n - 3, 3])),
    ),
    "MeanReadout": (MeanReadout, lambda n: (features(n), CompleteGraph([n - 3, 3] if n % 2 else [n - 2, 1, 1]))),
    "AttentionReadout": (
        lambda: AttentionReadout(8, 2, num_queries=3),
        lambda n: (features(n), CompleteGraph([n - 3, 3] if n % 2 else [n - 2, 1, 1])),
    ),
    "ClassNode": (WithClassNode, on_batch),
    "HeteroGraphAttention": (lambda: OfTypes((TYPES, [WRITES, CITES, LISTS])), on_typed_edges),
    "HeteroGraphAttention with features": (
        lambda: OfTypes((TYPES, [WRITES, CITES, LISTS]), edge_dim={WRITES: 2, LISTS: 8}, kv_heads=1, project_out=True),
        with_typed_features,
    ),
    "HeteroGraphAttention, formulas": (
        lambda: OfTypes((TYPES, [WRITES, CITES])),
        lambda n: (of_types(n), {WRITES: CompleteGraph(n + 4, n + 1), CITES: causal(n + 4)}),
    ),
    "PerHead": (lambda: GraphAttention(8, 4, 3, edge_bias=ALiBi(3), sink=True), per_head),
    "PerHead beside a cache": (
        lambda: GraphAttention((8, 3), 4, 2, positions=RotaryPositions(), edge_bias=ALiBi(2)),
        lambda n: (
            (features(n + 4), features(n, 3)),
            PerHead([CompleteGraph(n, n + 4), BandedGraph(n, 3, 0, num_keys=n + 4, offset=4)]),
        ),
    ),
    "PerHead with features": (lambda: GraphAttention(8, 4, 3, edge_dim=2, kv_heads=1), per_head_with_features),
    "PerHead, dropout": (lambda: GraphAttention(8, 4, 3, dropout=0.5), per_head),
    "RelativeBias": (
        lambda: GraphAttention(8, 4, 2, edge_bias=RelativeBias(2, 1, axes=2)),
        lambda n: (features(3 * n), GridGraph((n, 3), 1)),
    ),
    "GraphTransformerDecoder": (
        lambda: GraphTransformerDecoder(8, 2, 2),
        lambda n: (features(n), features(n + 1), causal(n), CompleteGraph(n, n + 1)),
    ),
    "EdgeTypeBias": (lambda: EdgeTypeBias(2, 5), lambda n: (torch.randint(5, (n,)),)),
    "LinearAttention, matrix": (lambda: LinearAttention(8, 4, 2, form="matrix"), on_batch),
    "LinearAttention, chunks": (lambda: LinearAttention(8, 4, 2), on_batch),
    "LinearAttention, steps": (lambda: LinearAttention(8, 4, 2, form="steps"), on_batch),
    "LinearAttention, complete": (
        lambda: LinearAttention(8, 4, 2),
        lambda n: (features(n), CompleteGraph([n - 2, 2])),
    ),
    "LinearAttention, edge_index": (lambda: LinearAttention(8, 4, 2), on_edges),
    "Performer": (lambda: GPSConv(8, GATConv(8, 8), heads=2, attn_type="performer"), on_edges),
    "GPSConv, a key of zeros": (lambda: GPSConv(8, None, heads=2, attn_kwargs={"add_zero_attn": True}), on_edges),
    "SinusoidalPositions": (lambda: SinusoidalPositions(8), lambda n: (torch.arange(n),)),
    "LearnedPositions": (lambda: LearnedPositions(20, 8), lambda n: (torch.arange(n),)),
    "RecurrentPositions": (lambda: RecurrentPositions(8), lambda n: (torch.arange(n),)),
    "ContinuousPositions": (lambda: ContinuousPositions(8), lambda n: (torch.arange(n) / 2,)),
    "RandomSigns": (RandomSigns, on_batch),
    "SignInvariant": (lambda: SignInvariant(8, 4, eigenvalues=True), lambda n: (features(n), features(n))),
}


@pytest.mark.parametrize("name", LAYERS)
def test_one_compilation_serves_all_sizes(name):
    make, arguments_of = LAYERS[name]
    torch.manual_seed(0)
    check_compiled(make().double(), arguments_of)


def test_attend_with_everything():
    def function(query, key, value, bias, edge_features, edge_query, vector, weight, graph):
        score = Additive(vector, weight)
        options = {"edge_features": edge_features, "edge_query": edge_query, "score": score, "normalizer": "sigmoid"}
        return attend(query, key, value, graph, bias=bias, **options)

    def arguments_of(n):
        tensors = [features(n * heads * 4, 1).view(n, heads, 4) for heads in (6, 3, 3)]
        per_edge = features(3 * n, 6), features(3 * n, 2), features(n * 6, 2).view(n, 6, 2)
        return *tensors, *per_edge, features(6, 4), features(6 * 4, 2).view(6, 4, 2), edges(n)

    check_compiled(function, arguments_of)


def test_a_batch_shares_one_graph():
    def function(query, key, value, temperature, graph):
        return attend(query, key, value, graph, score=Cosine(temperature), normalizer="entmax15")

    def arguments_of(n):
        return *(features(3 * n * 2, 4).view(3, n, 2, 4) for _ in range(3)), 1 + torch.rand(2).double(), causal(n)

    check_compiled(function, arguments_of)


def test_inductor():
    """Self loops and attributes of edges whose number only the running code knows, forward and backward."""
    torch.manual_seed(0)
    make, arguments_of = LAYERS["GATv2Conv"]
    check_compiled(make().double(), arguments_of, backend="inductor", sizes=SIZES[:3])


def test_half_precision():
    def arguments_of(n):
        return *(torch.randn(n, 2, 4, dtype=torch.bfloat16) for _ in range(3)), causal(n)

    check_compiled(attend, arguments_of, rtol=2e-2, atol=2e-2)


def test_dropout_differs_from_call_to_call():
    layer = torch.compile(GraphAttention(8, 4, dropout=0.5), fullgraph=True, dynamic=True, backend="aot_eager")
    x, graph = torch.randn(9, 8), CompleteGraph(9)
    first, second = layer(x, graph), layer(x, graph)
    assert not torch.equal(first, second)


def arguments_of_operator():
    """Two query heads for one key head, with every optional tensor; and the graph of repeated edges."""
    torch.manual_seed(0)
    query, key, value = (features(5 * heads, 3).view(5, heads, 3) for heads in (2, 1, 1))
    bias, edge_features, edge_query = features(15, 2), features(15, 2), features(5 * 2, 2).view(5, 2, 2)
    tensors = [x.requires_grad_() for x in (query, key, value, bias, edge_features, edge_query)]
    graph, seed = as_graph(edges(5), 5), torch.tensor(7)
    return (
        *tensors,
        [],
        features(2, 1)[:, 0].requires_grad_(),
        ticket_of(graph),
        "dot",
        "softmax",
        0.7,
        0.3,
        seed,
        None,
    )


def test_operators_are_what_torch_expects():
    tests = "test_schema", "test_faketensor", "test_autograd_registration"
    torch.library.opcheck(torch.ops.graphattn.attend.default, arguments_of_operator(), test_utils=tests)


def test_results_share_no_memory():
    given = features(3)
    result = features(4)
    found = fresh([given, result, result[1:], result.t()], [given, None])
    assert len({x.untyped_storage().data_ptr() for x in (given, *found)}) == 5
    assert all(x.is_contiguous() for x in found)
    assert torch.equal(found[0], given) and torch.equal(found[3], result.t())


def test_a_graph_lives_until_the_backward_pass():
    compiled = torch.compile(attend, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (6, 5):
        x = features(size).view(size, 1, 8).requires_grad_()
        out = compiled(x, x, x, causal(size))  # nobody else has the graph
        gc.collect()
        (found,) = torch.autograd.grad(out.square().sum(), x)
        (expected,) = torch.autograd.grad(attend(x, x, x, causal(size)).square().sum(), x)
        torch.testing.assert_close(found, expected)


def test_a_memory_budget_holds_when_the_code_runs():
    x = features(200).view(200, 1, 8).requires_grad_()
    compiled = torch.compile(attend, fullgraph=True, dynamic=True, backend="eager")
    graph = edges(200)
    with memory_budget(2**12):
        found = run(lambda x: compiled(x, x, x, graph), [x], [])
    for one, other in zip(found, run(lambda x: attend(x, x, x, graph), [x], []), strict=True):
        torch.testing.assert_close(one, other)


def test_checks_happen_when_the_code_runs():
    compiled = torch.compile(attend, fullgraph=True, dynamic=True, backend="eager")
    x = torch.randn(5, 1, 4)
    with pytest.raises(ValueError, match="there are 5 queries"):
        compiled(x, x, x, torch.tensor([[0, 1], [1, 5]]))
    with pytest.raises(ValueError, match="joins 6 queries"):
        compiled(x, x, x, causal(6))
    with pytest.raises(ValueError, match=r"'bias' must be \[num_edges\].*got \[3, 1\]"):
        compiled(x, x, x, causal(5), bias=torch.randn(3))


def check_broken(function, message, *arguments):
    """Compiled whole it is refused with this message; in parts it runs."""
    with pytest.raises(torch._dynamo.exc.Unsupported, match=message):
        torch.compile(function, fullgraph=True, backend="eager")(*arguments)
    torch.testing.assert_close(torch.compile(function, backend="eager")(*arguments), function(*arguments))


def test_a_graph_made_inside_breaks_the_graph():
    layer = GraphAttention(8, 4)
    check_broken(lambda x: layer(x, causal(len(x))) + 1, "make a graph before", torch.randn(3, 8))


def test_another_form_of_graph_breaks_the_graph():
    layer = GraphAttention(8, 4)
    check_broken(layer, r"make a Graph of it before, by as_graph\(x\)", torch.randn(4, 8), networkx.path_graph(4))


def test_what_goes_example_by_example_breaks_the_graph():
    layer = GPSConv(8, None, 2, attn_kwargs={"add_bias_kv": True}).eval()
    arguments = torch.randn(4, 8), torch.ones(4, 4, dtype=torch.bool).tril(), torch.tensor([0, 0, 1, 1])
    check_broken(layer, "goes example by example", *arguments)


def write_by_numpy(x, new):
    numpy.from_dlpack(x)[...] = numpy.from_dlpack(new)


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
@pytest.mark.parametrize("form", ["edge_index", "mask"])
def test_memory_that_is_written_between_the_passes(backend, form):
    """Torch does not know of it; the backward pass is that of the graph of the forward pass."""

    def layer(x, graph):
        out = attend(x, x, x, graph, score=Additive(x[0] + 1))
        return out, attention_weights(x, x, as_graph(graph, x.size(0)))

    def given(seed):
        torch.manual_seed(seed)
        index = edges(7)
        return index if form == "edge_index" else as_graph(index, 7).mask()

    compiled = torch.compile(layer, backend=backend, dynamic=True)
    memory = given(0)
    x = torch.randn(7, 2, 4, dtype=torch.float64, requires_grad=True)
    for seed in (1, 2):
        write_by_numpy(memory, given(seed))
        expected, got = layer(x, given(seed)), compiled(x, memory)
        for one, other in zip(got, expected):
            torch.testing.assert_close(one, other)
        loss = [sum(out.square().sum() for out in results) for results in (got, expected)]
        write_by_numpy(memory, given(3) if form == "mask" else torch.full_like(memory, 10**6))
        torch.testing.assert_close(*(torch.autograd.grad(one, x)[0] for one in loss))
