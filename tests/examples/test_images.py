"""The example on two kinds of digits, in the files of MNIST."""

import pytest
import torch

from examples import images as example
from graphattn.datasets.mnist import MNIST
from tests.examples.digits import write_digits


@pytest.fixture
def network():
    torch.manual_seed(0)
    return example.ConvNet()


@pytest.mark.parametrize("key_channels", [0, 8])
def test_attention_starts_as_the_convolutions(network, key_channels):
    images = torch.randn(3, 1, 28, 28, dtype=torch.float64)
    attention = example.AttentionNet(network, key_channels).double()
    torch.testing.assert_close(attention(images), network.double()(images), rtol=1e-10, atol=1e-10)


def test_softened_heads_keep_72_per_cent_and_sum_to_1(network):
    weights = example.AttentionNet(network, 8).soften().attention(torch.randn(2, 1, 28, 28))
    assert [tuple(layer.shape[:4]) for layer in weights] == [(2, 14, 14, 9), (2, 7, 7, 9), (2, 7, 7, 9)]
    for layer in weights:
        windows = layer.flatten(4)
        torch.testing.assert_close(windows.sum(-1), torch.ones(windows.shape[:4]))
        own = windows.diagonal(dim1=3, dim2=4)
        assert own.min() == pytest.approx(0.715, abs=1e-3) and own.max() == pytest.approx(0.715, abs=1e-3)


def test_unequal_networks_are_told(network, tmp_path):
    write_digits(tmp_path)
    data = MNIST(tmp_path / "mnist", train=False)
    assert example.check_equal(network, example.AttentionNet(network, 8), data) < example.TOLERANCE
    with pytest.raises(RuntimeError, match="should be equal to 1e-05"):
        example.check_equal(network, example.AttentionNet(network, 8).soften(), data)


def test_batches_are_shuffled_epochs_cut_to_the_number_of_steps(tmp_path):
    write_digits(tmp_path, 10)
    data = MNIST(tmp_path / "mnist")
    data.labels = torch.arange(10)
    labels = [labels.tolist() for _, labels in example.batches(data, 4, num_steps=5, seed=3)]
    assert [len(each) for each in labels] == [4, 4, 2, 4, 4]
    first, second = [*labels[0], *labels[1], *labels[2]], [*labels[3], *labels[4]]
    assert sorted(first) == list(range(10)) and len(set(second)) == 8 and first[:8] != second
    assert labels == [labels.tolist() for _, labels in example.batches(data, 4, num_steps=5, seed=3)]


def test_tiles_lie_where_their_heads_look():
    tiles = example.tiles(torch.eye(9).view(9, 3, 3))
    assert tiles.nonzero().tolist() == [[row, column] for row in (0, 4, 8) for column in (0, 4, 8)]


def test_runs_from_files_to_pictures(tmp_path, capsys):
    write_digits(tmp_path)
    out = tmp_path / "pictures"
    arguments = ["--root", str(tmp_path), "--out", str(out), "--batch-size", "8", "--steps", "12", "--fine-tune", "6"]
    found = example.main(arguments)
    assert found[0].accuracy == found[1].accuracy >= 90  # the convolutions and the attention that equals them
    assert len(found) == 6 and all(each.accuracy >= 90 for each in found[3:])
    weights = found[-1].network.layers[0].lin_query.weight
    assert weights.abs().max() > 0  # the content has a say
    assert {path.name for path in out.glob("*.png")} == {"images_heads.png", "images_digits.png"}
    assert "largest difference of the scores of 48 images" in capsys.readouterr().out
