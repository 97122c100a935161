"""Writing with a model: the likeliest next token, a sampled one, or the likeliest text (beam search)."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from graphattn.graphs import Graph, causal
from graphattn.graphs.sizes import parse_integer
from graphattn.nn.beam import Beam, Hypothesis
from graphattn.nn.decoding import Decoding, device_of, num_tokens_of
from graphattn.nn.likely import check_sampling, checked_scores, likely, parse_number
from graphattn.nn.next_token import GraphMemory
from graphattn.nn.prompts import check_known, parse_ends, parse_prompts
from graphattn.nn.transformer import PerLayer

# What a search writes over: for texts of `max_length` nodes, or the graph of so many.
WrittenGraph = Graph | PerLayer | Callable[[int], Graph | PerLayer]


def greedy_search(
    model: torch.nn.Module,
    prompts: Sequence[Tensor],
    max_length: int,
    *,
    end: int | Sequence[int] | None = None,
    graph: WrittenGraph | None = None,
    **source: Any,
) -> list[Tensor]:
    """The likeliest next token, again and again.

    Args:
        model: A LanguageModel, Seq2Seq, or anything whose `start` gives a Decoding.
        prompts: Tokens [num_tokens] of each example, at least one; their lengths may differ.
        max_length: Most tokens of a text, prompt included.
        end: The token after which a text ends, or several of them.
        graph: A causal graph or a `PrefixGraph` over `max_length` nodes, `PerLayer` of them, or a function max_length -> one,
            such as `causal`. By default that on which the model was last trained (see LanguageModel), `causal` if it was not;
            where the prefix was another one in each text, the whole prompt is the prefix.
        **source: `source` and `source_graph` of a Seq2Seq.

    Returns:
        The text of each example, prompt and end token included.

    Raises:
        TypeError, ValueError: on prompts without a token or with one that the model does not know, an `end` that is none,
            a graph that shows tokens what comes after them, a model that cannot write or whose scores are nan.

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
    end: int | Sequence[int] | None = None,
    graph: WrittenGraph | None = None,
    **source: Any,
) -> list[Tensor]:
    """A next token drawn by its probability, again and again.

    Args:
        temperature: Scores are divided by it: below 1 the likely becomes likelier; below 1e-5 the likeliest is taken.
        top_k: Only the k likeliest tokens (Fan et al. 2018); 1 is greedy.
        top_p: Only the fewest likeliest tokens whose probabilities reach this sum (Holtzman et al. 2020); 1 drops none.
        generator: Where the chance comes from; torch's own by default.
        model, prompts, max_length, end, graph, source: as in `greedy_search`, whose result this has too.

    Example:
        >>> from graphattn.nn import LanguageModel
        >>> model = LanguageModel(9, 8, num_layers=1, heads=2)
        >>> texts = sample(model, [torch.tensor([1])] * 3, max_length=6, temperature=0.7, top_p=0.9)
    """

    check_sampling(temperature, top_k, top_p)

    def draw(scores: Tensor) -> Tensor:
        scores = scores - scores.amax(-1, keepdim=True)  # no score grows beyond all numbers by a small temperature
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
    end: int | Sequence[int] | None = None,
    graph: WrittenGraph | None = None,
    **source: Any,
) -> list[list[Hypothesis]]:
    """The likeliest texts among those that grow from the `beams` likeliest beginnings.

    Args:
        beams: Beginnings that are kept of each example.
        length_penalty: alpha, finite: scores are divided by ((5 + new tokens) / 6)^alpha (Wu et al. 2016, eq. 14).
        model, prompts, max_length, end, graph, source: as in `greedy_search`.

    Returns:
        Of each example up to `beams` texts, the likeliest first; fewer where fewer are possible.

    Example:
        >>> from graphattn.nn import LanguageModel
        >>> model = LanguageModel(9, 8, num_layers=1, heads=2)
        >>> best = beam_search(model, [torch.tensor([1]), torch.tensor([1, 2])], max_length=6, beams=3, end=0)
        >>> len(best), len(best[0])
        (2, 3)
    """
    beams, length_penalty = parse_integer("beams", beams, minimum=1), parse_number("length_penalty", length_penalty)
    check_model(model)
    ends, prompts = parse_ends(end), parse_prompts(prompts, max_length)
    check_length_penalty(length_penalty, max_length)
    check_known(ends, prompts, num_tokens_of(model))
    if not prompts:
        return []
    with writing(model, prompts, max_length, ends, graph, source) as (decoding, scores):
        searches = [Beam(prompt, beams, max_length, length_penalty, ends) for prompt in prompts]
        rows = [[number] for number in range(len(searches))]  # of `scores`, for each search
        while any(search.alive for search in searches):
            log_probabilities = scores.log_softmax(-1)
            steps = [search.step(log_probabilities[own]) for search, own in zip(searches, rows, strict=True)]
            parents = [own[parent] for own, step in zip(rows, steps, strict=True) for parent, _ in step]
            lasts = torch.tensor([len(step) for step in steps]).cumsum(0).tolist()
            rows = [list(range(last - len(step), last)) for last, step in zip(lasts, steps, strict=True)]
            tokens = torch.tensor([token for step in steps for _, token in step], device=scores.device)
            if parents:
                decoding.select(torch.tensor(parents, device=scores.device))
                scores = checked_scores(decoding.advance(tokens))
    return [search.best() for search in searches]


def write(
    model: torch.nn.Module,
    prompts: Sequence[Tensor],
    max_length: int,
    end: Any,
    graph: WrittenGraph | None,
    source: dict[str, Any],
    choose: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """Texts whose next tokens `choose` takes from the scores [num_examples, num_tokens]."""
    check_model(model)
    ends, prompts = parse_ends(end), parse_prompts(prompts, max_length)
    check_known(ends, prompts, num_tokens_of(model))
    if not prompts:
        return []
    texts = [[prompt] for prompt in prompts]
    alive = list(range(len(prompts)))  # the example of each row of scores
    with writing(model, prompts, max_length, ends, graph, source) as (decoding, scores):
        while alive:
            tokens = choose(scores)
            for number, token in zip(alive, tokens.to(prompts[0].device), strict=True):
                texts[number].append(token[None])
            lengths = [len(texts[number]) - 1 + len(prompts[number]) for number in alive]
            rows = [
                row
                for row, (length, token) in enumerate(zip(lengths, tokens.tolist(), strict=True))
                if length < max_length and token not in ends
            ]
            if rows and len(rows) < len(alive):
                decoding.select(torch.tensor(rows, device=scores.device))
            alive = [alive[row] for row in rows]
            scores = checked_scores(decoding.advance(tokens[rows])) if rows else scores
    return [torch.cat(text) for text in texts]


@contextmanager
def writing(
    model: Any,
    prompts: list[Tensor],
    max_length: int,
    ends: frozenset[int],
    graph: WrittenGraph | None,
    source: dict[str, Any],
) -> Iterator[tuple[Decoding, Tensor]]:
    """The prompts, of which there is one at least, read: (state, scores of the next tokens); no dropout, no gradients."""
    lengths = [len(prompt) for prompt in prompts]
    were_training = [(module, module.training) for module in model.modules()]  # frozen parts may be in evaluation
    model.eval()
    try:
        with torch.no_grad():
            decoding = model.start(len(prompts), graph_to_write(graph, model, max_length, lengths), **source)
            if not all(callable(getattr(decoding, name, None)) for name in ("advance", "select")):
                raise TypeError(f"'start' of the model must give a Decoding (got {type(decoding).__name__})")
            reader = getattr(decoding, "model", model)  # another one where `model` wraps it
            check_known(ends, prompts, num_tokens_of(reader))
            tokens = torch.cat(prompts).to(device_of(reader))
            yield decoding, checked_scores(decoding.advance(tokens, lengths))
    finally:
        for module, was_training in were_training:
            module.training = was_training


def graph_to_write(
    graph: WrittenGraph | None, model: torch.nn.Module, max_length: int, lengths: list[int]
) -> Graph | PerLayer:
    """The given graph, or that on which the model was trained, over longer texts; causal if it knows none."""
    if graph is None:
        memory = getattr(model, "trained_on", None)  # what torch.compile wraps around a model has it too
        return memory.grow(max_length, lengths) if isinstance(memory, GraphMemory) else causal(max_length)
    return graph(max_length) if callable(graph) else graph


def check_model(model: Any) -> None:
    if isinstance(model, torch.nn.Module) and callable(getattr(model, "start", None)):
        return
    inner = getattr(model, "module", None)
    hint = "; give the model inside, 'model.module'" if callable(getattr(inner, "start", None)) else ""
    raise TypeError(
        "'model' must be a LanguageModel, a Seq2Seq, or a module whose 'start(num_examples, graph)' gives a Decoding (got"
        f" {type(model).__name__}){hint}"
    )


def check_length_penalty(length_penalty: float, max_length: int) -> None:
    """Scores are divided by what is made of it: it must be a number for every length of a text."""
    if not math.isfinite(length_penalty):
        raise ValueError(f"'length_penalty' must be finite (got {length_penalty})")
    if abs(length_penalty) * math.log((5 + max_length) / 6) > math.log(sys.float_info.max) / 2:  # totals are no more
        raise ValueError(
            f"'length_penalty' must be nearer 0: ((5 + new tokens) / 6)^alpha is beyond all numbers for texts of up to"
            f" {max_length} tokens (got {length_penalty})"
        )
