"""The example on two small villages: run on each process."""

import importlib
from dataclasses import replace
from pathlib import Path

import torch
from torch_geometric.data import Data

example = importlib.import_module("examples.one_graph_many_processes")
RECIPE = replace(example.RECIPE, layers=2, hidden_channels=8, epochs=6)


def villages(size=24, seed=0):
    """Two rings with chords, a word of the village at every third node."""
    edges, words = [], []
    for node in range(2 * size):
        first = node - node % size
        edges += [(node, first + (node - first + step) % size) for step in (1, 4, size - 1, size - 4)]
        words.append(node // size if node % 3 == 0 else 2 + node % 5)
    place = torch.arange(2 * size) % 4
    masks = {"train_mask": place < 2, "val_mask": place == 2, "test_mask": place == 3}
    x = torch.nn.functional.one_hot(torch.tensor(words), 7).float()
    return Data(x, torch.tensor(edges).t().contiguous(), y=torch.arange(2 * size) // size, **masks)


def train(epochs=RECIPE.epochs, folder=None):
    result = example.train(villages(), replace(RECIPE, epochs=epochs), folder=None if folder is None else Path(folder))
    return {name: result[name] for name in ("loss", "test", "processes", "ranks")}


def train_in_two_parts(folder):
    """As a run that was cut off after three epochs."""
    cut_off = example.save_checkpoint

    def save(folder, model, optimizer, schedule, epoch, loss):
        cut_off(folder, model, optimizer, schedule, epoch, loss)
        if epoch == 3:
            raise KeyboardInterrupt

    example.save_checkpoint = save
    try:
        example.train(villages(), RECIPE, folder=Path(folder))
    except KeyboardInterrupt:
        pass
    finally:
        example.save_checkpoint = cut_off
    return sorted(path.name for path in Path(folder).iterdir())
