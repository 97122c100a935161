"""Digits: the images of scikit-learn, pixel by pixel."""

import pytest
import torch
from torch_geometric.loader import DataLoader

from graphattn.datasets.digits import Digits
from graphattn.graphs import GridGraph

sklearn_datasets = pytest.importorskip("sklearn.datasets")


def test_images_in_the_order_of_scikit_learn():
    images, labels = sklearn_datasets.load_digits(return_X_y=True)
    train, test = Digits("train"), Digits("test")
    assert (len(train), len(test)) == (1197, 600) and train.num_classes == 10
    for place, data in ((0, train[0]), (1196, train[-1]), (1197, test[0]), (1796, test[-1])):
        assert (16 * data.x[:, 0]).tolist() == images[place].tolist() and data.y.item() == labels[place]
    assert train.x.min() == 0 and train.x.max() == 1


def test_nodes_are_pixels_of_a_grid():
    data = Digits("test")[0]
    assert data.graph == GridGraph((8, 8), 1) and data.sides == (8, 8) and data.pos[9].tolist() == [1.0, 1.0]


def test_patches_and_reach():
    data = Digits("test", patch=2, reach=3)[0]
    assert data.x.shape == (16, 4) and data.graph == GridGraph((4, 4), 3)


def test_batches():
    batch = next(iter(DataLoader(Digits("test"), batch_size=4)))
    assert (
        batch.x.shape == (256, 1)
        and batch.graph == [GridGraph((8, 8), 1)] * 4
        and torch.equal(batch.y, Digits("test").y[:4])
    )


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"'split' needs to be 'train' or 'test' \(got 'all'\)"):
        Digits("all")
    with pytest.raises(ValueError, match=r"does not divide into patches of \[3, 3\]"):
        Digits(patch=3)
