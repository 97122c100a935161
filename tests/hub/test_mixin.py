"""Models of one's own: what their constructors are given, and what they build of it."""

import copy
import pickle

import pytest
import torch
import torch_geometric.nn as pyg

pytest.importorskip("huggingface_hub", reason="needs graphattn[hub]")
pytest.importorskip("safetensors", reason="needs graphattn[hub]")

from graphattn import accelerate
from graphattn.hub import HubMixin
from graphattn.nn import ALiBi, GraphTransformer, LearnedPositions, RotaryPositions, TopK

X, EDGES = torch.randn(6, 8), torch.tensor([[0, 1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 5, 0, 3]])


class Own(HubMixin, torch.nn.Module):
    def __init__(self, channels, heads=2, *, positions=None, config=(1, 2), **options):
        super().__init__()
        self.encoder = GraphTransformer(channels, 2, heads, positions=positions, **options)
        self.local = pyg.GATConv(channels, channels)
        self.config, self.calls = config, 0

    def forward(self, x, edge_index):
        self.calls += 1
        return self.encoder(x, edge_index) + self.local(x, edge_index)


def own(**options):
    return Own(8, positions=RotaryPositions(50.0), edge_bias=ALiBi(2), normalizer=TopK(3), **options).eval()


def test_options_and_weights_come_back(tmp_path):
    model = own(config={"a": (1, [2])})
    expected = model(X, EDGES)
    model.save_pretrained(tmp_path)
    again = Own.from_pretrained(tmp_path)
    assert torch.equal(again(X, EDGES), expected)
    assert again.config == {"a": (1, [2])} and again.encoder.layers[1].attention.positions.max_period == 50.0


def test_arguments_without_names_and_defaults(tmp_path):
    Own(8, 4).save_pretrained(tmp_path)
    again = Own.from_pretrained(str(tmp_path))
    assert again.encoder.heads == 4 and again.config == (1, 2)


def test_an_argument_in_place_of_a_kept_one(tmp_path):
    own().save_pretrained(tmp_path)
    again = Own.from_pretrained(tmp_path, dropout=0.25, config=7)
    assert again.encoder.layers[0].attention_residual.dropout == 0.25 and again.config == 7


def test_weights_of_another_size_are_refused(tmp_path):
    own().save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="size mismatch"):
        Own.from_pretrained(tmp_path, feedforward_channels=9)


def test_what_was_loaded_can_be_saved_again(tmp_path):
    model = own()
    model.save_pretrained(tmp_path / "one")
    Own.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
    one, two = (tmp_path / folder / "config.json" for folder in ("one", "two"))
    assert one.read_text() == two.read_text()
    assert torch.equal(Own.from_pretrained(tmp_path / "two")(X, EDGES), model(X, EDGES))


def test_models_that_are_accelerated(tmp_path):
    model = own()
    expected = model(X, EDGES)
    accelerate(model)
    model.save_pretrained(tmp_path)
    again = Own.from_pretrained(tmp_path)
    assert type(again.local) is pyg.GATConv
    torch.testing.assert_close(again(X, EDGES), expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_can_be_saved(copied, tmp_path):
    model = copied(own())
    model.save_pretrained(tmp_path)
    assert torch.equal(Own.from_pretrained(tmp_path)(X, EDGES), model(X, EDGES))


def test_an_argument_that_cannot_be_kept(tmp_path):
    model = Own(8, config=torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="'config' is a Linear, which no configuration can name"):
        model.save_pretrained(tmp_path)


def test_a_layer_that_the_constructor_does_not_make(tmp_path):
    model = own()
    model.local = pyg.GATConv(8, 8, negative_slope=0.5)
    with pytest.raises(ValueError, match=r"local.negative_slope is 0.5, not 0.2\. Make it with these options"):
        model.save_pretrained(tmp_path)


def test_two_arguments_share_a_module(tmp_path):
    class Two(HubMixin, torch.nn.Module):
        def __init__(self, first, second):
            super().__init__()
            self.first, self.second = first, second

    table = LearnedPositions(9, 4)
    Two(table, table).save_pretrained(tmp_path)
    again = Two.from_pretrained(tmp_path)
    assert again.first is again.second and torch.equal(again.first.tables[0].weight, table.tables[0].weight)


def test_only_for_modules(tmp_path):
    class Plain(HubMixin):
        def __init__(self):
            pass

    with pytest.raises(TypeError, match=r"for subclasses of torch.nn.Module \(got Plain\)"):
        Plain().save_pretrained(tmp_path)


def test_files_of_a_repository(tmp_path, monkeypatch):
    own().save_pretrained(tmp_path)
    asked = []

    def download(repo_id, filename, revision=None, **_):
        asked.append((repo_id, filename, revision))
        return str(tmp_path / filename)

    for module in ("huggingface_hub.hub_mixin", "graphattn.hub.mixin"):
        monkeypatch.setattr(f"{module}.hf_hub_download", download)
    again = Own.from_pretrained("me/model", revision="v1")
    assert again.encoder.layers[0].attention.positions.max_period == 50.0
    assert {(repo, revision) for repo, _, revision in asked} == {("me/model", "v1")}
    assert {name for _, name, _ in asked} == {"config.json", "model.safetensors"}
