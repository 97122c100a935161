"""ToySounds: four glides that differ in nothing but the order of their frames."""

from collections.abc import Callable

import numpy as np
import torch
from torch_geometric.data import Data, InMemoryDataset

from graphattn.inputs import from_waveform

SAMPLE_RATE = 8000  # Hz
CONTOURS = {  # pitch between its lowest (0) and highest (1) value, at time 0 .. 1
    "rising": lambda time: time,
    "falling": lambda time: 1 - time,
    "peak": lambda time: 1 - np.abs(2 * time - 1),
    "valley": lambda time: np.abs(2 * time - 1),
}


def make_glide(contour: Callable[[np.ndarray], np.ndarray], random: np.random.Generator) -> np.ndarray:
    """A glide over about an octave with noise, float64 [samples], 0.3 to 0.6 s, amplitude 0.5."""
    samples = int(random.uniform(0.3, 0.6) * SAMPLE_RATE)
    lowest = random.uniform(300, 900)  # Hz
    octaves = random.uniform(0.8, 1.4)
    pitch = lowest * 2 ** (octaves * contour(np.linspace(0, 1, samples)))
    phase = 2 * np.pi * (random.uniform() + np.cumsum(pitch) / SAMPLE_RATE)
    return 0.5 * np.sin(phase) + random.normal(scale=random.uniform(0.02, 0.1), size=samples)


class ToySounds(InMemoryDataset):
    """600 synthetic glides in four classes of the same average spectrum: only the order of the frames tells them apart.

    A rising glide, a falling one, one that rises and falls, one that falls and rises: each is at every pitch for the
    same time. Pitch range, duration, phase and white noise are random.

    | attribute | meaning
    |-----------|--------
    | x         | [frames, 40] log-mel energies (graphattn.inputs.from_waveform), normalised per sound
    | pos       | [frames, 1] middle of the frame, in seconds
    | graph     | BandedGraph, 20 frames = 0.2 s to either side
    | waveform  | [samples], full scale 1, at 8000 Hz, with keep_waveform=True
    | y         | [1] int64: 0 rising, 1 falling, 2 peak, 3 valley; a quarter of the sounds each

    | split   | sounds | frames of a sound
    |---------|--------|------------------
    | 'train' | 400    | 28 .. 58
    | 'test'  | 200    | 28 .. 58

    Source: synthesised for graphattn when the object is made, always the same, no files.

    >>> dataset = ToySounds('test')
    >>> len(dataset), dataset[0].num_features
    (200, 40)
    """

    classes = tuple(CONTOURS)

    def __init__(
        self, split: str = "train", transform: Callable[[Data], Data] | None = None, keep_waveform: bool = False
    ):
        super().__init__(transform=transform)
        if split not in ("train", "test"):
            raise ValueError(f"'split' needs to be 'train' or 'test' (got {split!r})")
        random = np.random.default_rng(0 if split == "train" else 1)
        labels = np.arange(400 if split == "train" else 200) % len(CONTOURS)
        contours = list(CONTOURS.values())
        sounds = [make_glide(contours[label], random) for label in labels]
        self.data, self.slices = self.collate(
            [to_data(sound, int(label), keep_waveform) for sound, label in zip(sounds, labels)]
        )


def to_data(waveform: np.ndarray, label: int, keep_waveform: bool) -> Data:
    data = from_waveform(waveform, SAMPLE_RATE, normalize=True)
    data.y = torch.tensor([label])
    if keep_waveform:
        data.waveform = torch.from_numpy(waveform).float()
    return data
