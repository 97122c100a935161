"""Tokenizers of Hugging Face, which number tokens themselves: `tokenizers.Tokenizer` and those of `transformers`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Subwords(NamedTuple):
    """One sentence as such a tokenizer has it, without padding."""

    ids: Tensor  # [num_tokens] int64
    tokens: list[str]
    offsets: (
        Tensor | None
    )  # [num_tokens, 2], the first character of each token and the one behind it; None if not known


def numbers_tokens(tokenizer: Any) -> bool:
    """Whether a tokenizer gives ids of its own, and not just the tokens of a text."""
    return is_fast(tokenizer) or is_of_transformers(tokenizer)


def is_fast(tokenizer: Any) -> bool:
    return all(hasattr(tokenizer, name) for name in ("encode_batch", "id_to_token", "get_vocab_size"))


def is_of_transformers(tokenizer: Any) -> bool:
    return all(hasattr(tokenizer, name) for name in ("convert_ids_to_tokens", "get_vocab", "is_fast"))


def vocabulary_size(tokenizer: Any) -> int:
    """All ids are below it."""
    return tokenizer.get_vocab_size() if is_fast(tokenizer) else len(tokenizer)


def subwords_of(tokenizer: Any, text: str | Sequence[str]) -> Subwords:
    """The tokens of a sentence (str), or of one that is split into words already (list of str)."""
    is_split = not isinstance(text, str)
    if is_fast(tokenizer):
        encoding = tokenizer.encode(list(text) if is_split else text, is_pretokenized=is_split)
        ids, mask, tokens, offsets = encoding.ids, encoding.attention_mask, encoding.tokens, encoding.offsets
    else:
        asked = {"return_offsets_mapping": True} if tokenizer.is_fast else {}
        encoding = tokenizer(
            list(text) if is_split else text, is_split_into_words=is_split, return_attention_mask=True, **asked
        )
        ids, mask, offsets = encoding["input_ids"], encoding["attention_mask"], encoding.get("offset_mapping")
        tokens = tokenizer.convert_ids_to_tokens(ids)
    is_token = torch.tensor(mask, dtype=torch.bool)
    places = None if offsets is None else torch.tensor(offsets, dtype=torch.int64).reshape(-1, 2)[is_token]
    kept = [token for token, is_one in zip(tokens, mask, strict=True) if is_one]
    return Subwords(torch.tensor(ids, dtype=torch.int64)[is_token], kept, places)
