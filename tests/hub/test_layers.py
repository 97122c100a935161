"""Every layer, score, position and bias goes into a folder and comes back bit for bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_geometric.nn as pyg

pytest.importorskip("huggingface_hub", reason="needs graphattn[hub]")
pytest.importorskip("safetensors", reason="needs graphattn[hub]")

from graphattn import BandedGraph, CompleteGraph, accelerate, causal
from graphattn.hub import from_pretrained, push_to_hub, save_pretrained
from graphattn.hub.names import FORMULAS, MODULES
from graphattn.nn import (
    ALiBi,
    AttentionReadout,
    ClassNode,
    ContinuousPositions,
    Cosine,
    DecoderLayer,
    Dot,
    Dropout,
    EdgeTypeBias,
    EncoderLayer,
    Entmax15,
    FeedForward,
    GATConv,
    GATv2Conv,
    Gaussian,
    GPSConv,
    GraphAttention,
    GraphTransformer,
    GraphTransformerDecoder,
    HeteroGraphAttention,
    HopBias,
    Identity,
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
    Sigmoid,
    SignInvariant,
    SinusoidalPositions,
    Softmax,
    Sparsemax,
    SquaredRelu,
    T5Bias,
    TalkingHeads,
    TokenEmbedding,
    TopK,
    TransformerConv,
)

X, EDGES = torch.randn(6, 8), torch.tensor([[0, 1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 5, 0, 3]])
TOKENS, POS = torch.tensor([3, 1, 2, 0]), torch.arange(6)
NORMALIZERS = [
    Softmax(sink=0.5),
    Relu(scale_by_degree=True),
    SquaredRelu(),
    Sigmoid(scale_by_degree=True),
    Identity(),
    Sparsemax(),
    Entmax15(),
    TopK(2),
]
BIASES = [ALiBi(2), RelativeBias(2, 3), T5Bias(2, num_buckets=8, max_distance=20, bidirectional=False)]
shared = RecurrentPositions(8)
CASES = {
    **{
        repr(normalizer): (lambda normalizer=normalizer: GraphAttention(8, 4, 2, normalizer=normalizer), (X, EDGES))
        for normalizer in NORMALIZERS
    },
    **{repr(bias): (lambda bias=bias: GraphAttention(8, 4, 2, edge_bias=bias), (X, EDGES)) for bias in BIASES},
    **{
        score: (lambda score=score: GraphAttention(8, 4, 2, score=score), (X, EDGES))
        for score in ("additive", "gatv2", "cosine", "bilinear", "gaussian")
    },
    **{
        repr(score): (lambda score=score: GraphAttention(8, 4, 2, score=score), (X, EDGES))
        for score in (Dot(), Cosine(2.0), Gaussian(3.0))
    },
    "every option": (
        lambda: GraphAttention(
            (8, 8),
            4,
            np.int64(2),
            False,
            kv_heads=1,
            sink=True,
            gate=True,
            edge_dim=3,
            dropout=0.1,
            scale=0.3,
            bias=False,
            update_edges=True,
            project_out=True,
            positions=RotaryPositions(50.0),
            edge_bias=ALiBi(2),
        ),
        (X, EDGES, torch.randn(7, 3)),
    ),
    "talking heads": (lambda: GraphAttention(8, 4, 2, talking_heads=True), (X, EDGES)),
    "TalkingHeads": (lambda: TalkingHeads(2), ()),
    "shared weights": (lambda: GraphAttention(8, 4, 2, share_weights=True), (X, EDGES)),
    "TransformerConv": (lambda: TransformerConv(8, 4, 2, beta=True), (X, EDGES)),
    "GATConv": (lambda: GATConv(8, 4, heads=2, negative_slope=0.1, residual=True), (X, EDGES)),
    "GATv2Conv": (lambda: GATv2Conv(8, 4, heads=2, share_weights=True, add_self_loops=False), (X, EDGES)),
    "GPSConv": (
        lambda: GPSConv(8, GATConv(8, 8), heads=2, act="gelu", norm="layer_norm", attn_kwargs={"dropout": 0.1}),
        (X, EDGES),
    ),
    "Performer": (lambda: GPSConv(8, None, heads=2, attn_type="performer"), (X, EDGES)),
    "LinearAttention": (
        lambda: LinearAttention(8, 4, 2, feature_map=torch.nn.functional.softplus, form="matrix"),
        (X, EDGES),
    ),
    "HeteroGraphAttention": (
        lambda: HeteroGraphAttention({"a": 8}, 4, (["a"], [("a", "to", "a")]), 2, edge_dim={("a", "to", "a"): 3}),
        ({"a": X}, {("a", "to", "a"): EDGES}, {("a", "to", "a"): torch.randn(7, 3)}),
    ),
    "EncoderLayer": (
        lambda: EncoderLayer(8, 2, 16, activation="swiglu", norm_first=True, normalizer=TopK(3)),
        (X, EDGES),
    ),
    "DecoderLayer": (lambda: DecoderLayer(8, 2, memory_channels=4), (X, torch.randn(3, 4), EDGES, CompleteGraph(6, 3))),
    "GraphTransformer": (
        lambda: GraphTransformer(8, 2, 2, edge_bias=RelativeBias(2, 3), drop_path=0.2, norm_first=True, score="cosine"),
        (X, EDGES),
    ),
    "GraphTransformerDecoder": (
        lambda: GraphTransformerDecoder(8, 2, 2, positions=RotaryPositions(99.0)),
        (X, X, causal(6), CompleteGraph(6)),
    ),
    "LanguageModel": (
        lambda: LanguageModel(9, 8, 2, 2, tie_weights=True, encoding=LearnedPositions(12, 8)),
        (TOKENS, causal(4)),
    ),
    "Seq2Seq": (
        lambda: Seq2Seq(9, 9, 8, (1, 2), 2, encoding=shared),
        (TOKENS, TOKENS, CompleteGraph(4), causal(4)),
    ),
    "TokenEmbedding": (
        lambda: TokenEmbedding(9, 8, encoding=ContinuousPositions(8, 5, step=0.5)),
        (TOKENS, torch.arange(4)),
    ),
    "LearnedPositions": (lambda: LearnedPositions((6, 3), 8), (torch.stack([POS, POS % 3], 1),)),
    "SinusoidalPositions": (lambda: SinusoidalPositions(8, 99.0), (POS,)),
    "SignInvariant": (lambda: SignInvariant(8, 4, 3), (X,)),
    "RandomSigns": (RandomSigns, (X, CompleteGraph(6))),
    "EdgeTypeBias": (lambda: EdgeTypeBias(2, 6), (POS,)),
    "HopBias": (lambda: HopBias(2, 6), (POS,)),
    "AttentionReadout": (lambda: AttentionReadout(8, 2, 3, kv_heads=1), (X, CompleteGraph([2, 4]))),
    "MeanReadout": (MeanReadout, (X, CompleteGraph([2, 4]))),
    "ClassNode": (lambda: ClassNode(8), (X, CompleteGraph(6))),
    "Residual": (lambda: Residual(8, norm_first=True, eps=0.1), (X, torch.tanh, CompleteGraph(6))),
    "Dropout": (lambda: Dropout(0.25), (X,)),
    "FeedForward": (lambda: FeedForward(8, 5, "swiglu", bias=False), (X,)),
}


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return all(map(equal, one, other)) if isinstance(one, (tuple, list)) else one == other


def round_trip(model, folder):
    save_pretrained(model, folder)
    return from_pretrained(folder)


@pytest.mark.parametrize("name", CASES)
def test_round_trip(name, tmp_path):
    make, arguments = CASES[name]
    model = make().eval()
    for parameter in model.parameters():  # zeros and ones of the start tell nothing
        torch.nn.init.normal_(parameter)
    again = round_trip(model, tmp_path)
    assert type(again) is type(model) and repr(again) == repr(model) and not again.training
    assert equal(dict(again.state_dict()), dict(model.state_dict()))
    assert sum(map(torch.numel, again.parameters())) == sum(map(torch.numel, model.parameters()))  # what was one is one
    if arguments:
        assert equal(again(*arguments), model(*arguments))


def kinds_in(model):
    return {type(module) for module in model.modules()}


def test_no_class_is_left_out():
    found = set().union(*(kinds_in(make()) for make, _ in CASES.values()))
    assert found >= set(MODULES.values())
    objects = {type(one) for one in (*NORMALIZERS, Dot(), Cosine(2.0), Gaussian(3.0))}
    assert objects == set(FORMULAS.values())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype, tmp_path):
    model = GraphAttention(8, 4, 2, edge_bias=ALiBi(2)).to(dtype).eval()
    again = round_trip(model, tmp_path)
    assert again.edge_bias.slopes.dtype == model.edge_bias.slopes.dtype
    assert torch.equal(again(X.to(dtype), EDGES), model(X.to(dtype), EDGES))


def test_mixed_dtypes(tmp_path):
    model = EncoderLayer(8, 2)
    model.feed_forward.double()
    again = round_trip(model, tmp_path)
    assert [x.dtype for x in again.parameters()] == [x.dtype for x in model.parameters()]


def test_a_lazy_layer_after_its_first_call(tmp_path):
    model = TransformerConv(-1, 4)
    with pytest.raises(ValueError, match="has no size before the first call"):
        save_pretrained(model, tmp_path)
    model(X, EDGES)
    again = round_trip(model.eval(), tmp_path)
    assert torch.equal(again(X, EDGES), model(X, EDGES))


def test_what_a_language_model_was_trained_on(tmp_path):
    model = LanguageModel(9, 8, 2, 2)
    model.train()(torch.randint(9, (30,)), BandedGraph(30, 3, 0))
    again = round_trip(model, tmp_path)
    assert again.trained_on.rules == model.trained_on.rules != ()


def test_one_module_given_twice(tmp_path):
    again = round_trip(CASES["Seq2Seq"][0](), tmp_path)
    assert again.source_embedding.encoding is again.embedding.encoding


def test_models_of_torch(tmp_path):
    peer = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, layer_norm_eps=0.1, batch_first=True), 2
    )
    model = GraphTransformer.from_torch(peer).eval()
    again = round_trip(model, tmp_path)
    assert torch.equal(again(X, EDGES), model(X, EDGES)) and again.layers[0].attention.dropout == 0.2


def test_saving_draws_no_random_numbers(tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    layer = GraphAttention(8, 4)
    state = torch.get_rng_state()
    save_pretrained(layer, tmp_path)
    assert torch.equal(torch.get_rng_state(), state) and expected.shape == (1,)


REFUSED = {
    "a function": (lambda: GraphAttention(8, 4, score=lambda q, k: (q * k).sum(-1)), "model.score.*cannot be kept"),
    "a normalizer's function": (lambda: GraphAttention(8, 4, normalizer=lambda x: x.softmax(-1)), "cannot be kept"),
    "a tensor": (lambda: GraphAttention(8, 4, normalizer=Softmax(torch.zeros(1))), "model.normalizer.sink.*a tensor"),
    "a layer of PyG": (lambda: GPSConv(8, pyg.GCNConv(8, 8)), "GCNConv, which no config"),
    "a layer of torch": (lambda: torch.nn.Linear(2, 3), "Linear, which no configuration can name.*HubMixin"),
    "a subclass": (lambda: type("Own", (GraphAttention,), {})(8, 4), "Own, which no configuration can name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused(name, tmp_path):
    make, message = REFUSED[name]
    with pytest.raises(TypeError, match=message):
        save_pretrained(make(), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_accelerated_layers_do_not_know_what_they_were_made_with(tmp_path):
    model = pyg.GATConv(8, 4)
    accelerate(model)
    with pytest.raises(TypeError, match="does not know what it was made with"):
        save_pretrained(model, tmp_path)


def change_dropout(model):
    model.layers[0].attention.dropout = 0.7


def change_module(model):
    model.layers[1].feed_forward = torch.nn.Identity()


def change_positions(model):
    model.layers[1].attention.positions = RotaryPositions(7.0)


def change_normalizer(model):
    model.layers[1].attention.normalizer = TopK(3)


@pytest.mark.parametrize(
    "change, message",
    [
        (change_dropout, r"layers.0.attention.dropout is 0.7, not 0.0"),
        (change_module, r": model.layers.1.feed_forward is Identity, not FeedForward\. Make"),
        (change_positions, "layers.1.attention.positions is RotaryPositions, not no module"),
        (change_normalizer, "layers.1.attention.normalizer is TopK"),
    ],
)
def test_options_that_were_changed_later_are_refused(change, message, tmp_path):
    model = GraphTransformer(8, 2, 2)
    change(model)
    with pytest.raises(ValueError, match=message):
        save_pretrained(model, tmp_path)


def test_files_name_no_classes_but_ours(tmp_path):
    save_pretrained(GraphAttention(8, 4), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["graphattn"]["arguments"]["model"]["class"] = "subprocess.Popen"
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not fit this version of graphattn: KeyError"):
        from_pretrained(tmp_path)


def test_folders_of_others_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    with pytest.raises(ValueError, match="was not saved by graphattn"):
        from_pretrained(tmp_path)


def test_pushing_uploads_the_folder(monkeypatch):
    import huggingface_hub.hub_mixin as mixin

    seen = {}

    class Hub:
        def __init__(self, **_):
            pass

        def create_repo(self, repo_id, **_):
            return type("Repository", (), {"repo_id": repo_id})()

        def upload_folder(self, repo_id, folder_path, **_):
            seen[repo_id] = sorted(path.name for path in folder_path.iterdir())
            return "done"

    monkeypatch.setattr(mixin, "HfApi", Hub)
    assert push_to_hub(GraphAttention(8, 4), "me/model") == "done"
    assert seen == {"me/model": ["README.md", "config.json", "model.safetensors"]}


def test_a_file_is_not_looked_for_on_the_hub(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="files of recipes are read by graphattn.recipes.load"):
        from_pretrained(tmp_path / "model.pt")


def test_a_path_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path / "nothing", str(tmp_path / "nothing"), "./nothing", "runs/one/nothing", Path("nothing")):
        with pytest.raises(
            FileNotFoundError, match="there is no folder .*; a repository of the Hub is named like 'name/model'"
        ):
            from_pretrained(name)
    save_pretrained(GraphAttention(8, 4), tmp_path / "model")
    assert isinstance(from_pretrained("./model"), GraphAttention)
