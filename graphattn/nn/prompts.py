"""What a user begins and ends texts with, checked."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs.sizes import is_sequence, parse_integer
from graphattn.nn.embedding import check_tokens


def parse_ends(end: Any) -> frozenset[int]:
    """The tokens after which a text ends."""
    if end is None:
        return frozenset()
    entries = end.tolist() if isinstance(end, (Tensor, np.ndarray)) and end.ndim == 1 else end
    entries = entries if is_sequence(entries) or isinstance(entries, (set, frozenset)) else [entries]
    ends = frozenset(parse_integer("end", token, minimum=None) for token in entries)
    if not ends:
        raise ValueError(f"'end' must be a token or several (got {end!r}); None is none")
    return ends


def parse_prompts(prompts: Any, max_length: int) -> list[Tensor]:
    """Checked prompts, in int64 as what is written behind them."""
    max_length = parse_integer("max_length", max_length, minimum=1)
    if isinstance(prompts, Tensor) and prompts.dim() < 2:
        raise ValueError(
            f"'prompts' must be a list of tensors of tokens [num_tokens] (got a tensor {list(prompts.shape)}); of a single one"
            " write [prompt]"
        )
    prompts = list(prompts)
    for prompt in prompts:
        if not isinstance(prompt, Tensor):
            raise TypeError(
                f"'prompts' must be a list of tensors of tokens [num_tokens] (got one of {type(prompt).__name__})"
            )
        check_tokens(prompt)
    lengths = [len(prompt) for prompt in prompts]
    if any(not 1 <= length < max_length for length in lengths):
        raise ValueError(f"prompts must have 1 .. max_length - 1 = {max_length - 1} tokens (got {lengths})")
    return [prompt.long() for prompt in prompts]


def check_known(ends: frozenset[int], prompts: list[Tensor], num_tokens: int | None) -> None:
    """Whether all tokens that a user names are among those of the model, where it says how many it has."""
    if num_tokens is None:
        return
    if any(not 0 <= token < num_tokens for token in ends):
        raise ValueError(f"'end' must be one of the tokens 0 .. {num_tokens - 1} (got {sorted(ends)})")
    if prompts:
        least, most = (int(bound) for bound in torch.cat(prompts).aminmax())
        if least < 0 or most >= num_tokens:
            raise ValueError(f"prompts must hold tokens 0 .. {num_tokens - 1} (got {least if least < 0 else most})")
