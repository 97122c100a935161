import gzip
import struct

import pytest
import torch

from graphattn.datasets import mnist
from graphattn.datasets.mnist import MNIST

pytestmark = pytest.mark.usefixtures("any_sum")
IMAGES = torch.tensor([[[0, 1, 2], [3, 4, 255]], [[9, 8, 7], [6, 5, 128]]], dtype=torch.uint8)  # 2 images of 2 x 3
LABELS = torch.tensor([7, 0], dtype=torch.uint8)


def idx_bytes(tensor):
    sizes = struct.pack(f">{tensor.dim()}I", *tensor.shape)
    return bytes([0, 0, 8, tensor.dim()]) + sizes + bytes(tensor.flatten().tolist())


def write(folder, images=IMAGES, labels=LABELS, part="train"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in {f"{part}-images-idx3-ubyte.gz": images, f"{part}-labels-idx1-ubyte.gz": labels}.items():
        (folder / name).write_bytes(gzip.compress(idx_bytes(tensor)))


@pytest.mark.parametrize("raw", ["raw", "MNIST/raw"])
def test_reads_gzipped_files_of_either_layout(tmp_path, raw):
    write(tmp_path / raw)
    dataset = MNIST(tmp_path)
    assert torch.equal(dataset.images, IMAGES) and dataset.images.dtype == torch.uint8
    assert torch.equal(dataset.labels, LABELS.long()) and dataset.labels.dtype == torch.int64
    assert len(dataset) == 2 and str(dataset) == "MNIST(2, train=True)"
    image, label = dataset[1]
    assert torch.equal(image, IMAGES[1]) and label == 0


def test_reads_unpacked_files(tmp_path):
    write(tmp_path / "raw")
    for path in (tmp_path / "raw").glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert torch.equal(MNIST(str(tmp_path)).images, IMAGES)


def test_train_and_test_are_different_files(tmp_path):
    write(tmp_path / "raw")
    write(tmp_path / "raw", images=IMAGES[:1] + 1, labels=LABELS[:1], part="t10k")
    assert torch.equal(MNIST(tmp_path, train=False).images, IMAGES[:1] + 1)
    assert len(MNIST(tmp_path, train=True)) == 2


def test_images_may_be_written_to(tmp_path):
    write(tmp_path / "raw")
    MNIST(tmp_path).images.zero_()
    assert torch.equal(MNIST(tmp_path).images, IMAGES)


@pytest.mark.parametrize("kept", [0, 5, -1])
def test_truncated_gzip_raises(tmp_path, kept):
    write(tmp_path / "raw")
    path = tmp_path / "raw" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz.*delete it"):
        MNIST(tmp_path)


@pytest.mark.parametrize("kept", [3, 4, 10, 16, -1])
def test_truncated_idx_raises(tmp_path, kept):
    write(tmp_path / "raw")
    (tmp_path / "raw" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(IMAGES)[:kept]))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz"):
        MNIST(tmp_path)


def test_bytes_left_over_raise(tmp_path):
    write(tmp_path / "raw")
    (tmp_path / "raw" / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(LABELS) + b"\0"))
    with pytest.raises(ValueError, match=r"should hold 10 bytes for the sizes \[2\] \(got 11\)"):
        MNIST(tmp_path)


def test_another_number_of_axes_raises(tmp_path):
    write(tmp_path / "raw", images=LABELS)
    with pytest.raises(ValueError, match=r"should begin with \[0, 0, 8, 3\].*got \[0, 0, 8, 1\]"):
        MNIST(tmp_path)


def test_unequal_lengths_raise(tmp_path):
    write(tmp_path / "raw", labels=torch.tensor([1, 2, 3], dtype=torch.uint8))
    with pytest.raises(ValueError, match="got 2 images and 3 labels"):
        MNIST(tmp_path)


def test_missing_files_are_downloaded_once(tmp_path, serve):
    write(tmp_path / "source")
    asked = serve({path.name: path.read_bytes() for path in (tmp_path / "source").iterdir()})
    for _ in range(2):
        assert torch.equal(MNIST(tmp_path / "root").images, IMAGES)
    assert asked == [f"{mnist.URL}/train-{part}-ubyte.gz" for part in ("images-idx3", "labels-idx1")]
