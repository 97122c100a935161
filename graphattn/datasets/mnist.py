"""MNIST: images of handwritten digits."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from graphattn.datasets.download import download, read_checked

URL = "https://ossci-datasets.s3.amazonaws.com/mnist"

# sha256 of the gzip files, as the address above serves them, and of what is in them
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class MNIST(Dataset):
    """Handwritten digits: 60,000 training and 10,000 test images of 28 x 28 pixels, 10 classes.

    "Gradient-based learning applied to document recognition", LeCun et al., Proc. IEEE 86 (1998).

    | tensor | type | meaning |
    |---|---|---|
    | images | uint8, `[num_images, height, width]` | 0 = paper, 255 = ink |
    | labels | int64, `[num_images]` | the digit, 0 to 9 |

    Args:
        root: folder with the four idx files, gzipped or unpacked, in `root/raw` or `root/MNIST/raw`
            (torchvision's layout). Files that are in neither are downloaded to `root/raw`. All are checked.
        train: the training images, else the test images.

    `dataset[i]` is `(image, label)`. A file of another sha256 raises `ValueError`.
    """

    num_classes = 10

    def __init__(self, root: str | Path, train: bool = True):
        self.root, self.train = Path(root), train
        part = "train" if train else "t10k"
        self.images = self._read(f"{part}-images-idx3-ubyte.gz", num_axes=3)
        self.labels = self._read(f"{part}-labels-idx1-ubyte.gz", num_axes=1).long()
        if len(self.images) != len(self.labels):
            raise ValueError(
                f"'images' and 'labels' need the same length (got {len(self.images)} images and"
                f" {len(self.labels)} labels in '{self.root}'); delete the files to download them again"
            )

    def _find(self, name: str) -> Path:
        folders = [self.root / "raw", self.root / "MNIST" / "raw"]
        candidates = [folder / spelling for folder in folders for spelling in (name, name.removesuffix(".gz"))]
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            found = folders[0] / name
            download(f"{URL}/{name}", found, SHA256[name])
        return found

    def _read(self, name: str, num_axes: int) -> Tensor:
        path = self._find(name)
        content = read_checked(path, SHA256[path.name], f"{URL}/{name}")
        return parse_idx(unpacked(content, path), num_axes, path)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)}, train={self.train})"


def parse_idx(content: bytes, num_axes: int, path: str | Path) -> Tensor:
    """The array of an idx file of unsigned bytes, as uint8 with `num_axes` axes; `path` is for the error messages.

    Format: two zero bytes, the type (8 = unsigned byte), the number of axes, the size of each axis as a
    big-endian 32-bit integer, then the bytes in C order.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 6, 7]), num_axes=1, path="labels")
    tensor([5, 6, 7], dtype=torch.uint8)
    """
    start = 4 + 4 * num_axes
    if content[:4] != bytes([0, 0, 8, num_axes]):
        raise ValueError(
            f"'{path}' should begin with {[0, 0, 8, num_axes]}, an idx file of bytes with {num_axes} axes"
            f" (got {list(content[:4])}); delete it to download it again"
        )
    sizes = [int.from_bytes(content[place : place + 4], "big") for place in range(4, start, 4)]
    expected = start + math.prod(sizes)
    if len(content) < start or len(content) != expected:
        raise ValueError(
            f"'{path}' should hold {expected} bytes for the sizes {sizes} (got {len(content)});"
            " it is truncated or damaged: delete it to download it again"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[start:].view(sizes)


def unpacked(content: bytes, path: Path) -> bytes:
    """The content of a file, unpacked if the name ends in ``.gz``."""
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"'{path}' does not unpack (got '{error}'); it is truncated or damaged: delete it to download it again"
        ) from error
