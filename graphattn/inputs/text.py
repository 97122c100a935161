"""Text: the words of a sentence are the nodes; by default every word attends to every word."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch_geometric.data import Data

from graphattn.graphs import CompleteGraph
from graphattn.graphs.sizes import parse_integer
from graphattn.inputs.assemble import GraphChoice, assemble, choose_graph
from graphattn.inputs.subwords import Subwords, numbers_tokens, subwords_of, vocabulary_size

UNKNOWN = "<unk>"
Tokenizer = Callable[[str], Iterable[str]] | Any  # or one of Hugging Face


class Vocabulary:
    """The known tokens in a fixed order; every other token has the index of the unknown token, 0.

    `list(vocabulary)` is a plain list of str and `Vocabulary(tokens)` restores it, so any text file can keep one.

    >>> vocabulary = Vocabulary.from_sentences(['a cat', 'a dog'])
    >>> vocabulary
    Vocabulary(4 tokens)
    >>> list(vocabulary)
    ['<unk>', 'a', 'cat', 'dog']
    >>> vocabulary.index_of('dog'), vocabulary.index_of('bird')
    (3, 0)
    """

    def __init__(self, tokens: Iterable[str]):
        known = check_tokens(tokens)
        self.tokens = [UNKNOWN] + [token for token in dict.fromkeys(known) if token != UNKNOWN]
        self._index = {token: index for index, token in enumerate(self.tokens)}

    @classmethod
    def from_sentences(
        cls,
        sentences: Iterable[str | Sequence[str]],
        tokenizer: Callable[[str], Iterable[str]] = str.split,
        min_count: int = 1,
        max_size: int | None = None,
    ) -> "Vocabulary":
        """The tokens seen at least min_count times, the most frequent first (ties: the one seen first).

        max_size bounds the length with the unknown token included, so it is the size of an embedding table.
        """
        if isinstance(sentences, str):
            raise TypeError("'sentences' needs to be several sentences (got one str); pass [sentence]")
        if max_size is not None and parse_integer("max_size", max_size, minimum=None) < 1:
            raise ValueError(f"'max_size' counts the unknown token and needs to be 1 or more (got {max_size})")
        counts = Counter(token for sentence in sentences for token in tokenize(sentence, tokenizer))
        counts.pop(UNKNOWN, None)  # it has its place already
        frequent = [token for token, count in counts.most_common() if count >= min_count]
        return cls(frequent if max_size is None else frequent[: max_size - 1])

    def index_of(self, token: str) -> int:
        """0 for a token that is not known."""
        if not isinstance(token, str):
            raise TypeError(f"a token needs to be a str (got {token!r} of type {type(token).__name__})")
        return self._index.get(token, 0)

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(tuple(self.tokens))

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens)"


def check_tokens(tokens: Iterable[str]) -> list[str]:
    """The tokens as a list, all of them str."""
    if isinstance(tokens, str):
        raise TypeError(f"'tokens' needs to be a sequence of str (got the str {tokens!r}); split it first")
    tokens = [str(token) if isinstance(token, np.str_) else token for token in tokens]
    for token in tokens:
        if not isinstance(token, str):
            raise TypeError(f"every token needs to be a str (got {token!r} of type {type(token).__name__})")
    return tokens


def tokenize(text: str | Sequence[str], tokenizer: Callable[[str], Iterable[str]] = str.split) -> list[str]:
    """The tokens of a text; a sequence of str counts as tokenized already.

    >>> tokenize('the cat'), tokenize(['the', 'cat']), tokenize('cat', tokenizer=list)
    (['the', 'cat'], ['the', 'cat'], ['c', 'a', 't'])
    """
    if isinstance(text, str):
        return check_tokens(call(tokenizer, text))
    if is_list(text):
        return check_tokens(text)
    raise TypeError(f"'text' needs to be a str or a sequence of str (got {type(text).__name__})")


def call(tokenizer: Callable[[str], Iterable[str]], text: str) -> Iterable[str]:
    """The tokens that a tokenizer makes of a text; TypeError if it gives no sequence."""
    tokens = tokenizer(text)
    if not isinstance(tokens, Iterable):
        raise TypeError(f"'tokenizer' needs to give a sequence of str (got {tokens!r} for {text!r})")
    return tokens


def is_list(text: Any) -> bool:
    """Whether this holds tokens or sentences in an order."""
    return (isinstance(text, np.ndarray) and text.ndim == 1) or (
        isinstance(text, Sequence) and not isinstance(text, str | bytes | bytearray)
    )


def are_sentences(text: Any, tokenizer: Callable[[str], Iterable[str]], tokenized: bool | None) -> bool:
    """Whether a text is several sentences: a list of lists, or of str that are said not to be tokens, or cannot all be.

    >>> are_sentences(['the cat', 'a dog'], str.split, None), are_sentences(['the', 'cat'], str.split, None)
    (True, False)
    """
    if not is_list(text) or len(text) == 0:
        return False
    if any(is_list(entry) for entry in text):
        return True
    if tokenized is not None or not all(isinstance(entry, str) for entry in text):
        return tokenized is False
    split = [entry for entry in text if len(list(call(tokenizer, entry))) != 1]
    if split and len(split) < len(text):
        warnings.warn(
            f"'text' is read as the {len(text)} tokens of one sentence, though the tokenizer would split "
            f"{split[0]!r}; pass tokenized=False if it is several sentences, tokenized=True if it is one",
            stacklevel=3,
        )
    return len(split) == len(text)


@overload
def from_text(
    text: str,
    vocabulary: Vocabulary | None = None,
    tokenizer: Tokenizer = str.split,
    one_hot: bool = False,
    graph: GraphChoice = None,
    edge_index: bool = False,
    tokenized: bool | None = None,
) -> Data: ...


@overload
def from_text(
    text: Sequence[Sequence[str]],
    vocabulary: Vocabulary | None = None,
    tokenizer: Tokenizer = str.split,
    one_hot: bool = False,
    graph: GraphChoice = None,
    edge_index: bool = False,
    *,
    tokenized: Literal[False],
) -> list[Data]: ...


@overload
def from_text(
    text: Sequence[str],
    vocabulary: Vocabulary | None = None,
    tokenizer: Tokenizer = str.split,
    one_hot: bool = False,
    graph: GraphChoice = None,
    edge_index: bool = False,
    *,
    tokenized: Literal[True],
) -> Data: ...


@overload
def from_text(
    text: Sequence[Sequence[str]],
    vocabulary: Vocabulary | None = None,
    tokenizer: Tokenizer = str.split,
    one_hot: bool = False,
    graph: GraphChoice = None,
    edge_index: bool = False,
    tokenized: bool | None = None,
) -> Data | list[Data]: ...


def from_text(
    text: str | Sequence[str] | Sequence[Sequence[str]],
    vocabulary: Vocabulary | None = None,
    tokenizer: Tokenizer = str.split,
    one_hot: bool = False,
    graph: GraphChoice = None,
    edge_index: bool = False,
    tokenized: bool | None = None,
) -> Data | list[Data]:
    """A sentence as a graph over its tokens, or several sentences as a list of such graphs.

    | attribute | shape                | meaning
    |-----------|----------------------|--------
    | x         | [N] int64            | index in the vocabulary, for an embedding
    |           | [N, len(vocabulary)] | the same as float32 one-hot rows, with one_hot=True
    | pos       | [N, 1]               | place in the sentence, in tokens from 0
    |           | [N, 2]               | first character of a token and the one behind it, of a tokenizer of Hugging Face
    | tokens    | list of N str        | the tokens themselves
    | graph     | N nodes              | complete, or `graph`: a Graph or a function such as graphattn.causal

    Args:
        text: a sentence (str), the tokens of one (list of str), or a list of several, each a str or a list of tokens.
        vocabulary: shared by all sentences of a task. None numbers the tokens of this call alone.
        tokenizer: str -> list of str; white space by default, any callable will do. A `tokenizers.Tokenizer` or a tokenizer of
            `transformers` keeps its own ids, special tokens and truncation; padding is left out, and a list of str is then
            several sentences unless `tokenized=True`.
        edge_index: also store graph.edge_index(), as layers of PyG want it.
        tokenized: whether a list of str is the tokens of one sentence (True) or several sentences (False). None: tokens,
            unless the tokenizer would split every one of them; if it would split some, a warning says so.

    Raises ValueError if a sentence has no token, or if a tokenizer with ids of its own gets a vocabulary beside it.

    >>> data = from_text('the cat saw the dog')
    >>> data.x, data.graph
    (tensor([1, 2, 3, 1, 4]), CompleteGraph(5))
    >>> [data.num_nodes for data in from_text(['the cat sat', 'a dog'])]
    [3, 2]
    """
    if vocabulary is not None and not isinstance(vocabulary, Vocabulary):
        raise TypeError(
            f"'vocabulary' needs to be a Vocabulary (got {type(vocabulary).__name__}); make one by Vocabulary(tokens)"
        )
    if numbers_tokens(tokenizer):
        return from_subwords(text, tokenizer, vocabulary, one_hot, graph, edge_index, tokenized)
    several = are_sentences(text, tokenizer, tokenized)
    parts: Any = text if several else [text]
    sentences = [tokenize(part, tokenizer) for part in parts]
    for place, tokens in enumerate(sentences):
        if not tokens:
            where = f" at place {place}" if several else ""
            raise ValueError(
                f"'text' has no tokens{where} (got {text[place] if several else text!r}); drop empty sentences first"
            )
    if vocabulary is None:
        vocabulary = Vocabulary(token for tokens in sentences for token in tokens)
    graphs = [from_tokens(tokens, vocabulary, one_hot, graph, edge_index) for tokens in sentences]
    return graphs if several else graphs[0]


def from_tokens(tokens: list[str], vocabulary: Vocabulary, one_hot: bool, graph: GraphChoice, edge_index: bool) -> Data:
    """The graph of one sentence."""
    x = torch.tensor([vocabulary.index_of(token) for token in tokens])
    if one_hot:
        x = F.one_hot(x, len(vocabulary)).float()  # [num_nodes, len(vocabulary)]
    pos = torch.arange(len(tokens), dtype=torch.float).unsqueeze(1)  # [num_nodes, 1]
    return assemble(x, pos, choose_graph(graph, len(tokens), CompleteGraph), edge_index, tokens=tokens)


def from_subwords(
    text: Any,
    tokenizer: Any,
    vocabulary: Vocabulary | None,
    one_hot: bool,
    graph: GraphChoice,
    edge_index: bool,
    tokenized: bool | None,
) -> Data | list[Data]:
    """`from_text` by a tokenizer that has ids of its own."""
    if vocabulary is not None:
        raise ValueError(f"'vocabulary' and the ids of a {type(tokenizer).__name__} exclude each other; leave it out")
    several = is_list(text) and (not tokenized or any(is_list(entry) for entry in text))
    graphs = []
    for place, part in enumerate(text if several else [text]):
        if not isinstance(part, str):
            part = tokenize(part)  # words, all of them str
        subwords = subwords_of(tokenizer, part)
        if not subwords.tokens:
            where = f" at place {place}" if several else ""
            raise ValueError(f"'text' has no tokens{where} (got {part!r}); drop empty sentences first")
        size = vocabulary_size(tokenizer) if one_hot else None
        graphs.append(of_subwords(subwords, size, graph, edge_index))
    return graphs if several else graphs[0]


def of_subwords(subwords: Subwords, one_hot_size: int | None, graph: GraphChoice, edge_index: bool) -> Data:
    """The graph of one sentence."""
    ids, tokens, offsets = subwords
    x = ids if one_hot_size is None else F.one_hot(ids, one_hot_size).float()
    pos = torch.arange(len(tokens)).unsqueeze(1) if offsets is None else offsets
    return assemble(x, pos.float(), choose_graph(graph, len(tokens), CompleteGraph), edge_index, tokens=tokens)
