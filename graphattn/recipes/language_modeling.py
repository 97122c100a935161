"""The next token of a text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphattn.graphs import BandedGraph, Graph, causal
from graphattn.inputs import Vocabulary
from graphattn.nn import LanguageModel, greedy_search, sample
from graphattn.recipes.choice import Choice
from graphattn.recipes.parts import SHARES, given_parts, split_examples
from graphattn.recipes.recipe import Recipe, Task
from graphattn.recipes.schedule import Schedule
from graphattn.recipes.writing import END, JOINTS, Drawn, Moved, check_unit, tokens_in


class Texts(Moved):
    """Texts end to end: what is seen, and what comes next."""

    def __init__(self, texts: Sequence[list[int]], window: int | None):
        counts = [len(text) + 1 for text in texts]
        self.seen = torch.tensor([token for text in texts for token in (END, *text)])
        self.wanted = torch.tensor([token for text in texts for token in (*text, END)])
        self.graph: Graph = causal(counts) if window is None else BandedGraph(counts, window, 0)


@dataclass(frozen=True)
class LanguageModeling(Recipe):
    """Language modeling: texts in, a model that writes on out.

    The data are a list of texts, each a str or a list of str. A token attends to those before it, or to `window` of them. Longer
    texts than `context` are cut into pieces. Tokens that the training part does not have are unknown.

    Args:
        unit: 'words' or 'characters': what a str is cut into.
        window: Tokens back that a token attends to; None: all.
        context: Longest piece of a text, in tokens.
        channels, layers, heads, dropout: of `graphattn.nn.LanguageModel`.
        measure: 'loss' chooses the epoch. The figures tell besides the 'perplexity', exp(loss), and the accuracy of the next token.
    """

    name: ClassVar[str] = "language modeling"

    schedule: Schedule = Schedule(
        epochs=10,
        lr=2e-3,
        fused=True,
        shape="linear",
        warmup=0.1,
        clip=1.0,
        averaging=0.99,
        forget_start=True,
        least_steps=500,
    )
    measure: str = "loss"
    unit: str = "words"
    window: int | None = None
    context: int = 256
    channels: int = 64
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if self.measure != "loss":
            raise ValueError(f"the 'measure' of a recipe that writes is 'loss' (got {self.measure!r})")
        if self.context < 1 or (self.window is not None and self.window < 1):
            raise ValueError(f"'context' and 'window' must be 1 or more (got {self.context} and {self.window})")

    def choice(self, facts: dict[str, Any]) -> Choice:
        return Choice("loss", higher=False)

    def read(self, data: Any, split: Any, seed: int) -> Task:
        if not isinstance(data, Sequence) or isinstance(data, str):
            raise ValueError(f"the data must be a list of texts (got {type(data).__name__}); give [text]")
        texts = [tokens_in(text, self.unit, f"text {place}") for place, text in enumerate(data)]
        parts = given_parts(split, len(texts)) or split_examples(len(texts), SHARES if split is None else split, seed)
        chosen = [[texts[place] for place in part] for part in parts]
        vocabulary = Vocabulary.from_sentences(chosen[0])
        facts = {"words": list(vocabulary)}
        train, *evaluated = (
            [self.numbers(piece, vocabulary) for text in part for piece in self.pieces(text)] for part in chosen
        )
        counts = dict(zip(("train", "validation", "test"), (len(part) for part in chosen)))
        named = zip(("validation", "test"), evaluated)
        parts_of = {name: self.batches(part, 64) for name, part in named}
        return Task(facts, self.batches(train, self.schedule.batch_size, is_shuffled=True), parts_of, counts)

    def pieces(self, tokens: list[str]) -> list[list[str]]:
        return [tokens[start : start + self.context] for start in range(0, len(tokens), self.context)]

    def batches(self, texts: Sequence[list[int]], size: int, is_shuffled: bool = False) -> Drawn:
        def make(places: list[int]) -> Texts:
            return Texts([texts[place] for place in places], self.window)

        return Drawn(len(texts), lambda place: len(texts[place]), make, size, is_shuffled)

    @staticmethod
    def numbers(tokens: Sequence[str], vocabulary: Vocabulary) -> list[int]:
        """Places of the tokens; the unknown one is 1, behind END."""
        return [vocabulary.index_of(token) + 1 for token in tokens]

    def build(self, facts: dict[str, Any]) -> nn.Module:
        layer: dict[str, Any] = {"dropout": self.dropout, "attention_dropout": 0.0}
        layer |= {"feedforward_channels": 2 * self.channels}
        size = len(facts["words"]) + 1
        return LanguageModel(size, self.channels, self.layers, self.heads, norm_first=True, **layer)

    def outputs(self, model: nn.Module, batch: Texts) -> Tensor:
        return model(batch.seen, batch.graph)

    def loss(self, model: nn.Module, batch: Texts) -> Tensor:
        return F.cross_entropy(self.outputs(model, batch), batch.wanted)

    @torch.no_grad()
    def figures(self, model: nn.Module, batches: Iterable[Texts]) -> dict[str, float]:
        total = right = count = 0.0
        for batch in batches:
            scores = self.outputs(model, batch)
            total += float(F.cross_entropy(scores, batch.wanted, reduction="sum"))
            right += float((scores.argmax(-1) == batch.wanted).sum())
            count += len(batch.wanted)
        return {"loss": total / count, "perplexity": math.exp(min(total / count, 700)), "accuracy": right / count}

    def predict(
        self, model: nn.Module, data: Any, facts: dict[str, Any], length: int = 50, temperature: float = 0.0
    ) -> list[str]:
        """How each of a list of beginnings goes on, with the beginning; '' begins anew.

        Args:
            length: Most tokens that are written, the beginning included.
            temperature: 0 takes the likeliest next token, else it is drawn with this temperature from torch's random numbers.
        """
        vocabulary = Vocabulary(facts["words"])
        texts = [data] if isinstance(data, str) else list(data)
        cut = [tokens_in(text, self.unit, f"text {place}") if text else [] for place, text in enumerate(texts)]
        if not cut:
            return []
        longest = max(length, *(len(tokens) for tokens in cut)) + 1
        prompts = [torch.tensor([END, *self.numbers(tokens, vocabulary)]) for tokens in cut]
        given: dict[str, Any] = {"end": END, "graph": causal if self.window is None else self.band}
        if temperature:
            written = sample(model, prompts, longest, temperature=temperature, **given)
        else:
            written = greedy_search(model, prompts, longest, **given)
        found = []
        for tokens, text in zip(cut, written, strict=True):
            new = [facts["words"][token - 1] for token in text.tolist()[len(tokens) + 1 :] if token != END]
            found.append(JOINTS[self.unit].join([*tokens, *new]))
        return found

    def band(self, length: int) -> Graph:
        return BandedGraph(length, self.window, 0)
