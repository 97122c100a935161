"""Writing with a model: the likeliest next token, a sampled one, or the likeliest text (beam search)."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import Graph, causal
from graphattn.graphs.sizes import parse_integer
from graphattn.nn.decoding import Decoding
from graphattn.nn.transformer import PerLayer


class Hypothesis(NamedTuple):
    """A text and how likely it is."""

    tokens: Tensor  # [num_tokens], the prompt first, the end token last if it was written
    score: float  # sum of the log probabilities after the prompt, divided by the length penalty


def greedy_search(
    model: torch.nn.Module,
    prompts: Sequence[Tensor],
    max_length: int,
    *,
    end: int | None = None,
    graph: Graph | PerLayer | None = None,
    **source,
) -> list[Tensor]:
    """The likeliest next token, again and again.

    Args:
        model: A LanguageModel, Seq2Seq, or anything whose `start` gives a Decoding.
        prompts: Tokens [num_tokens] of each example, at least one; their lengths may differ.
        max_length: Most tokens of a text, prompt included.
        end: The token after which a text ends.
        graph: A causal graph over `max_length` nodes, or `PerLayer` of them; `causal(max_length)` by default.
        **source: `source` and `source_graph` of a Seq2Seq.

    Returns:
        The text of each example, prompt and end token included.

    Example:
        >>> from graphattn import CompleteGraph
        >>> from graphattn.nn import LanguageModel, Seq2Seq
        >>> prompts = [torch.tensor([1, 2, 3]), torch.tensor([1])]
        >>> [len(text) for text in greedy_search(LanguageModel(9, 8, num_layers=1, heads=2), prompts, max_length=6)]
        [6, 6]
        >>> model, source = Seq2Seq(9, 9, channels=8, num_layers=1, heads=2), torch.randint(9, (7,))
        >>> texts = greedy_search(model, prompts, 6, end=0, source=source, source_graph=CompleteGraph([3, 4]))
    """
    return write(model, prompts, max_length, end, graph, source, lambda scores: scores.argmax(-1))


def sample(
    model: torch.nn.Module,
    prompts: Sequence[Tensor],
    max_length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    end: int | None = None,
    graph: Graph | PerLayer | None = None,
    **source,
) -> list[Tensor]:
    """A next token drawn by its probability, again and again.

    Args:
        temperature: Scores are divided by it: below 1 the likely becomes likelier.
        top_k: Only the k likeliest tokens (Fan et al. 2018).
        top_p: Only the fewest likeliest tokens whose probabilities reach this sum (Holtzman et al. 2020).
        generator: Where the chance comes from; torch's own by default.
        model, prompts, max_length, end, graph, source: as in `greedy_search`, whose result this has too.

    Example:
        >>> from graphattn.nn import LanguageModel
        >>> model = LanguageModel(9, 8, num_layers=1, heads=2)
        >>> texts = sample(model, [torch.tensor([1])] * 3, max_length=6, temperature=0.7, top_p=0.9)
    """

    def draw(scores: Tensor) -> Tensor:
        probabilities = likely(scores, temperature, top_k, top_p).softmax(-1)
        return torch.multinomial(probabilities, 1, generator=generator).flatten()

    return write(model, prompts, max_length, end, graph, source, draw)


def beam_search(
    model: torch.nn.Module,
    prompts: Sequence[Tensor],
    max_length: int,
    *,
    beams: int = 4,
    length_penalty: float = 0.0,
    end: int | None = None,
    graph: Graph | PerLayer | None = None,
    **source,
) -> list[list[Hypothesis]]:
    """The likeliest texts among those that grow from the `beams` likeliest beginnings.

    Args:
        beams: Beginnings that are kept of each example.
        length_penalty: alpha: scores are divided by ((5 + new tokens) / 6)^alpha (Wu et al. 2016, eq. 14).
        model, prompts, max_length, end, graph, source: as in `greedy_search`.

    Returns:
        Of each example up to `beams` texts, the likeliest first.

    Example:
        >>> from graphattn.nn import LanguageModel
        >>> model = LanguageModel(9, 8, num_layers=1, heads=2)
        >>> best = beam_search(model, [torch.tensor([1]), torch.tensor([1, 2])], max_length=6, beams=3, end=0)
        >>> len(best), len(best[0])
        (2, 3)
    """
    beams = parse_integer("beams", beams, minimum=1)
    with writing(model, prompts, max_length, graph, source) as (decoding, scores):
        searches = [Beam(prompt, beams, max_length, length_penalty, end) for prompt in prompts]
        rows = [[number] for number in range(len(searches))]  # of `scores`, for each search
        while any(search.alive for search in searches):
            log_probabilities = scores.log_softmax(-1)
            steps = [search.step(log_probabilities[own]) for search, own in zip(searches, rows, strict=True)]
            parents = [own[parent] for own, step in zip(rows, steps, strict=True) for parent, _ in step]
            ends = torch.tensor([len(step) for step in steps]).cumsum(0).tolist()
            rows = [list(range(last - len(step), last)) for last, step in zip(ends, steps, strict=True)]
            tokens = torch.tensor([token for step in steps for _, token in step], device=scores.device)
            if parents:
                decoding.select(torch.tensor(parents, device=scores.device))
                scores = decoding.advance(tokens)
    return [search.best() for search in searches]


class Beam:
    """The search for the text of one example."""

    def __init__(self, prompt: Tensor, beams: int, max_length: int, length_penalty: float, end: int | None):
        self.beams, self.max_length, self.end = beams, max_length, end
        self.length_penalty, self.prompt_length = length_penalty, len(prompt)
        self.alive = [(0.0, prompt)]  # sum of log probabilities, tokens
        self.finished = []

    def step(self, log_probabilities: Tensor) -> list[tuple[int, int]]:
        """(beginning, next token) of each beginning that goes on, from [beginnings, num_tokens]."""
        if not self.alive:
            return []
        totals = torch.tensor([total for total, _ in self.alive]).to(log_probabilities)[:, None] + log_probabilities
        values, places = totals.flatten().topk(min(2 * self.beams, totals.numel()))  # as many may end as go on
        alive, going_on = [], []
        for total, place in zip(values.tolist(), places.tolist(), strict=True):
            parent, token = divmod(place, totals.size(1))
            tokens = torch.cat([self.alive[parent][1], self.alive[parent][1].new_tensor([token])])
            if token == self.end or len(tokens) == self.max_length:
                self.finished.append(Hypothesis(tokens, self.normalized(total, len(tokens))))
            else:
                alive.append((total, tokens))
                going_on.append((parent, token))
            if len(alive) == self.beams:
                break
        self.finished = heapq.nlargest(self.beams, self.finished, key=lambda text: text.score)
        self.alive = alive
        if self.is_decided():
            self.alive, going_on = [], []
        return going_on

    def is_decided(self) -> bool:
        """Whether no living beginning can enter the best: totals only fall, and the penalty is at most that of the end."""
        if len(self.finished) < self.beams or not self.alive:
            return not self.alive
        best = self.alive[0][0]
        lengths = (len(self.alive[0][1]) + 1, self.max_length)
        return max(self.normalized(best, length) for length in lengths) <= self.finished[-1].score

    def normalized(self, total: float, length: int) -> float:
        return total / ((5 + length - self.prompt_length) / 6) ** self.length_penalty

    def best(self) -> list[Hypothesis]:
        return sorted(self.finished, key=lambda text: -text.score)


def likely(
    scores: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Scores [..., num_tokens] divided by the temperature, -inf for what `top_k` and `top_p` leave out (see `sample`).

    >>> likely(torch.tensor([0.5, 0.3, 0.2]).log(), top_p=0.6).exp()
    tensor([0.5000, 0.3000, 0.0000])
    """
    if not temperature > 0:
        raise ValueError(f"'temperature' must be positive (got {temperature}); greedy_search is its limit 0")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"'top_p' must be in 0 (excluded) .. 1 (got {top_p})")
    scores = scores / temperature
    values, order = scores.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        values[..., parse_integer("top_k", top_k, minimum=1) :] = -torch.inf
    if top_p is not None:
        probabilities = values.softmax(-1)
        reached = probabilities.cumsum(-1) - probabilities >= top_p  # by the likelier ones alone
        values = values.masked_fill(reached, -torch.inf)
    return torch.empty_like(scores).scatter(-1, order, values)


def write(
    model: torch.nn.Module,
    prompts: Sequence[Tensor],
    max_length: int,
    end: int | None,
    graph: Graph | PerLayer | None,
    source: dict,
    choose: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """Texts whose next tokens `choose` takes from the scores [num_examples, num_tokens]."""
    texts = [[prompt] for prompt in prompts]
    alive = list(range(len(prompts)))  # the example of each row of scores
    with writing(model, prompts, max_length, graph, source) as (decoding, scores):
        while alive:
            tokens = choose(scores)
            for number, token in zip(alive, tokens.to(prompts[0].device), strict=True):
                texts[number].append(token[None])
            lengths = [len(texts[number]) - 1 + len(prompts[number]) for number in alive]
            rows = [
                row
                for row, (length, token) in enumerate(zip(lengths, tokens.tolist(), strict=True))
                if length < max_length and token != end
            ]
            if rows and len(rows) < len(alive):
                decoding.select(torch.tensor(rows, device=scores.device))
            alive = [alive[row] for row in rows]
            scores = decoding.advance(tokens[rows]) if rows else scores
    return [torch.cat(text) for text in texts]


@contextmanager
def writing(
    model: torch.nn.Module, prompts: Sequence[Tensor], max_length: int, graph: Graph | PerLayer | None, source: dict
) -> Iterator[tuple[Decoding | None, Tensor | None]]:
    """The prompts read: (state, scores of the next tokens), or nothing if there is no prompt; no dropout, no gradients."""
    max_length = parse_integer("max_length", max_length, minimum=1)
    lengths = [len(prompt) for prompt in prompts]
    if any(not 1 <= length < max_length for length in lengths):
        raise ValueError(f"prompts must have 1 .. max_length - 1 = {max_length - 1} tokens (got {lengths})")
    graph = causal(max_length) if graph is None else graph
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if not lengths:
                yield None, None
                return
            decoding = model.start(len(prompts), graph, **source)
            tokens = torch.cat(list(prompts)).to(model.lin_out.weight.device)
            yield decoding, decoding.advance(tokens, lengths)
    finally:
        model.train(was_training)
