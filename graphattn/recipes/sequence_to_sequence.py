"""From one text to another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphattn.graphs import CompleteGraph, Graph, causal
from graphattn.inputs import Vocabulary
from graphattn.nn import Seq2Seq, beam_search, greedy_search
from graphattn.recipes.choice import Choice
from graphattn.recipes.edit_distance import edit_distance
from graphattn.recipes.examples import AT_ONCE
from graphattn.recipes.parts import SHARES, given_parts, split_examples
from graphattn.recipes.recipe import Recipe, Task
from graphattn.recipes.schedule import Schedule
from graphattn.recipes.texts import vocabulary_of
from graphattn.recipes.writing import END, JOINTS, Drawn, Moved, by_length, check_unit, tokens_in

Pair = tuple[list[int], list[int]]


class Translations(Moved):
    """Pairs of texts end to end: what is read, what is written so far, and what comes next."""

    def __init__(self, pairs: Sequence[Pair]):
        self.source = torch.tensor([token for source, _ in pairs for token in source])
        self.seen = torch.tensor([token for _, target in pairs for token in (END, *target)])
        self.wanted = torch.tensor([token for _, target in pairs for token in (*target, END)])
        self.source_graph: Graph = CompleteGraph([len(source) for source, _ in pairs])
        self.target_graph: Graph = causal([len(target) + 1 for _, target in pairs])
        self.targets = [target for _, target in pairs]


@dataclass(frozen=True)
class SequenceToSequence(Recipe):
    """Sequence to sequence: N tokens in, N' tokens out; spellings to sounds, one language to another.

    The data are a list of pairs (source, target), each a str or a list of str. Tokens of the source attend to one another, those of
    the target to the ones before them and to the whole source. Tokens that the training part does not have are unknown.

    Args:
        source_unit, target_unit: 'words' or 'characters': what a str is cut into.
        channels, layers, heads, dropout: of `graphattn.nn.Seq2Seq`.
        smoothing: Share of a label that is spread over all tokens.
        beams: Of the search that writes; 1 takes the likeliest next token.
        measure: 'loss' of the next token chooses the epoch. The figures tell besides the 'error rate' of tokens (edit distance over
            length) and the share of texts that are 'right' as a whole.
    """

    name: ClassVar[str] = "sequence to sequence"

    schedule: Schedule = Schedule(
        epochs=10, lr=2e-3, batch_size=64, betas=(0.9, 0.98), fused=True, shape="linear", warmup=0.08, clip=1.0, averaging=0.99,
        forget_start=True, least_steps=800,
    )  # fmt: skip
    measure: str = "loss"
    source_unit: str = "characters"
    target_unit: str = "words"
    channels: int = 128
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1
    smoothing: float = 0.1
    beams: int = 1

    def __post_init__(self) -> None:
        check_unit(self.source_unit)
        check_unit(self.target_unit)
        if self.measure != "loss":
            raise ValueError(f"the 'measure' of a recipe that writes is 'loss' (got {self.measure!r})")
        if self.beams < 1:
            raise ValueError(f"'beams' must be 1 or more (got {self.beams})")

    def choice(self, facts: dict[str, Any]) -> Choice:
        return Choice("loss", higher=False)

    def read(self, data: Any, split: Any, seed: int) -> Task:
        pairs = self.tokens_of(data)
        parts = given_parts(split, len(pairs)) or split_examples(len(pairs), SHARES if split is None else split, seed)
        chosen = [[pairs[place] for place in part] for part in parts]
        words = [tuple(Vocabulary.from_sentences(pair[side] for pair in chosen[0])) for side in (0, 1)]
        facts = {
            "source_words": words[0],
            "target_words": words[1],
            "longest": max(len(target) for _, target in chosen[0]),
        }
        train, *evaluated = ([self.numbers(*pair, facts) for pair in part] for part in chosen)
        counts = dict(zip(("train", "validation", "test"), (len(part) for part in chosen)))
        named = zip(("validation", "test"), evaluated)
        parts_of = {name: batches(part, AT_ONCE) for name, part in named}
        return Task(facts, batches(train, self.schedule.batch_size, is_shuffled=True), parts_of, counts)

    def tokens_of(self, data: Any) -> list[tuple[list[str], list[str]]]:
        if not isinstance(data, Sequence) or isinstance(data, str):
            raise ValueError(f"the data must be a list of pairs (source, target) (got {type(data).__name__})")
        found = []
        for place, pair in enumerate(data):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ValueError(f"example {place} must be a pair (source, target) (got {pair!r})")
            source = tokens_in(pair[0], self.source_unit, f"the source of example {place}")
            found.append((source, tokens_in(pair[1], self.target_unit, f"the target of example {place}")))
        return found

    @staticmethod
    def numbers(source: Sequence[str], target: Sequence[str], facts: dict[str, Any]) -> Pair:
        """Places of the tokens; the unknown one of the target is 1, behind END."""
        sources, targets = vocabulary_of(facts["source_words"]), vocabulary_of(facts["target_words"])
        return [sources.index_of(token) for token in source], [targets.index_of(token) + 1 for token in target]

    def build(self, facts: dict[str, Any]) -> nn.Module:
        sizes = len(facts["source_words"]), len(facts["target_words"]) + 1
        layer: dict[str, Any] = {"dropout": self.dropout, "attention_dropout": 0.0}
        layer |= {"feedforward_channels": 2 * self.channels}
        return Seq2Seq(*sizes, self.channels, self.layers, self.heads, norm_first=True, **layer)

    def outputs(self, model: nn.Module, batch: Translations) -> Tensor:
        return model(batch.source, batch.seen, batch.source_graph, batch.target_graph)

    def loss(self, model: nn.Module, batch: Translations) -> Tensor:
        return F.cross_entropy(self.outputs(model, batch), batch.wanted, label_smoothing=self.smoothing)

    @torch.no_grad()
    def epoch_figures(self, model: nn.Module, parts: Mapping[str, Any]) -> dict[str, float]:
        return {"loss": self.mean_loss(model, parts["validation"])}

    def mean_loss(self, model: nn.Module, batches: Iterable[Translations]) -> float:
        """Of a token."""
        total = count = 0.0
        for batch in batches:
            total += float(F.cross_entropy(self.outputs(model, batch), batch.wanted, reduction="sum"))
            count += len(batch.wanted)
        return total / count

    @torch.no_grad()
    def figures(self, model: nn.Module, batches: Iterable[Translations]) -> dict[str, float]:
        distance = length = right = texts = 0
        for batch in batches:
            longest = 2 * max(len(target) for target in batch.targets) + 5
            for found, wanted in zip(self.write(model, batch.source, batch.source_graph, longest), batch.targets):
                distance, length = distance + edit_distance(found, wanted), length + len(wanted)
                right, texts = right + (found == wanted), texts + 1
        return {"loss": self.mean_loss(model, batches), "error rate": distance / length, "right": right / texts}

    def write(self, model: nn.Module, source: Tensor, graph: Graph, longest: int) -> list[list[int]]:
        """The tokens written for each source, END left out."""
        prompts = [torch.tensor([END], device=source.device)] * graph.num_examples
        given: dict[str, Any] = {"end": END, "source": source, "source_graph": graph, "graph": causal}
        if self.beams == 1:
            texts = greedy_search(model, prompts, longest, **given)
        else:
            best = beam_search(model, prompts, longest, beams=self.beams, length_penalty=0.6, **given)
            texts = [found[0].tokens for found in best]
        return [[token for token in text.tolist() if token != END] for text in texts]

    def check_input(self, example: Any, facts: dict[str, Any]) -> None:
        tokens_in(example[0] if isinstance(example, tuple) else example, self.source_unit, "it")

    def predict(self, model: nn.Module, data: Any, facts: dict[str, Any]) -> list[str]:
        """What is written for each of a list of sources, each a str or a list of str; of one source, a list of one.

        Pairs (source, target) are taken too; their targets play no part.
        """
        sources = [data] if isinstance(data, str) else list(data)
        sources = [pair[0] if isinstance(pair, tuple) else pair for pair in sources]
        cut = [tokens_in(source, self.source_unit, f"source {place}") for place, source in enumerate(sources)]
        numbers = [self.numbers(tokens, [], facts)[0] for tokens in cut]
        found = [""] * len(sources)
        for places in by_length(len(numbers), lambda place: len(numbers[place]), AT_ONCE, 0):
            batch = Translations([(numbers[place], []) for place in places])
            written = self.write(model, batch.source, batch.source_graph, 2 * facts["longest"] + 5)
            for place, tokens in zip(places, written, strict=True):
                found[place] = JOINTS[self.target_unit].join(facts["target_words"][token - 1] for token in tokens)
        return found


def batches(pairs: Sequence[Pair], size: int, is_shuffled: bool = False) -> Drawn:
    def length(place: int) -> tuple[int, int]:
        return len(pairs[place][0]), len(pairs[place][1])

    return Drawn(len(pairs), length, lambda places: Translations([pairs[place] for place in places]), size, is_shuffled)
