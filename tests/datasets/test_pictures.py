"""Files of images in the modes that cameras, scanners and drawing programs write."""

import numpy as np
import pytest

from graphattn.datasets.pictures import read_image

Image = pytest.importorskip("PIL.Image")
GREY = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)


def read(folder, array, name="image.png", mode=None):
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(folder / name)
    return read_image(folder / name, side=None, patch=8).x


@pytest.mark.parametrize("name", ["image.png", "image.tiff"])
def test_16_bits_are_as_8(name, tmp_path):
    wide = GREY.astype(np.uint16) * 257
    assert read(tmp_path, wide, name).equal(read(tmp_path, GREY)) and read(tmp_path, wide, name).std() > 0.2


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_32_bits_have_no_known_white(kind, tmp_path):
    with pytest.raises(ValueError, match="numbers of 32 bits .* of which nothing says what is white"):
        read(tmp_path, GREY.astype(kind), "image.tiff")


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "CMYK", "1"])
def test_other_modes(mode, tmp_path):
    name = "image.tiff" if mode == "CMYK" else "image.png"
    found = read(tmp_path, np.where(GREY > 100, 255, 0).astype(np.uint8), name, mode)
    assert found.equal(read(tmp_path, np.where(GREY > 100, 255, 0).astype(np.uint8)))


def test_what_transparency_alone_shows_is_not_lost(tmp_path):
    black = np.zeros((8, 8, 4), np.uint8)
    assert read(tmp_path, black).eq(0).all()
    black[..., 3] = GREY
    with pytest.raises(ValueError, match="differ in their transparency alone"):
        read(tmp_path, black)
    black[0, 0, 0] = 255
    assert read(tmp_path, black).max() == 1
