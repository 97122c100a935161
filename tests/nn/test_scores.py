import pytest
import torch

from graphattn import EdgeListGraph, attention_scores
from graphattn.nn import Dot
from graphattn.nn.scores import LEARNED, SCORES, check_score, learned_score

HEADS, CHANNELS = 3, 4


@pytest.mark.parametrize("name", LEARNED)
def test_the_parameter_makes_the_score_of_its_name(name):
    torch.manual_seed(0)
    learned = learned_score(name)
    parameter = torch.full(learned.shape(HEADS, CHANNELS), torch.nan, dtype=torch.float64)
    learned.reset(parameter, CHANNELS)
    assert parameter.isfinite().all()
    parameter = (parameter + 0.2 * torch.randn_like(parameter)).requires_grad_()
    score = learned.of(parameter, None)
    q, k = (torch.randn(5, HEADS, CHANNELS, dtype=torch.float64) for _ in range(2))
    values = {
        "additive": lambda: ((q + k).tanh() * parameter[0]).sum(-1),
        "gatv2": lambda: (torch.nn.functional.leaky_relu(q + k, 0.2) * parameter[0]).sum(-1),
        "cosine": lambda: torch.cosine_similarity(q, k, -1) / parameter.exp(),
        "bilinear": lambda: torch.einsum("nhc,hcd,nhd->nh", q, parameter, k),
        "gaussian": lambda: -(q - k).square().sum(-1) / (2 * (2 * parameter).exp()),
    }
    graph = EdgeListGraph(torch.arange(5).expand(2, -1), 5)
    found, wanted = attention_scores(q, k, graph, score=score), values[name]()
    torch.testing.assert_close(found, wanted)
    cotangent = torch.randn_like(found)
    pair = (torch.autograd.grad(x, parameter, cotangent)[0] for x in (found, wanted))
    torch.testing.assert_close(*pair)


@pytest.mark.parametrize("name", [name for name, learned in LEARNED.items() if learned.takes_edges])
def test_edges_enter_where_a_score_takes_them(name):
    torch.manual_seed(0)
    weight, edge_attr = torch.randn(HEADS, CHANNELS, 2), torch.randn(5, 2)
    q, k = (torch.randn(5, HEADS, CHANNELS) for _ in range(2))
    learned, parameter = learned_score(name), torch.randn(1, HEADS, CHANNELS)
    found = learned.of(parameter, weight).between(q, k, edge_attr)
    wanted = learned.of(parameter, None).between(q, k + torch.einsum("hcd,ed->ehc", weight, edge_attr), None)
    torch.testing.assert_close(found, wanted)


def test_a_temperature_has_a_least_value():
    learned = learned_score("cosine")
    assert learned.of(torch.tensor([-50.0]), None).temperature.item() == pytest.approx(0.01)


def test_other_scores_know_their_parameters_themselves():
    for score in ("dot", Dot(), torch.nn.Bilinear(4, 4, 1), max):
        assert learned_score(score) is None
        check_score(score)


@pytest.mark.parametrize("score", ["cosinus", 3, None])
def test_unknown_scores_are_named(score):
    with pytest.raises(ValueError, match=rf"one of .*{SCORES[-1]}.* .got {score!r}"):
        check_score(score)
