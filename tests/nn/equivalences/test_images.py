import numpy as np
import pytest
import torch

from graphattn import CompleteGraph
from graphattn.nn.equivalences.images import pad_nodes, to_images, to_nodes


def test_nodes_are_in_c_order():
    images = torch.arange(24).view(1, 2, 3, 4)
    x, sides = to_nodes(images)
    assert x[5].tolist() == [5, 17] and sides == [(3, 4)]
    for given in (sides, np.array(sides), torch.tensor(sides)):
        assert torch.equal(to_images(x, given), images)
    padded = pad_nodes(x.float(), sides, ((1, 0), (0, 2)), "zeros").view(4, 6, 2)
    assert padded[0].abs().max() == 0 and padded[:, 4:].abs().max() == 0 and padded[2, 3].tolist() == [7, 19]


def test_each_image_is_padded_by_itself():
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    padded = pad_nodes(x, [(3,), (2,)], ((1, 1),), "replicate")
    assert padded.flatten().tolist() == [1, 1, 2, 3, 3, 4, 4, 5, 5]
    assert pad_nodes(x, [(3,), (2,)], ((0, 0),), "zeros") is x


def test_images_of_different_sides_are_no_tensor():
    with pytest.raises(ValueError, match="must be equal"):
        to_images(torch.randn(5, 2), [(1, 2), (3, 1)])


def test_bad_input():
    graph, nodes = CompleteGraph(5), torch.randn(40, 3)
    with pytest.raises(TypeError, match=r"'images' must be a tensor \[N, channels, .* \(got CompleteGraph\)"):
        to_nodes(graph)
    with pytest.raises(ValueError, match=r"'images' must be .* \(got \[4, 5\]\)"):
        to_nodes(torch.zeros(4, 5))
    with pytest.raises(TypeError, match=r"'nodes' must be a tensor .* \(got CompleteGraph\)"):
        to_images(graph, [(4, 5)])
    for sides in (graph, (4, 5)):
        with pytest.raises(TypeError, match="'sides' must name the sides of each image"):
            to_images(nodes, sides)
    with pytest.raises(ValueError, match=r"1 images of sides \(4, 5\) \(got \[40, 3\]\)"):
        to_images(nodes, [(4, 5)])
