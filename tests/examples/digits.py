"""Digits of two kinds, in the files of MNIST."""

import gzip
import struct
from pathlib import Path

import torch


def write_digits(root: Path, num_images: int = 48) -> None:
    """Ink on the left (label 0) or on the right (label 1), in idx files for training and test; all images differ."""
    raw = root / "mnist" / "raw"
    raw.mkdir(parents=True)
    labels = torch.arange(num_images) % 2
    images = torch.arange(num_images * 784).view(num_images, 28, 28) % 59
    images[labels == 0, 4:24, 4:10] = 255
    images[labels == 1, 4:24, 18:24] = 255
    for part in ("train", "t10k"):
        for kind, tensor in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, tensor.dim()]) + struct.pack(f">{tensor.dim()}I", *tensor.shape)
            content = header + bytes(tensor.flatten().tolist())
            (raw / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
