import pytest
import torch
import torch.nn.functional as F

from graphattn.nn.leaky_relu import leaky_relu_score


@pytest.mark.parametrize("slope", [0.2, 0.0, 0.01, 0.5, 1.0, 1.7, -0.3])
def test_any_slope(slope):
    torch.manual_seed(0)
    query, key = torch.randn(2, 50, 3, 4, dtype=torch.float64)
    vector, weight = torch.randn(3, 4).double(), torch.randn(3, 4, 5).double()
    features = torch.randn(50, 5).double()
    hidden = query + key + torch.einsum("hcd,nd->nhc", weight, features)
    wanted = (F.leaky_relu(hidden, slope) * vector).sum(-1)
    query, key, score = leaky_relu_score(query, key, vector, weight, slope)
    torch.testing.assert_close(score.between(query, key, features), wanted)


def test_the_slope_of_the_kernels_costs_nothing():
    x = torch.randn(5, 2, 3)
    query, key, score = leaky_relu_score(x, x, x[0], None, 0.2)
    assert query is x and key is x and score.vector.shape == (2, 3)
