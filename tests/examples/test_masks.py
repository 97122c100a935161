"""Five masks on a treebank of a few sentences."""

import json

import pytest
import torch
from torch_geometric.data import Batch, Data

from examples import masks
from tests.examples.test_sequence_labeling import root  # noqa: F401  the same tiny treebank


def batch_of(*heads_of_sentences):
    """Sentences as lists of heads, 1 .. n, 0 for the root."""
    sentences = []
    for heads in heads_of_sentences:
        edges = [(head - 1, word) for word, head in enumerate(heads) if head]
        sentences.append(Data(edge_index=torch.tensor(edges).view(-1, 2).t(), num_nodes=len(heads)))
    return Batch.from_data_list(sentences)


HEADS = [[2, 0, 2, 3, 3], [0, 1, 2]]
SEEN = {  # by word i of a sentence of n words
    "alone": lambda i, n, heads: {i},
    "complete": lambda i, n, heads: set(range(n)),
    "causal": lambda i, n, heads: set(range(i + 1)),
    "band": lambda i, n, heads: {j for j in range(n) if abs(i - j) <= 2},
    "band+global": lambda i, n, heads: {j for j in range(n) if abs(i - j) <= 2 or not i or not j},
    "tree": lambda i, n, heads: {j for j in range(n) if heads[i] == j + 1 or heads[j] == i + 1 or i == j},
}


@pytest.mark.parametrize("mask", masks.MASKS)
def test_who_sees_whom(mask):
    seen, first = [], 0
    for heads in HEADS:
        seen += [{first + j for j in SEEN[mask](i, len(heads), heads)} for i in range(len(heads))]
        first += len(heads)
    graph = masks.MASKS[mask](batch_of(*HEADS))
    key, query = graph.edge_index()
    assert [set(key[query == word].tolist()) for word in range(first)] == seen
    assert graph.num_edges == sum(map(len, seen))  # no edge twice


def test_every_mask_is_trained_tested_and_drawn(root, capsys):  # noqa: F811
    small = ["--channels", "16", "--heads", "2", "--epochs", "2", "--batch-size", "8", "--seeds", "2", "--threads", "1"]
    results = masks.main(["--root", str(root), "--out", str(root / "out"), *small])
    assert list(results) == list(masks.MASKS) == list(json.loads((root / "out" / "masks.json").read_text()))
    assert all(len(result["accuracy"]) == 2 and max(result["accuracy"]) <= 100 for result in results.values())
    assert results["alone"]["edges"] == 1 and results["complete"]["edges"] > results["causal"]["edges"]
    printed = capsys.readouterr().out
    assert all(f"{mask} " in printed for mask in masks.MASKS)
    for name in ("masks", "masks_of_a_sentence"):
        assert (root / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
