import torch

from graphattn import BandedGraph, attend


def test_forces_of_an_energy_can_be_trained():
    """A loss on the gradient of attention, as in force matching: its gradient equals finite differences."""
    torch.manual_seed(0)
    graph = BandedGraph(5, 2, 1)
    weight = torch.randn(3, 4, dtype=torch.float64)

    def loss(x, weight):
        features = (x @ weight).unflatten(1, (2, 2))
        energy = attend(features, features, features, graph).square().sum()
        (force,) = torch.autograd.grad(energy, x, create_graph=True)
        return force.square().sum()

    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weight.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x, weight), weight)
    direction = torch.randn_like(weight)
    step = 1e-5
    difference = (loss(x, weight + step * direction) - loss(x, weight - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-6, atol=1e-6)
