"""What torch.export makes of layers: torch's own operations, for ONNX, AOTInductor and machines without graphattn."""

import io
from inspect import isabstract

import pytest
import torch
import torch_geometric.nn as pyg
from torch.export import Dim

from graphattn import PerHead, accelerate, as_graph, causal, nn
from graphattn.nn import (
    ALiBi,
    AttentionReadout,
    ClassNode,
    ContinuousPositions,
    DecoderLayer,
    Dropout,
    EdgeTypeBias,
    EncoderLayer,
    FeedForward,
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
    Relu,
    Residual,
    RotaryPositions,
    Seq2Seq,
    SignInvariant,
    SinusoidalPositions,
    T5Bias,
    TokenEmbedding,
    TopK,
    TransformerConv,
)

SIZES = (5, 8, 13)  # the first is the one that is exported


def features(num_rows, channels=8):
    return torch.randn(num_rows, channels)


def edges(n):
    return torch.randint(n, (2, 3 * n))


def on_edges(n):
    return features(n), edges(n)


def with_attributes(n):
    return features(n), edges(n), features(3 * n, 3)


def masked(n):
    mask = torch.rand(n, n) < 0.5
    mask[1] = False  # a query that sees nothing
    return features(n), mask


class Call(torch.nn.Module):
    """Some modules, and what is done with them."""

    def __init__(self, forward, *modules):
        super().__init__()
        self.modules_used, self.function = torch.nn.ModuleList(modules), forward

    def forward(self, *arguments):
        return self.function(*self.modules_used, *arguments)


def class_node():
    def forward(node, layer, x, edge_index):
        x, graph = node(x, edge_index)
        return node.read(layer(x, graph), graph)

    return Call(forward, ClassNode(8), EncoderLayer(8, 2))


def hop_bias():
    def forward(bias, layer, x, edge_index):
        graph = as_graph(edge_index, x.size(0))
        return layer(x, graph, edge_bias=bias.along(graph))

    return Call(forward, HopBias(2, 3), GraphAttention(8, 4, 2))


def two_relations():
    def forward(layer, x, edge_index):
        edges = {("a", "to", "b"): edge_index, ("b", "to", "b"): edge_index.flip(0)}
        return layer({"a": x, "b": x + 1}, edges)["b"]

    return Call(forward, HeteroGraphAttention(8, 4, (["a", "b"], [("a", "to", "b"), ("b", "to", "b")]), heads=2))


def weights_too():
    def forward(layer, x, edge_index):
        return torch.cat(layer(x, edge_index, return_attention_weights=True)[1][1:])

    return Call(forward, GraphAttention(8, 4, 2))


def per_head():
    return Call(
        lambda layer, x, edge_index: layer(x, PerHead([edge_index, edge_index.flip(0)], x.size(0))),
        GraphAttention(8, 4, 2),
    )


def accelerated():
    model = torch.nn.ModuleList([pyg.GATv2Conv(8, 4, heads=2, edge_dim=3, residual=True)])
    accelerate(model)
    return Call(lambda layer, x, edge_index, attributes: layer(x, edge_index, attributes), model[0])


def decoder():
    return Call(lambda layer, x, mask: layer(x, x + 1, mask, mask), DecoderLayer(8, 2, 16))


def bipartite():
    return Call(
        lambda layer, x, edge_index: layer((x, x[:, :4] * 2), edge_index), GATConv((8, 4), 4, add_self_loops=False)
    )


def graph_decoder():
    return Call(
        lambda model, x, mask: model(x, x + 1, mask, mask),
        GraphTransformerDecoder(8, 1, 2, positions=RotaryPositions(99.0)),
    )


def positions_added(encoding):
    """Of the places of the nodes, and of two coordinates where there are two axes."""

    def forward(positions, layer, x, edge_index):
        place = torch.arange(x.size(0), device=x.device)
        pos = torch.stack([place % 4, place % 3], 1) if isinstance(positions, LearnedPositions) else place
        return layer(x + positions(pos), edge_index)

    return lambda: Call(forward, encoding(), GraphAttention(8, 4, 2))


def without_edges(module):
    return lambda: Call(lambda module, x, edge_index: module(x), module())


def signs():
    return Call(lambda signs, x, edge_index: signs(x, as_graph(edge_index, x.size(0))), RandomSigns())


def residual():
    return Call(lambda block, x, edge_index: block(x, torch.tanh, as_graph(edge_index, x.size(0))), Residual(8))


def seq2seq():
    everywhere = torch.ones_like
    return Call(
        lambda model, tokens, mask: model(tokens, tokens, everywhere(mask), mask), Seq2Seq(20, 20, 8, 2, heads=2)
    )


def tokens_and_triangle(n):
    return torch.randint(20, (n,)), torch.ones(n, n, dtype=torch.bool).tril()


CASES = {
    "GraphAttention": (lambda: GraphAttention(8, 4, 2, edge_dim=3, dropout=0.4), with_attributes),
    "gate, kv_heads, project_out": (
        lambda: GraphAttention(8, 4, 4, kv_heads=2, gate=True, project_out=True, concat=False),
        on_edges,
    ),
    "sink": (lambda: GraphAttention(8, 4, 2, sink=True), on_edges),
    "talking heads": (lambda: GraphAttention(8, 4, 2, talking_heads=True), on_edges),
    "a kernel": (lambda: GraphAttention(8, 4, 2, kernel="edges"), on_edges),
    "weights": (weights_too, on_edges),
    "per head": (per_head, on_edges),
    **{
        f"{score} score": (lambda score=score: GraphAttention(8, 4, 2, score=score, edge_dim=3), with_attributes)
        for score in ("additive", "gatv2", "cosine", "gaussian", "bilinear")
    },
    "a function as score": (lambda: GraphAttention(8, 4, 2, score=lambda q, k: (q - k).abs().sum(-1)), on_edges),
    **{
        str(normalizer): (lambda normalizer=normalizer: GraphAttention(8, 4, 2, normalizer=normalizer), on_edges)
        for normalizer in ("relu", "squared_relu", "sigmoid", "identity", "sparsemax", "entmax15")
    },
    "top k": (lambda: GraphAttention(8, 4, 2, normalizer=TopK(2)), on_edges),
    "by degree": (lambda: GraphAttention(8, 4, 2, normalizer=Relu(scale_by_degree=True)), on_edges),
    "TransformerConv": (lambda: TransformerConv(8, 4, 2, edge_dim=3, beta=True), with_attributes),
    "GATConv": (lambda: GATConv(8, 4, 2), on_edges),
    "GATConv between two sets": (bipartite, on_edges),
    "GATv2Conv": (lambda: GATv2Conv(8, 4, 2, edge_dim=3), with_attributes),
    "accelerated": (accelerated, with_attributes),
    "GPSConv": (lambda: GPSConv(8, TransformerConv(8, 8), heads=2), on_edges),
    "GPSConv of a batch": (
        lambda: GPSConv(8, TransformerConv(8, 8), heads=2),
        lambda n: (*on_edges(n), torch.arange(n) // 3),
    ),
    "Performer": (lambda: GPSConv(8, GATConv(8, 8), heads=2, attn_type="performer"), on_edges),
    "LinearAttention": (lambda: LinearAttention(8, 4, 2), on_edges),
    "ALiBi": (lambda: EncoderLayer(8, 2, edge_bias=ALiBi(2)), on_edges),
    "relative bias of a mask": (lambda: GraphAttention(8, 4, 2, edge_bias=RelativeBias(2, 3)), masked),
    "GraphTransformer": (lambda: GraphTransformer(8, 2, 2, positions=RotaryPositions()), on_edges),
    "mask": (lambda: GraphAttention(8, 4, 2, kv_heads=1), masked),
    "mask and sink": (lambda: GraphAttention(8, 4, 2, sink=True), masked),
    "mask and relu": (lambda: GraphAttention(8, 4, 2, normalizer=Relu(scale_by_degree=True)), masked),
    "mask and sparsemax": (lambda: GraphAttention(8, 4, 2, normalizer="sparsemax"), masked),
    "GraphTransformer of a mask": (lambda: GraphTransformer(8, 2, 2, norm_first=True), masked),
    "DecoderLayer": (decoder, masked),
    "AttentionReadout": (lambda: AttentionReadout(8, 2, 3), on_edges),
    "MeanReadout": (MeanReadout, on_edges),
    "ClassNode": (class_node, on_edges),
    "HopBias": (hop_bias, on_edges),
    "EdgeTypeBias": (
        lambda: Call(
            lambda b, layer, x, e: layer(x, e, edge_bias=b(e[0] % 3)), EdgeTypeBias(2, 3), GraphAttention(8, 4, 2)
        ),
        on_edges,
    ),
    "HeteroGraphAttention": (two_relations, on_edges),
    "GraphTransformerDecoder": (graph_decoder, masked),
    "T5Bias": (lambda: EncoderLayer(8, 2, edge_bias=T5Bias(2, num_buckets=8, max_distance=20)), on_edges),
    "LearnedPositions": (positions_added(lambda: LearnedPositions((4, 3), 8)), on_edges),
    "SinusoidalPositions": (positions_added(lambda: SinusoidalPositions(8, 99.0)), on_edges),
    "SignInvariant": (without_edges(lambda: SignInvariant(8, 4, 3)), on_edges),
    "RandomSigns": (signs, on_edges),
    "Residual": (residual, on_edges),
    "Dropout": (without_edges(lambda: Dropout(0.5)), on_edges),
    "FeedForward": (without_edges(lambda: FeedForward(8, 5, "swiglu")), on_edges),
    "LanguageModel": (lambda: LanguageModel(20, 8, 2, 2), tokens_and_triangle),
    "Seq2Seq": (seq2seq, tokens_and_triangle),
}


def case_of(name):
    make, arguments_of = CASES[name]
    torch.manual_seed(0)
    return make().eval(), arguments_of


def open_sizes(arguments):
    """Numbers of nodes and of edges are left open."""
    num_nodes, num_edges = Dim("num_nodes", min=2), Dim("num_edges", min=3)
    is_mask = arguments[1].dtype == torch.bool
    of_batch = len(arguments) > 2 and not arguments[2].is_floating_point()
    sizes = {0: num_nodes}, {0: num_nodes, 1: num_nodes} if is_mask else {1: num_edges}
    return (*sizes, {0: num_nodes if of_batch else num_edges})[: len(arguments)]


def exported(layer, arguments):
    return torch.export.export(layer, arguments, dynamic_shapes=sizes_of_call(layer, arguments))


def sizes_of_call(layer, arguments):
    sizes = open_sizes(arguments)
    return (sizes,) if isinstance(layer, Call) else sizes  # `Call` takes them as *arguments


def assert_same(run, layer, arguments_of):
    for size in SIZES:
        arguments = arguments_of(size)
        torch.testing.assert_close(run(*arguments), layer(*arguments).detach(), atol=1e-5, rtol=1e-5)


def test_no_class_is_left_out():
    """Positions that are counted one by one stay operators: the page on data and models says so."""
    public = [getattr(nn, name) for name in nn.__all__]
    modules = {kind for kind in public if isinstance(kind, type) and issubclass(kind, torch.nn.Module)}
    found = {type(module) for make, _ in CASES.values() for module in make().modules()}
    assert {kind for kind in modules - found if not isabstract(kind)} == {RecurrentPositions, ContinuousPositions}


@pytest.mark.parametrize("name", CASES)
def test_programs_hold_nothing_of_graphattn(name):
    layer, arguments_of = case_of(name)
    program = exported(layer, arguments_of(SIZES[0]))
    assert [node for node in program.graph.nodes if "graphattn" in str(node.target)] == []
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    assert_same(torch.export.load(file).module(), layer, arguments_of)


@pytest.mark.parametrize("name", CASES)
def test_onnx(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX needs graphattn[export]")
    pytest.importorskip("onnxscript", reason="ONNX needs graphattn[export]")
    layer, arguments_of = case_of(name)
    arguments = arguments_of(SIZES[0])
    file = tmp_path / "layer.onnx"
    torch.onnx.export(
        layer, arguments, file, dynamo=True, dynamic_shapes=sizes_of_call(layer, arguments), verbose=False
    )
    session = onnxruntime.InferenceSession(file)
    names = [one.name for one in session.get_inputs()]

    def run(*arguments):
        return torch.from_numpy(session.run(None, {key: x.numpy() for key, x in zip(names, arguments, strict=True)})[0])

    assert_same(run, layer, arguments_of)


@pytest.mark.parametrize(
    "name", ["GraphAttention", "GATv2Conv", "GPSConv of a batch", "top k", "mask and sparsemax", "ClassNode"]
)
def test_aot_inductor(name, tmp_path):
    layer, arguments_of = case_of(name)
    program = exported(layer, arguments_of(SIZES[0]))
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "layer.pt2"))
    assert_same(torch._inductor.aoti_load_package(package), layer, arguments_of)


@pytest.mark.parametrize("normalizer", ["softmax", "relu"])
def test_what_a_mask_hides_does_not_show(normalizer):
    layer = GraphAttention(8, 4, 2, normalizer=normalizer).eval()
    program = exported(layer, masked(5)).module()
    x, mask = masked(6)
    x[3], mask[:, 3] = torch.nan, False
    mask[4, 3] = True
    found = program(x, mask)
    seen = mask.float() @ x.isnan().any(1).float() > 0
    seen |= x.isnan().any(1) & mask.any(1)  # whose own query is NaN
    torch.testing.assert_close(found[~seen], layer(x, mask)[~seen].detach())
    assert found[4].isnan().all() and not found[~seen].isnan().any()


def test_a_program_trains():
    layer = GraphAttention(8, 4, 2, edge_dim=3)
    module = exported(layer, with_attributes(5)).module()
    x, edge_index, attributes = with_attributes(9)
    cotangent = torch.randn(9, 8)
    found = torch.autograd.grad(module(x, edge_index, attributes), list(module.parameters()), cotangent)
    wanted = torch.autograd.grad(layer(x, edge_index, attributes), list(layer.parameters()), cotangent)
    torch.testing.assert_close(found, wanted)


def test_dropout_of_a_program_in_training():
    torch.manual_seed(0)
    module = exported(GraphAttention(8, 8, 1, dropout=0.5), on_edges(5)).module()
    arguments = features(40), torch.arange(40).expand(2, -1)  # each node sees itself
    out = module(*arguments)
    dropped = (out == 0).all(1)
    assert 5 < dropped.sum() < 35 and not torch.equal(out, module(*arguments))


def test_next_tokens_stay_hidden_in_programs():
    layer = LanguageModel(20, 8, 2, 2).eval()
    program = exported(layer, tokens_and_triangle(5)).module()
    with pytest.raises(RuntimeError, match="must not show them what comes next"):
        program(torch.randint(20, (4,)), torch.ones(4, 4, dtype=torch.bool))


def test_positions_that_are_counted_stay_an_operator():
    layer = TokenEmbedding(20, 8, encoding=RecurrentPositions(8))
    program = torch.export.export(layer, (torch.tensor([3, 5]), torch.tensor([0, 1])))
    assert any("graphattn.replay" in str(node.target) for node in program.graph.nodes)


@pytest.mark.parametrize("graph", [causal(5), [causal(2), causal(3)]], ids=["a graph", "a list"])
def test_graphs_are_refused(graph):
    layer = Call(lambda layer, x: layer(x, graph), GraphAttention(8, 4))
    with pytest.raises(ValueError, match=r"export with an edge_index or a bool mask, as graph.edge_index\(\)"):
        torch.export.export(layer, (features(5),), strict=False)


def test_compiled_code_keeps_the_kernels():
    """The operators come back once an export has ended."""
    layer = GraphAttention(8, 4, 2)
    exported(layer, on_edges(5))
    targets = []

    def backend(module, _):
        targets.extend(str(node.target) for node in module.graph.nodes)
        return module

    torch.compile(layer, backend=backend, fullgraph=True)(*on_edges(5))
    assert any("graphattn.attend" in target for target in targets)
