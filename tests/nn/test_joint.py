import pytest
import torch

from graphattn import EdgeListGraph
from graphattn.formulas.normalizers import as_normalizer
from graphattn.formulas.scores import Dot, Gaussian
from graphattn.nn.joint import Joint, Link
from graphattn.nn.relation import Relation

HEADS, CHANNELS = 4, 3


def links(edge_dims, kv_heads=2):
    """Types of edges from 5, 6, ... sources to 7 targets."""
    torch.manual_seed(0)
    given = {}
    for place, edge_dim in enumerate(edge_dims):
        relation = Relation(HEADS, kv_heads, CHANNELS, edge_dim).double()
        torch.nn.init.normal_(relation.bias)
        num_sources = 5 + place
        key, value = (torch.randn(num_sources, kv_heads, CHANNELS, dtype=torch.float64) for _ in range(2))
        edge_index = torch.stack([torch.randint(num_sources, (20,)), torch.randint(7, (20,))])
        edge_attr = None if edge_dim is None else torch.randn(20, edge_dim, dtype=torch.float64)
        given["a", str(place), "b"] = Link(relation, key, value, EdgeListGraph(edge_index, 7, num_sources), edge_attr)
    return given


@pytest.mark.parametrize("score", [Dot(), Gaussian()], ids=lambda score: score.name)
@pytest.mark.parametrize("edge_dims", [(None, None), (2, None, 3)], ids=str)
def test_all_edges_of_one_graph_are_the_messages_of_each_type(edge_dims, score):
    given, query = links(edge_dims), torch.randn(7, HEADS, CHANNELS, dtype=torch.float64)
    joint = Joint(query, given, score, 0.5, as_normalizer("softmax"))
    scored = joint.scored()
    torch.testing.assert_close(scored.result(joint.value, 0.0, None), joint.by_messages(0.0))
    weights = joint.by_type(scored.weights())
    assert list(weights) == list(given)
    total = torch.zeros(7, HEADS, dtype=torch.float64)
    for kind, (edge_index, alpha) in weights.items():
        assert torch.equal(edge_index, given[kind].graph.edge_index()) and alpha.shape == (20, HEADS)
        total.index_add_(0, edge_index[1], alpha)
    has_edges = torch.cat([link.graph.edge_index()[1] for link in given.values()]).unique()
    torch.testing.assert_close(total[has_edges], torch.ones_like(total[has_edges]))


def test_features_have_columns_of_their_own():
    joint = Joint(torch.randn(7, HEADS, CHANNELS).double(), links((2, None, 3)), Dot(), 1.0, as_normalizer("softmax"))
    features, weight = joint.features(), joint.edge_weight()
    assert features.shape == (60, 5) and weight.shape == (HEADS, CHANNELS, 5)
    assert not features[:20, 2:].any() and not features[20:40].any() and not features[40:, :2].any()


def test_one_hook_on_a_type_is_seen():
    given = links((None, None))
    joint = Joint(torch.randn(7, HEADS, CHANNELS).double(), given, Dot(), 1.0, as_normalizer("softmax"))
    assert not joint.is_watched()
    next(iter(given.values())).relation.register_message_forward_hook(lambda *_: None)
    assert joint.is_watched()
