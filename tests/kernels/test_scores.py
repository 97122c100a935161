import pytest
import torch

from graphattn.nn import Additive, Dot


def test_additive_by_its_formula():
    torch.manual_seed(0)
    query, key, vector = torch.randn(5, 2, 3), torch.randn(5, 2, 3), torch.randn(2, 3)
    features, weight = torch.randn(5, 4), torch.randn(2, 3, 4)
    scores = Additive(vector, weight, "leaky_relu").between(query, key, features)
    for edge in range(5):
        for head in range(2):
            hidden = [float(query[edge, head, c] + key[edge, head, c] + weight[head, c] @ features[edge]) for c in range(3)]
            wanted = sum(float(vector[head, c]) * (h if h > 0 else 0.2 * h) for c, h in enumerate(hidden))
            assert float(scores[edge, head]) == pytest.approx(wanted, abs=1e-5)


def test_default_scales():
    assert Dot().default_scale(16) == 0.25
    assert Additive(torch.ones(1, 1)).default_scale(16) == 1


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="got 'gelu'"):
        Additive(torch.ones(1, 1), activation="gelu")


def test_edge_weight_must_fit():
    with pytest.raises(ValueError, match=r"\[1, 2, 3\] .got \[2, 3\]"):
        Additive(torch.ones(1, 2), torch.ones(2, 3)).check(1, 2, 3)
