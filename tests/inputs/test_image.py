"""Patches against slices cut by loops, and against a convolution."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader

from graphattn.graphs import GridGraph
from graphattn.inputs import from_image


def loop_patches(image, patch):
    """Cut each patch out by its corner; channels first, then axis after axis."""
    sides = [side // size for side, size in zip(image.shape[1:], patch)]
    rows, places = [], []
    for place in itertools.product(*map(range, sides)):
        corner = [slice(index * size, (index + 1) * size) for index, size in zip(place, patch)]
        rows.append([value for channel in image for value in channel[tuple(corner)].reshape(-1).tolist()])
        places.append(list(map(float, place)))
    return rows, places


@pytest.mark.parametrize(
    "shape, patch",
    [
        ((1, 3, 5), 1),
        ((3, 4, 6), 2),
        ((2, 4, 6), (4, 3)),
        ((1, 1, 1), 1),
        ((4, 2, 2), 2),
        ((1, 7), 1),
        ((2, 6), 3),
        ((2, 4, 2, 6), 2),
        ((1, 2, 3, 4), (1, 3, 2)),
    ],
)
def test_patches_equal_the_loop(shape, patch):
    image, axes = torch.rand(shape), len(shape) - 1
    data = from_image(image, patch=patch, axes=axes, channels="first")
    patch = (patch,) * axes if isinstance(patch, int) else patch
    rows, places = loop_patches(image, patch)
    assert data.x.tolist() == rows and data.pos.tolist() == places
    assert data.sides == tuple(side // size for side, size in zip(shape[1:], patch))
    assert data.num_nodes == math.prod(data.sides) == data.graph.num_queries


def test_a_linear_layer_on_patches_is_a_convolution():
    image = torch.rand(3, 8, 12)
    convolution = torch.nn.Conv2d(3, 5, kernel_size=4, stride=4)
    expected = convolution(image).flatten(1).T  # [num_patches, 5]
    actual = from_image(image, patch=4).x @ convolution.weight.flatten(1).T + convolution.bias
    torch.testing.assert_close(actual, expected)


def test_no_channel_axis_is_one_channel():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    data = from_image(image)
    assert data.x.tolist() == [[float(value)] for value in range(12)] and data.sides == (3, 4)


def test_one_pixel():
    data = from_image(torch.tensor([[7.0]]), edge_index=True)
    assert data.x.tolist() == [[7.0]] and data.pos.tolist() == [[0.0, 0.0]] and data.edge_index.tolist() == [[0], [0]]


@pytest.mark.parametrize("reach", [0, 1, (2, 1)])
def test_graph_reaches_as_far_as_told(reach):
    data = from_image(torch.rand(4, 5), reach=reach, edge_index=True)
    rows, columns = (reach, reach) if isinstance(reach, int) else reach
    places = list(itertools.product(range(4), range(5)))
    expected = {
        (key, query)
        for query, (row, column) in enumerate(places)
        for key, (other_row, other_column) in enumerate(places)
        if abs(row - other_row) <= rows and abs(column - other_column) <= columns
    }
    assert set(map(tuple, data.edge_index.T.tolist())) == expected
    assert data.graph == GridGraph((4, 5), (rows, columns))


@pytest.mark.parametrize(
    "image, options, message",
    [
        (
            torch.rand(5, 6),
            dict(patch=2),
            r"sides \[5, 6\] does not divide into patches of \[2, 2\] \(left over: \[1, 0\] pixels\); crop or pad",
        ),
        (torch.rand(2, 2), dict(patch=4), r"does not divide into patches of \[4, 4\] \(left over: \[2, 2\]"),
        (torch.rand(2, 1, 4, 4), {}, r"needs 2 axes of space, .*got shape \[2, 1, 4, 4\]"),
        (torch.rand(4), {}, r"got shape \[4\]"),
        (torch.rand(3, 0, 4), {}, r"'image' has no pixels \(got shape \[3, 0, 4\]\)"),
        (torch.tensor([[math.nan]]), {}, r"'image' has NaN or infinite pixels"),
        (
            torch.rand(4, 4),
            dict(patch=0),
            r"'patch' needs to be an int of at least 1, or one for each of 2 axes \(got 0\)",
        ),
        (torch.rand(4, 4), dict(patch=(2, 2, 2)), r"'patch' .*got \(2, 2, 2\)"),
        (torch.rand(4, 4), dict(reach=-1), r"'reach' needs to be an int of at least 0"),
        (torch.rand(4, 4), dict(axes=0), r"'axes' needs to be 1 or more \(got 0\)"),
    ],
)
def test_bad_images(image, options, message):
    with pytest.raises(ValueError, match=message):
        from_image(image, **options)


@pytest.mark.parametrize("number", [np.int64(2), np.uint8(2), torch.tensor(2), np.array(2)], ids=repr)
def test_sizes_of_numpy_and_torch(number):
    image = torch.rand(3, 8, 6)
    found, wanted = from_image(image, patch=number, reach=number, axes=number), from_image(image, patch=2, reach=2)
    assert torch.equal(found.x, wanted.x) and found.graph == wanted.graph and found.sides == (4, 3)
    assert (
        from_image(image, patch=np.array([4, 3])).sides == from_image(image, patch=torch.tensor([4, 3])).sides == (2, 2)
    )
    for patch in (2.0, True, "2"):
        with pytest.raises(ValueError, match="'patch' needs to be an int of at least 1"):
            from_image(image, patch=patch)


def test_channels_behind_the_sides():
    image = torch.rand(8, 12, 3)
    for given in (image, image.numpy()):
        data = from_image(given, patch=4)
        assert data.sides == (2, 3) and torch.equal(data.x, from_image(image.movedim(-1, 0), patch=4).x)
    small = from_image(torch.rand(2, 2, 3), channels="last")
    assert small.sides == (2, 2) and small.x.shape == (4, 3)


def test_complex_images_are_refused():
    with pytest.raises(TypeError, match=r"'image' needs real values \(got torch.complex64\)"):
        from_image(torch.rand(2, 2, dtype=torch.complex64))


def test_a_batch():
    images = [from_image(torch.rand(1, 2, 3), channels="first"), from_image(torch.rand(1, 1, 1))]
    batch = next(iter(DataLoader(images, batch_size=2)))
    assert batch.ptr.tolist() == [0, 6, 7] and batch.sides == [(2, 3), (1, 1)]
    assert batch.graph == [GridGraph((2, 3), 1), GridGraph((1, 1), 1)]


class Marked(torch.Tensor):
    """As torchvision's tv_tensors.Image, Video and Mask are: subclasses of tensors."""


@pytest.mark.parametrize("shape, axes", [((3, 8, 6), 2), ((1, 8, 6), 2), ((3, 8, 6, 4), 3)])
def test_subclasses_of_tensors_leave_nothing_of_themselves(shape, axes):
    image, options = torch.rand(shape), {"patch": 2, "axes": axes, "channels": "first"}
    data, wanted = (from_image(given, **options) for given in (image.as_subclass(Marked), image))
    assert type(data.x) is torch.Tensor and torch.equal(data.x, wanted.x) and data.graph == wanted.graph
