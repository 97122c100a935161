"""Pictures as users have them, with their channels first."""

import sys
from collections.abc import Collection
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphattn.inputs.arrays import to_tensor

CHANNELS = (1, 2, 3, 4)  # what is taken for channels unasked: grey, grey and alpha, three colours, colours and alpha
PLACES = ("first", "last")
# The modes of Pillow whose numbers are intensities; those of 'P' are places in a palette, those of 'LAB' have a sign in some
# versions and none in others, and 'RGBX' has a fourth that says nothing.
PIL_MODES = ("1", "L", "LA", "La", "I", "F", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV")


def read_pixels(image: Any, axes: int = 2, channels: str | None = None, counts: Collection[int] = CHANNELS) -> Tensor:
    """float32 [channels, *sides] of a tensor, an array or a PIL image; finite, not empty.

    Args:
        image: [*sides], or with an axis of channels before or behind the sides.
        axes: how many axes are space.
        channels: 'first' or 'last'. None: the end of the shape whose size is among `counts` is the axis of channels.

    Raises ValueError where neither or both ends could be channels, and where pixels are missing, NaN or infinite.

    >>> read_pixels(np.zeros((28, 20, 3), dtype=np.uint8)).shape
    torch.Size([3, 28, 20])
    """
    if channels not in (None, *PLACES):
        raise ValueError(f"'channels' needs to be 'first', 'last' or None (got {channels!r})")
    if isinstance(image, str | PathLike):
        raise TypeError(f"'image' needs to be an image, not its path (got {image!r}); PIL.Image.open(path) reads it")
    if is_pil(image):
        image, channels = read_pil(image, axes, channels), "last"
    if isinstance(image, list | tuple) and any(hasattr(entry, "shape") or is_pil(entry) for entry in image):
        raise TypeError(
            f"'image' needs to be one image (got a {type(image).__name__} of {len(image)}); call once for each, "
            f"or stack channels first (torch.stack)"
        )
    image = to_tensor("image", image).as_subclass(Tensor)  # without what torchvision's images carry with them
    if image.is_complex():
        raise TypeError(f"'image' needs real values (got {image.dtype}); stack real and imaginary parts as channels")
    if image.dim() not in (axes, axes + 1):
        raise ValueError(
            f"'image' needs {axes} axes of space, with or without one of channels "
            f"(got shape {list(image.shape)}); pass 'axes' for other than {axes}, and one image at a time"
        )
    if image.numel() == 0:
        raise ValueError(f"'image' has no pixels (got shape {list(image.shape)})")
    if image.dim() == axes:
        image = image.unsqueeze(0)
    elif (channels or place_of_channels(image.shape, counts)) == "last":
        image = image.movedim(-1, 0)
    image = image.float()
    if not torch.isfinite(image).all():
        raise ValueError("'image' has NaN or infinite pixels; replace them, for example by torch.nan_to_num")
    return image


def place_of_channels(shape: torch.Size, counts: Collection[int] = CHANNELS) -> str:
    """'first' or 'last', as the shape of an image with channels shows it.

    >>> place_of_channels(torch.Size([3, 28, 28])), place_of_channels(torch.Size([28, 28, 1]))
    ('first', 'last')
    """
    fits = [size in counts for size in (shape[0], shape[-1])]
    if fits[0] != fits[1]:
        return PLACES[fits.index(True)]
    if all(size == 1 for size in shape):
        return "first"  # and last
    which = "both ends" if fits[0] else "neither end"
    raise ValueError(
        f"'image' does not tell where its channels are: {which} of its shape could be {list(counts)} of them "
        f"(got {list(shape)}); pass channels='first' (torch) or channels='last' (NumPy, Pillow)"
    )


def is_pil(image: Any) -> bool:
    """Whether this is an image of Pillow, which need not be installed: whoever has one has imported it."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(image, pillow.Image)


def read_pil(image: Any, axes: int, channels: str | None) -> np.ndarray:
    """[height, width] or [height, width, bands], the numbers as Pillow has them."""
    if axes != 2 or channels == "first":
        raise ValueError(
            f"a PIL image has 2 axes of space and its channels last (got axes={axes}, channels={channels!r}); "
            f"leave both out"
        )
    if image.mode not in PIL_MODES and not image.mode.startswith("I;16"):
        raise ValueError(
            f"'image' is a PIL image of mode {image.mode!r}, whose numbers are no intensities; pass "
            f"image.convert('RGB'), or numpy.asarray(image) for the numbers themselves"
        )
    return np.asarray(image)
