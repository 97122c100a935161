"""Images as nodes: [N, channels, *sides] and [num_nodes, channels] in C order, image after image."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs.sizes import is_sequence


def to_nodes(images: Tensor) -> tuple[Tensor, list[tuple[int, ...]]]:
    """[N, channels, *sides] -> nodes [N * prod(sides), channels] in C order, and the sides of each image.

    >>> to_nodes(torch.zeros(2, 3, 4, 5))[0].shape
    torch.Size([40, 3])
    """
    if not isinstance(images, Tensor):
        raise TypeError(
            f"'images' must be a tensor [N, channels, *sides] (got {type(images).__name__}); give the pixels"
        )
    if images.dim() < 3:
        raise ValueError(
            f"'images' must be [N, channels, *sides] (got {list(images.shape)}); give a single one as image[None]"
        )
    return images.movedim(1, -1).flatten(0, -2), [tuple(images.shape[2:])] * images.size(0)


def to_images(nodes: Tensor, sides: Sequence[Sequence[int]]) -> Tensor:
    """The inverse of `to_nodes`, for images of equal sides: [num_nodes, channels] -> [N, channels, *sides]."""
    if not isinstance(nodes, Tensor):
        raise TypeError(
            f"'nodes' must be a tensor [num_nodes, channels] (got {type(nodes).__name__}); give their features"
        )
    sides = sides.tolist() if isinstance(sides, (np.ndarray, Tensor)) else sides
    if not is_sequence(sides) or not all(map(is_sequence, sides)):
        raise TypeError(
            f"'sides' must name the sides of each image, as `to_nodes` does (got {sides!r}), e.g. [(4, 5), (4, 5)]"
        )
    if len(set(map(tuple, sides))) != 1:
        raise ValueError(f"'sides' must be equal in all images to put them into one tensor (got {sides})")
    if nodes.dim() != 2 or nodes.size(0) != len(sides) * math.prod(sides[0]):
        raise ValueError(
            f"'nodes' must be [num_nodes, channels] with a node for each pixel of {len(sides)} images of sides {tuple(sides[0])}"
            f" (got {list(nodes.shape)})"
        )
    return nodes.unflatten(0, (len(sides), *sides[0])).movedim(-1, 1)


def pad_nodes(x: Tensor, images: Sequence[tuple[int, ...]], margins: Sequence[tuple[int, int]], mode: str) -> Tensor:
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
