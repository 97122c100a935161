"""Images as nodes: [N, channels, *sides] and [num_nodes, channels] in C order, image after image."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def to_nodes(images: Tensor) -> tuple[Tensor, list[tuple[int, ...]]]:
    """[N, channels, *sides] -> nodes [N * prod(sides), channels] in C order, and the sides of each image.

    >>> to_nodes(torch.zeros(2, 3, 4, 5))[0].shape
    torch.Size([40, 3])
    """
    return images.movedim(1, -1).flatten(0, -2), [tuple(images.shape[2:])] * images.size(0)


def to_images(nodes: Tensor, sides: Sequence[Sequence[int]]) -> Tensor:
    """The inverse of `to_nodes`, for images of equal sides: [num_nodes, channels] -> [N, channels, *sides]."""
    if len(set(map(tuple, sides))) != 1:
        raise ValueError(f"'sides' must be equal in all images to put them into one tensor (got {sides})")
    return nodes.unflatten(0, (len(sides), *sides[0])).movedim(-1, 1)


def pad_nodes(x: Tensor, images, margins, mode: str) -> Tensor:
    """The pixels of each image with margins around it: [num_padded_nodes, channels]."""
    if not any(map(any, margins)):
        return x
    padded, start = [], 0
    order = [width for margin in reversed(margins) for width in margin]  # torch pads the last axis first
    mode = "constant" if mode == "zeros" else mode
    for image in images:
        count = math.prod(image)
        pixels = x[start : start + count].t().unflatten(1, image)[None]
        padded.append(torch.nn.functional.pad(pixels, order, mode=mode)[0].flatten(1).t())
        start += count
    return torch.cat(padded)
