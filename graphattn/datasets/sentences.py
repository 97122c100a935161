"""ToySentences: which part of the sentence does the "not" belong to?"""

import random
from collections.abc import Callable

import torch
from torch_geometric.data import Data, InMemoryDataset

from graphattn.inputs import Vocabulary, from_text

THINGS = ("film", "soup", "hotel", "song", "book", "party")
PRAISE = ("good", "lovely", "great", "clever")
BLAME = ("bad", "awful", "boring", "ugly")
ADVERBS = ("", "very", "really")
PEOPLE = ("we", "they", "you")
DEEDS = ("wait", "pay", "stay", "laugh", "talk", "hurry")
JOINTS = ("and", "but")


def sentiment_clause(random_words: random.Random, negated: bool) -> tuple[str, bool]:
    """A clause such as "the soup was not very good", and whether it praises."""
    praises = random_words.random() < 0.5
    adjective = random_words.choice(PRAISE if praises else BLAME)
    words = ["the", random_words.choice(THINGS), "was", "not" * negated, random_words.choice(ADVERBS), adjective]
    return " ".join(filter(None, words)), praises != negated


def neutral_clause(random_words: random.Random, negated: bool) -> str:
    """A clause such as "they did not wait long"."""
    words = [random_words.choice(PEOPLE), "did", "not" * negated, random_words.choice(DEEDS)]
    return " ".join(filter(None, words))


def make_sentence(random_words: random.Random) -> tuple[str, int]:
    """A sentence with exactly one "not", in one of its two clauses, and its sentiment: 1 praise, 0 blame."""
    not_in_sentiment = random_words.random() < 0.5
    opinion, praises = sentiment_clause(random_words, not_in_sentiment)
    clauses = [opinion, neutral_clause(random_words, not not_in_sentiment)]
    random_words.shuffle(clauses)
    return f" {random_words.choice(JOINTS)} ".join(clauses), int(praises)


def make_sentences(count: int, seed: int) -> list[tuple[str, int]]:
    """Different sentences, blame and praise in turn."""
    random_words = random.Random(seed)
    sentences: dict[str, int] = {}
    while len(sentences) < count:
        sentence, label = make_sentence(random_words)
        if label == len(sentences) % 2:
            sentences.setdefault(sentence, label)
    return list(sentences.items())


class ToySentences(InMemoryDataset):
    """600 made-up sentences to be sorted into praise and blame, by a rule that single words do not show.

    Every sentence has one opinion ("the soup was good"), one neutral clause ("they did wait") and one "not" in one of
    them, so the words and their number say nothing about the label: what counts is which verb the "not" follows.

    | attribute | meaning
    |-----------|--------
    | x         | [N] int64, index of each word in `vocabulary`
    | pos       | [N, 1] place of the word
    | graph     | CompleteGraph(N)
    | tokens    | the words
    | y         | [1] int64: 1 praise, 0 blame; half of the sentences each

    | split   | sentences |
    |---------|-----------|--------
    | 'train' | 400       | different from those of the other split
    | 'test'  | 200       |

    Source: written for graphattn; made when the object is made, always the same, no files.

    >>> dataset = ToySentences('train')
    >>> len(dataset), ' '.join(dataset[0].tokens), dataset[0].y.item()
    (400, 'the film was very ugly but you did not laugh', 0)
    """

    classes = ("blame", "praise")

    def __init__(self, split: str = "train", transform: Callable[[Data], Data] | None = None):
        super().__init__(transform=transform)
        if split not in ("train", "test"):
            raise ValueError(f"'split' needs to be 'train' or 'test' (got {split!r})")
        sentences = make_sentences(600, seed=0)
        chosen = sentences[:400] if split == "train" else sentences[400:]
        self.vocabulary = Vocabulary.from_sentences(sentence for sentence, _ in sentences[:400])
        self.data, self.slices = self.collate([self.to_data(*pair) for pair in chosen])

    def to_data(self, sentence: str, label: int) -> Data:
        data = from_text(sentence, self.vocabulary)
        data.y = torch.tensor([label])
        return data
