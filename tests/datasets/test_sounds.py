"""ToySounds: the contours are heard in the frames, and the spectra of the classes agree."""

import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader

from graphattn.datasets.sounds import CONTOURS, SAMPLE_RATE, ToySounds
from graphattn.graphs import BandedGraph, CompleteGraph
from graphattn.inputs import from_waveform
from graphattn.transforms import Complete


@pytest.fixture(scope="module")
def sounds():
    return ToySounds("test", keep_waveform=True)


def test_sizes_and_balance(sounds):
    assert len(sounds) == 200 and len(ToySounds("train")) == 400
    assert torch.bincount(sounds.y).tolist() == [50] * 4 and sounds.num_classes == 4 == len(sounds.classes)
    assert all(0.3 * SAMPLE_RATE - 1 <= len(data.waveform) <= 0.6 * SAMPLE_RATE for data in sounds)
    assert all(28 <= data.num_nodes <= 58 for data in sounds)


def test_pitch_follows_the_contour(sounds):
    """The strongest mel band of clean frames goes up and down as the name says."""
    for data in sounds[:40]:
        band = from_waveform(data.waveform, SAMPLE_RATE).x.argmax(1).float()
        first, middle, last = band[0], band[len(band) // 2 - 1 : len(band) // 2 + 2].median(), band[-1]
        name = sounds.classes[data.y]
        assert {
            "rising": first < middle < last,
            "falling": first > middle > last,
            "peak": first < middle > last,
            "valley": first > middle < last,
        }[name], name


def test_contours_spend_the_same_time_at_every_pitch():
    time = np.linspace(0, 1, 10001)
    for contour in CONTOURS.values():
        counts, _ = np.histogram(contour(time), bins=10, range=(0, 1))
        np.testing.assert_allclose(counts, 1000, atol=3)


def test_average_frames_do_not_tell_the_class():
    """The nearest class mean, on the mean and deviation of the frames, is right no more often than chance allows."""

    def summary(split):
        dataset = ToySounds(split, keep_waveform=True)
        x = [from_waveform(data.waveform, SAMPLE_RATE).x for data in dataset]
        return torch.stack([torch.cat([frames.mean(0), frames.std(0)]) for frames in x]), dataset.y

    (train, y), (test, target) = summary("train"), summary("test")
    means = torch.stack([train[y == label].mean(0) for label in range(4)])
    accuracy = (torch.cdist(test, means).argmin(1) == target).float().mean()
    assert accuracy < 0.25 + 5 * (0.25 * 0.75 / 200) ** 0.5


def test_nodes_are_frames(sounds):
    data = sounds[0]
    torch.testing.assert_close(
        data.x, from_waveform(data.waveform, SAMPLE_RATE, normalize=True).x, atol=1e-3, rtol=1e-3
    )
    assert data.graph == BandedGraph(data.num_nodes, 20, 20) and data.x.shape[1] == 40
    assert "waveform" not in ToySounds("test")[0]


def test_always_the_same(sounds):
    assert torch.equal(ToySounds("test")[7].x, sounds[7].x)


def test_transform_and_batches():
    batch = next(iter(DataLoader(ToySounds("test", transform=Complete()), batch_size=3)))
    assert batch.graph == [CompleteGraph(count) for count in batch.ptr.diff().tolist()] and batch.y.tolist() == [
        0,
        1,
        2,
    ]


def test_bad_split():
    with pytest.raises(ValueError, match=r"'split' needs to be 'train' or 'test' \(got None\)"):
        ToySounds(None)
