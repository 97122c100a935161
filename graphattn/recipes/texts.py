"""Texts and what stands for their words in a model."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.inputs import Vocabulary
from graphattn.recipes.models.words import buckets


def tokens_of(data: Data) -> list[str] | None:
    """The words of an example of text, None if it is none."""
    for name in ("tokens", "words"):
        found = data.get(name)
        if isinstance(found, (list, tuple)) and all(isinstance(token, str) for token in found):
            if len(found) != data.num_nodes:
                raise ValueError(f"'{name}' must name the {data.num_nodes} nodes of its example (got {len(found)})")
            return list(found)
    return None


def word_rows(
    tokens: Sequence[str], vocabulary: Vocabulary, parts_of: Callable[[str], list[str]], lower: bool
) -> Tensor:
    """int64 [num_tokens, 1 + parts]: the place of each word in the vocabulary, then the buckets of its parts."""
    known = (vocabulary.index_of(token.lower() if lower else token) for token in tokens)
    return torch.tensor([[place, *buckets(token, parts_of)] for place, token in zip(known, tokens, strict=True)])


def check_kind(examples: Sequence[Data]) -> bool:
    """Whether the examples are texts, which all of them or none must be."""
    are_texts = [tokens_of(data) is not None for data in examples]
    if any(are_texts) and not all(are_texts):
        raise ValueError(
            f"example {are_texts.index(not are_texts[0])} and example 0 are of two kinds: one has 'tokens', the other has not;"
            " train on texts or on features"
        )
    return are_texts[0]


@lru_cache(maxsize=8)
def vocabulary_of(words: tuple[str, ...]) -> Vocabulary:
    """The vocabulary of these words, made once."""
    return Vocabulary(words)
