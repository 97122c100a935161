"""Digits: handwritten digits of 8 x 8 pixels, each pixel a node."""

from collections.abc import Callable

import torch
from torch_geometric.data import Data, InMemoryDataset

from graphattn.inputs import from_image

MAX_GREY = 16  # the images count the black pixels in blocks of 4 x 4
NUM_TRAIN = 1197


class Digits(InMemoryDataset):
    """1797 images of handwritten digits, 8 x 8 pixels, that come with scikit-learn.

    | attribute | meaning
    |-----------|--------
    | x         | [N, patch²] grey values, 0 white .. 1 black, N = (8 / patch)²
    | pos       | [N, 2] row and column, in patches
    | sides     | (8 / patch, 8 / patch)
    | graph     | GridGraph(sides, reach)
    | y         | [1] int64, the digit; classes of about a tenth each

    | split   | images | in the order of scikit-learn, whose writers do not mix
    |---------|--------|-------------------------------------------------------
    | 'train' | 1197   | the first
    | 'test'  | 600    | the last

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
    (its test set), through sklearn.datasets.load_digits. Raises ImportError without scikit-learn.

    >>> dataset = Digits('test', patch=2)
    >>> len(dataset), dataset[0].x.shape
    (600, torch.Size([16, 4]))
    """

    classes = tuple("0123456789")

    def __init__(
        self, split: str = "train", patch: int = 1, reach: int = 1, transform: Callable[[Data], Data] | None = None
    ):
        super().__init__(transform=transform)
        if split not in ("train", "test"):
            raise ValueError(f"'split' needs to be 'train' or 'test' (got {split!r})")
        images, labels = load_images()
        part = slice(NUM_TRAIN) if split == "train" else slice(NUM_TRAIN, None)
        self.data, self.slices = self.collate(
            [to_data(image, label, patch, reach) for image, label in zip(images[part], labels[part])]
        )


def load_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Images float64 [1797, 8, 8] between 0 and 1, labels int64 [1797]."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits come with scikit-learn; run: pip install scikit-learn") from error
    digits = load_digits()
    return torch.from_numpy(digits.images) / MAX_GREY, torch.from_numpy(digits.target).long()


def to_data(image: torch.Tensor, label: torch.Tensor, patch: int, reach: int) -> Data:
    data = from_image(image, patch=patch, reach=reach)
    data.y = label.view(1)
    return data
