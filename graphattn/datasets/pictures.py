"""Files of images as grids of patches, all with the same number of features."""

import os
from typing import Any

import numpy as np
from torch_geometric.data import Data

from graphattn.inputs import from_image
from graphattn.inputs.files import check_file


def read_image(
    path: str | os.PathLike[str], side: int | None = 64, patch: int = 8, mode: str = "RGB", **options: Any
) -> Data:
    """An image file as a grid of patches, its pixels between 0 and 1: 16 bits a pixel as 8.

    Args:
        path: Of a file that Pillow reads.
        side: Pixels of each side, to which it is resized; None keeps its own size, which must be a multiple of `patch`.
        patch: Pixels of a side of a patch.
        mode: Of Pillow; 'L' is grey. One mode for all, as the features of a patch are its pixels.
        **options: Further ones of `graphattn.inputs.from_image`, such as reach.

    Raises ImportError without Pillow, ValueError or OSError on a file that is no image, or whose numbers have no known white.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(f"files of images need Pillow ({error}); pip install pillow") from error
    check_file(path)
    try:
        with Image.open(path) as opened:
            image = with_known_white(opened).convert(mode)
    except UnidentifiedImageError as error:
        raise ValueError(f"it is no image that Pillow reads ({error})") from error
    if side is not None:
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.float32) / 255
    return from_image(pixels, patch=patch, channels="last" if pixels.ndim == 3 else None, **options)


def with_known_white(image: Any) -> Any:
    """An image whose numbers Pillow converts as they look: of those with 16 bits it takes all above 255 for white.

    Raises ValueError on numbers of 32 bits, of which nobody knows what is white, and where nothing but the transparency differs
    from pixel to pixel.
    """
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # which Pillow widened
        return Image.fromarray((np.asarray(image).astype(np.int64) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are numbers of 32 bits (mode {image.mode!r}), of which nothing says what is white; save it with 8 or 16"
            " bits, or make the array of pixels yourself for graphattn.inputs.from_image"
        )
    if image.mode in ("RGBA", "LA"):
        *colours, alpha = image.split()
        low, high = alpha.getextrema()
        if low < high and all(len(set(band.getextrema())) == 1 for band in colours):
            raise ValueError(
                f"its pixels have one colour and differ in their transparency alone (mode {image.mode!r}), which is not read; lay"
                " it over another colour"
            )
    return image
