"""ToySentences: the rule of the label, and that words alone do not show it."""

import pytest
import torch
from torch_geometric.loader import DataLoader

from graphattn.datasets.sentences import BLAME, PRAISE, ToySentences
from graphattn.graphs import CompleteGraph, causal
from graphattn.transforms import Causal


@pytest.fixture(scope="module")
def splits():
    return {split: ToySentences(split) for split in ("train", "test")}


def rule(words):
    """Praise or blame, turned round by a "not" between the verb "was" and the opinion."""
    [opinion] = [place for place, word in enumerate(words) if word in PRAISE + BLAME]
    negated = "not" in words[words.index("was") : opinion]
    return int((words[opinion] in PRAISE) != negated)


def test_every_label_follows_the_rule(splits):
    for dataset in splits.values():
        assert [data.y.item() for data in dataset] == [rule(data.tokens) for data in dataset]
        assert all(data.tokens.count("not") == 1 for data in dataset)


def test_sizes_and_balance(splits):
    assert {split: len(dataset) for split, dataset in splits.items()} == {"train": 400, "test": 200}
    for dataset in splits.values():
        assert torch.bincount(dataset.y).tolist() == [len(dataset) // 2] * 2 and dataset.num_classes == 2


def test_no_test_sentence_is_trained_on_and_no_test_word_is_unknown(splits):
    train, test = ([" ".join(data.tokens) for data in splits[split]] for split in ("train", "test"))
    assert len(set(train) | set(test)) == 600
    assert all((data.x > 0).all() for data in splits["test"])


def test_single_words_do_not_tell(splits):
    """Each word is as common in praise as in blame, within what 400 draws allow (5 standard deviations)."""
    train = splits["train"]
    for index in range(1, len(train.vocabulary)):
        labels = torch.tensor([data.y.item() for data in train if (data.x == index).any()], dtype=torch.float)
        assert abs(labels.mean() - 0.5) < 5 * 0.5 / len(labels) ** 0.5, train.vocabulary.tokens[index]


def test_nodes_are_words(splits):
    data = splits["train"][3]
    assert [splits["train"].vocabulary.tokens[index] for index in data.x] == data.tokens
    assert data.graph == CompleteGraph(len(data.tokens)) and data.pos.shape == (len(data.tokens), 1)


def test_always_the_same(splits):
    again = ToySentences("test")
    assert [data.tokens for data in again] == [data.tokens for data in splits["test"]]


def test_transform_and_batches():
    dataset = ToySentences("test", transform=Causal())
    batch = next(iter(DataLoader(dataset, batch_size=5)))
    assert batch.graph == [causal(len(data.tokens)) for data in dataset[:5]]
    assert batch.y.shape == (5,) and batch.x.shape == (sum(len(tokens) for tokens in batch.tokens),)


def test_bad_split():
    with pytest.raises(ValueError, match=r"'split' needs to be 'train' or 'test' \(got 'dev'\)"):
        ToySentences("dev")
