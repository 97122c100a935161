"""Text: the words of a sentence are the nodes; by default every word attends to every word."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch_geometric.data import Data

from graphattn.graphs import CompleteGraph
from graphattn.inputs.assemble import GraphChoice, assemble, choose_graph

UNKNOWN = '<unk>'


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
    def from_sentences(cls, sentences: Iterable[str | Sequence[str]], tokenizer: Callable = str.split,
                       min_count: int = 1, max_size: int | None = None) -> 'Vocabulary':
        """The tokens seen at least min_count times, the most frequent first (ties: the one seen first).

        max_size bounds the length with the unknown token included, so it is the size of an embedding table.
        """
        if isinstance(sentences, str):
            raise TypeError("'sentences' needs to be several sentences (got one str); pass [sentence]")
        if max_size is not None and max_size < 1:
            raise ValueError(f"'max_size' counts the unknown token and needs to be 1 or more (got {max_size})")
        counts = Counter(token for sentence in sentences for token in tokenize(sentence, tokenizer))
        counts.pop(UNKNOWN, None)  # it has its place already
        frequent = [token for token, count in counts.most_common() if count >= min_count]
        return cls(frequent if max_size is None else frequent[:max_size - 1])

    def index_of(self, token: str) -> int:
        return self._index.get(token, 0)

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self):
        return iter(self.tokens)

    def __contains__(self, token) -> bool:
        return token in self._index

    def __eq__(self, other) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(tuple(self.tokens))

    def __repr__(self) -> str:
        return f'Vocabulary({len(self)} tokens)'


def check_tokens(tokens: Iterable[str]) -> list[str]:
    """The tokens as a list, all of them str."""
    if isinstance(tokens, str):
        raise TypeError(f"'tokens' needs to be a sequence of str (got the str {tokens!r}); split it first")
    tokens = list(tokens)
    for token in tokens:
        if not isinstance(token, str):
            raise TypeError(f"every token needs to be a str (got {token!r} of type {type(token).__name__})")
    return tokens


def tokenize(text: str | Sequence[str], tokenizer: Callable = str.split) -> list[str]:
    """The tokens of a text; a sequence of str counts as tokenized already.

    >>> tokenize('the cat'), tokenize(['the', 'cat']), tokenize('cat', tokenizer=list)
    (['the', 'cat'], ['the', 'cat'], ['c', 'a', 't'])
    """
    if isinstance(text, str):
        return check_tokens(tokenizer(text))
    if isinstance(text, Sequence) and not isinstance(text, bytes | bytearray):
        return check_tokens(text)
    raise TypeError(f"'text' needs to be a str or a sequence of str (got {type(text).__name__})")


def from_text(text: str | Sequence[str], vocabulary: Vocabulary | None = None, tokenizer: Callable = str.split,
              one_hot: bool = False, graph: GraphChoice = None, edge_index: bool = False) -> Data:
    """A sentence as a graph over its tokens.

    | attribute | shape                | meaning
    |-----------|----------------------|--------
    | x         | [N] int64            | index in the vocabulary, for an embedding
    |           | [N, len(vocabulary)] | the same as float32 one-hot rows, with one_hot=True
    | pos       | [N, 1]               | place in the sentence, in tokens from 0
    | tokens    | list of N str        | the tokens themselves
    | graph     | N nodes              | complete, or `graph`: a Graph or a function such as graphattn.causal

    Args:
        text: a sentence, or its tokens.
        vocabulary: shared by all sentences of a task. None numbers the tokens of this one sentence alone.
        tokenizer: str -> list of str; white space by default, any callable will do.
        edge_index: also store graph.edge_index(), as layers of PyG want it.

    Raises ValueError if the sentence has no token.

    >>> data = from_text('the cat saw the dog')
    >>> data.x, data.graph
    (tensor([1, 2, 3, 1, 4]), CompleteGraph(5))
    """
    tokens = tokenize(text, tokenizer)
    if not tokens:
        raise ValueError(f"'text' has no tokens (got {text!r}); drop empty sentences first")
    vocabulary = Vocabulary(tokens) if vocabulary is None else vocabulary
    x = torch.tensor([vocabulary.index_of(token) for token in tokens])
    if one_hot:
        x = F.one_hot(x, len(vocabulary)).float()  # [num_nodes, len(vocabulary)]
    pos = torch.arange(len(tokens), dtype=torch.float).unsqueeze(1)  # [num_nodes, 1]
    return assemble(x, pos, choose_graph(graph, len(tokens), CompleteGraph), edge_index, tokens=tokens)
