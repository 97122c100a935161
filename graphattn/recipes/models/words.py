"""Words as vectors of their own and of their parts, so that unknown words are not unknown."""

import zlib
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn

from graphattn.nn import Dropout

NUM_BUCKETS = 20_000  # of hashed parts of words


def shape_of(word: str) -> str:
    """Capitals, letters and digits as X, x, 9, other characters as they are, at most two alike in a row.

    >>> shape_of('McDonald'), shape_of('1990s'), shape_of('e-mail')
    ('XxXxx', '99x', 'x-xx')
    """
    kinds = ""
    for character in word:
        kind = "X" if character.isupper() else "x" if character.islower() else "9" if character.isdigit() else character
        kinds += kind if kinds[-2:] != 2 * kind else ""
    return kinds


def ends_of(word: str) -> list[str]:
    """Beginnings of 3 to 5 letters and ends of 3 and 4, always 5 strings.

    >>> ends_of("films")
    ['<fil', '<film', '<films', 'lms>', 'ilms>']
    """
    marked = f"<{word}>"
    return [*(marked[:length] for length in (4, 5, 6)), *(marked[-length:] for length in (4, 5))]


def ends_and_shape_of(word: str) -> list[str]:
    """Beginnings and ends of the lower-cased word, and its shape: always 10 strings."""
    marked = f"<{word.lower()}>"
    prefixes = [f"prefix {marked[:length]}" for length in range(2, 6)]
    suffixes = [f"suffix {marked[-length:]}" for length in range(2, 7)]
    return [*prefixes, *suffixes, f"shape {shape_of(word)}"]


@cache
def buckets(word: str, parts_of: Callable[[str], list[str]]) -> list[int]:
    """Where the parts of a word stand in a table: the same in every run, as `hash()` is not."""
    return [zlib.crc32(part.encode()) % NUM_BUCKETS for part in parts_of(word)]


class WordEmbedding(nn.Module):
    """The sum of a vector of each word and of vectors of its parts.

    Args:
        num_words: Of the vocabulary; index 0 is the unknown word.
        channels: Size of the vectors.
        stds: Of the vectors of words and of parts, at first.
        dropout: Of the sum.
        word_dropout: Share of words that are left out in training; those of a tagger become unknown.
        for_tags: Whether the sum is normalised, and words that are left out keep their parts.

    Shapes:
        - x: int64 [num_nodes, 1 + parts], places in the vocabulary and the buckets
        - output: [num_nodes, channels]
    """

    def __init__(
        self,
        num_words: int,
        channels: int,
        stds: tuple[float, float],
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        for_tags: bool = False,
    ):
        super().__init__()
        self.word, self.parts = nn.Embedding(num_words, channels), nn.EmbeddingBag(NUM_BUCKETS, channels, mode="sum")
        nn.init.normal_(self.word.weight, std=stds[0])
        nn.init.normal_(self.parts.weight, std=stds[1])
        self.norm = nn.LayerNorm(channels) if for_tags else None
        self.dropout, self.word_dropout = Dropout(dropout), word_dropout

    def forward(self, x: Tensor) -> Tensor:
        word, parts = x[:, 0], x[:, 1:]
        if self.norm is not None:
            if (
                self.training
            ):  # some words become the unknown one (index 0), so that its vector and the parts are trained
                word = word * (torch.rand(word.shape, device=word.device) >= self.word_dropout)
            return self.dropout(self.norm(self.word(word) + self.parts(parts)))
        embedded = self.word(word) + self.parts(parts)
        if self.training:  # a text should be told by more than one word
            embedded = embedded * (torch.rand(len(x), 1, device=x.device) >= self.word_dropout)
        return self.dropout(embedded)

    def vectors(self) -> list[nn.Parameter]:
        return [self.get_parameter("word.weight"), self.get_parameter("parts.weight")]


WORDS_OF_TEXT = partial(WordEmbedding, stds=(0.1, 0.05))
WORDS_OF_TAGS = partial(WordEmbedding, stds=(0.3, 0.1), for_tags=True)
