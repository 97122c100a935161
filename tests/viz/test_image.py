import numpy as np
import pytest
import torch

from graphattn import CompleteGraph, GridGraph
from graphattn.inputs import from_image
from graphattn.viz import draw_image
from graphattn.viz.image import to_pixels


def test_shows_the_weights_of_the_framed_patch():
    image = torch.rand(3, 8, 12)
    graph = from_image(image, patch=4).graph  # 2 x 3 patches
    weights = torch.rand(graph.num_edges, 2)
    ax = draw_image(image, graph, weights, node=5)
    key, query = graph.edge_index()
    row = torch.zeros(6)
    row[key[query == 5]] = weights[query == 5].mean(1)
    np.testing.assert_allclose(ax.images[1].get_array().flatten(), row, rtol=1e-6)
    assert (ax.images[1].get_alpha().flatten() > 0).tolist() == [False, True, True, False, True, True]
    assert ax.images[0].get_alpha() < 0.5  # so that the weights are seen on ink too
    _, frame = ax.patches
    assert frame.get_xy() == (8, 4) and frame.get_width() == 4 and frame.get_height() == 4


def test_without_weights_what_is_not_seen_is_paler():
    ax = draw_image(torch.rand(4, 4), GridGraph((2, 2), (0, 1)), node=0)
    assert (ax.images[1].get_alpha() > 0).tolist() == [[False, False], [True, True]]
    assert ax.images[0].get_alpha() == 1
    assert len(ax.figure.axes) == 1


def test_pixels():
    assert to_pixels(torch.zeros(1, 4, 5)).shape == (4, 5)
    pixels = to_pixels(torch.arange(24.0).view(3, 2, 4))
    assert (
        pixels.shape == (2, 4, 3)
        and pixels.min() == 0
        and pixels.max() == 1
        and pixels[0, 0, 2] == pytest.approx(16 / 23)
    )
    with pytest.raises(ValueError, match=r"got \[2, 4, 5\]"):
        to_pixels(torch.zeros(2, 4, 5))


def test_pixels_of_every_order():
    image = torch.rand(3, 9, 7)
    for given in (image.permute(1, 2, 0), image.numpy()[:, ::-1][:, ::-1], image.permute(1, 2, 0).numpy()):
        np.testing.assert_array_equal(to_pixels(given), to_pixels(image))
    assert to_pixels(torch.rand(3, 5, 3), "last").shape == (3, 5, 3)
    for image, channels in ((torch.rand(3, 5, 3), None), (torch.rand(9, 7, 4), None), (torch.rand(9, 7, 4), "last")):
        with pytest.raises(ValueError, match="'image'"):
            to_pixels(image, channels)
    assert draw_image(torch.rand(3, 4, 3), CompleteGraph(4), sides=(2, 2), channels="last").patches


def test_bad_input():
    with pytest.raises(ValueError, match="only one GridGraph"):
        draw_image(torch.rand(4, 4), CompleteGraph(4))
    with pytest.raises(ValueError, match=r"got \(3, 2\)"):
        draw_image(torch.rand(4, 4), CompleteGraph(4), sides=(3, 2))
    assert draw_image(torch.rand(4, 4), CompleteGraph(4), sides=(2, 2)).patches


def test_the_window_is_outlined_on_white_paper_too():
    for weights in (None, torch.rand(GridGraph((4, 4), 1).num_edges)):
        ax = draw_image(torch.zeros(8, 8), GridGraph((4, 4), 1), weights, node=0)
        lines = {(tuple(map(float, line.get_xdata())), tuple(map(float, line.get_ydata()))) for line in ax.lines}
        ends = [(0.0, 2.0), (2.0, 4.0)]  # of the sides of the two patches along each axis
        sides = [(0.0, 0.0), (4.0, 4.0)]
        assert lines == {pair for end in ends for side in sides for pair in ((side, end), (end, side))}


def test_attention_that_is_spread_evenly_is_pale():
    graph = GridGraph((3, 3), 1)
    even = draw_image(torch.rand(3, 3), graph, torch.full((graph.num_edges,), 1 / 9), node=4).images[1]
    assert even.norm.vmax == pytest.approx(2 / 9) and float(even.get_alpha().max()) == pytest.approx(0.5)
    steep = torch.zeros(graph.num_edges)
    steep[(graph.edge_index()[1] == 4).nonzero()[0]] = 1.0
    assert draw_image(torch.rand(3, 3), graph, steep, node=4).images[1].norm.vmax == 1
