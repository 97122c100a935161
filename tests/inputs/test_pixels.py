"""Pictures in every order of axes, dtype and mode of Pillow; what could be read in two ways is refused."""

import builtins
import sys

import numpy as np
import pytest
import torch

from graphattn.inputs import from_image
from graphattn.inputs.pixels import PIL_MODES, read_pixels


def numbers(*shape):
    return np.arange(np.prod(shape)).reshape(shape)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("sides", [(28, 28), (5, 9), (6, 5, 7), (11,)])
def test_channels_are_recognised(count, sides):
    first, axes = numbers(count, *sides), len(sides)
    last = np.moveaxis(first, 0, -1)
    for given in (first, last, torch.from_numpy(first), torch.from_numpy(last), np.ascontiguousarray(last)):
        assert read_pixels(given, axes).tolist() == first.tolist()
    for place, given in (("first", first), ("last", last)):
        assert read_pixels(given, axes, place).tolist() == first.tolist()


@pytest.mark.parametrize("shape", [(3, 8, 3), (2, 2, 3), (1, 28, 1), (4, 2, 2), (13, 64, 64), (64, 64, 13), (8, 8, 8)])
@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_what_could_be_either_is_refused(shape, make):
    with pytest.raises(
        ValueError, match=rf"'image' does not tell .*got \[{shape[0]}, .*channels='first' .* channels='last'"
    ):
        read_pixels(make(shape))
    assert read_pixels(make(shape), channels="first").shape == shape
    assert read_pixels(make(shape), channels="last").shape == (shape[2], *shape[:2])


def test_no_channels():
    assert read_pixels(numbers(3, 4)).tolist() == [numbers(3, 4).tolist()]
    assert read_pixels(numbers(3, 4), channels="last").tolist() == [numbers(3, 4).tolist()]
    assert read_pixels(numbers(2, 3, 4), axes=3).tolist() == [numbers(2, 3, 4).tolist()]
    assert read_pixels(torch.ones(1, 1, 1)).shape == (1, 1, 1)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", "u4", "i8", "?", "f2", ">f4", "f8", "g"])
def test_every_dtype_keeps_its_values(dtype):
    image = (numbers(3, 5, 6) % 7).astype(dtype)[:, ::-1]
    found = read_pixels(image)
    assert found.dtype == torch.float and found.tolist() == image.astype(float).tolist()


@pytest.mark.parametrize(
    "image, error, message",
    [
        ([np.zeros((5, 5))] * 3, TypeError, r"one image \(got a list of 3\); call once for each"),
        ([torch.zeros(5, 5)] * 2, TypeError, r"one image \(got a list of 2\)"),
        (np.array([["a"]]), TypeError, "'image' needs numbers"),
        ("cat.png", TypeError, r"not its path \(got 'cat.png'\); PIL.Image.open"),
        (np.zeros((2, 3, 8, 8)), ValueError, "one image at a time"),
        (np.zeros((0, 8)), ValueError, "no pixels"),
        (np.array([[1e300, 1.0]]), ValueError, "NaN or infinite"),  # beyond float32
    ],
)
def test_what_is_no_image(image, error, message):
    with pytest.raises(error, match=message):
        read_pixels(image)


def test_other_places_of_channels():
    with pytest.raises(ValueError, match=r"'channels' needs to be 'first', 'last' or None \(got 'middle'\)"):
        read_pixels(numbers(3, 8, 8), channels="middle")


# Pillow ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image")


@pytest.mark.parametrize("mode", [*PIL_MODES, "I;16", "I;16B", "I;16L"])
def test_modes_of_pillow(pillow, mode):
    image = pillow.new(mode, (3, 2))  # as small as images whose arrays could be either
    bands = len(image.getbands())
    for place in range(6):
        image.putpixel((place % 3, place // 3), place if bands == 1 else tuple(range(place, place + bands)))
    wanted = [
        [[float(channel + 3 * row + column) for column in range(3)] for row in range(2)] for channel in range(bands)
    ]
    if mode == "1":
        wanted = [[[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]]
    assert read_pixels(image).tolist() == wanted
    assert from_image(image).sides == (2, 3) and from_image(image, channels="last").x.shape == (6, bands)


@pytest.mark.parametrize("mode", ["P", "PA", "RGBX", "LAB"])
def test_modes_without_intensities_are_refused(pillow, mode):
    image = pillow.new(mode, (9, 7))
    with pytest.raises(
        ValueError, match=rf"mode '{mode}', whose numbers are no intensities; pass image.convert\('RGB'\)"
    ):
        from_image(image)
    if mode != "LAB":
        assert from_image(image.convert("RGB")).sides == (7, 9)


def test_pillow_knows_its_axes(pillow):
    image = pillow.new("RGB", (9, 7))
    for options in ({"axes": 3}, {"channels": "first"}):
        with pytest.raises(ValueError, match="a PIL image has 2 axes of space and its channels last"):
            from_image(image, **options)
    with pytest.raises(TypeError, match="got a list of 2"):
        from_image([image, image])


def test_pillow_need_not_be_installed(monkeypatch):
    real_import = builtins.__import__

    def no_pillow(name, *arguments, **options):
        assert not name.startswith("PIL")
        return real_import(name, *arguments, **options)

    for name in [name for name in sys.modules if name.split(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", no_pillow)
    assert from_image(numbers(28, 28, 3)).sides == (28, 28)
    with pytest.raises(TypeError, match="'image' needs numbers"):
        from_image(object())
