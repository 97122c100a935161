"""Part of speech of every word of a sentence: N words in, N tags out, on UD English-EWT (Silveira et al. 2014).

    python examples/sequence_labeling.py                       # banded: a word attends to 3 words on either side
    python examples/sequence_labeling.py --graph complete      # a word attends to the whole sentence

A word is the sum of a learned vector of its lower-cased form and of learned vectors of its prefixes, suffixes and shape
(hashed), so that unknown words are not unknown. No pretrained vectors. Two layers of attention see it in its sentence.
A batch is 64 sentences laid end to end under ONE ragged graph; no padding.

Where words are is said in two ways. With a band every edge carries its offset (-3 .. 3, one-hot) as edge feature, which
enters key and value. A complete graph has no edge features (E = N^2 of them would be the whole cost) but adds sines and
cosines of the place to the words (Vaswani et al. 2017).

Published universal part of speech (UPOS) on release 2.5 of this treebank, from raw text:
    96.94  spaCy en_udv25_englishewt_trf: pretrained XLM-RoBERTa, fine-tuned (its model card, which names no split)
    95.40  Stanza: word vectors pretrained on text from the web (Qi et al. 2020; from memory, not checked)
Here: release 2.16, test set, words as given, nothing pretrained. So these figures show what can be expected; they are
not a contest. Measured here (5 epochs, seed 0): 95.0 banded, 94.8 complete, each in less than 100 CPU seconds.
"""

import argparse
import os
import time
import zlib
from collections import Counter
from functools import cache
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.seed import seed_everything
from tqdm import tqdm

from graphattn import BandedGraph, CompleteGraph, Graph
from graphattn.datasets import UDEnglishEWT
from graphattn.inputs import Vocabulary
from graphattn.nn import GraphAttention
from graphattn.nn.positions import SinusoidalPositions

matplotlib.use("Agg")  # draws without a screen; to be said before pyplot is imported
import matplotlib.pyplot as plt

NUM_BUCKETS = 20_000  # of hashed word parts: the 19,674 different words of the training set have 32,363 different parts
PUBLISHED = "spaCy with XLM-RoBERTa 96.94, Stanza with pretrained vectors 95.40 (not checked); see --help"


# Words to numbers ----------------------------------------------------------------------------------------------------


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


def parts_of(word: str) -> list[str]:
    """Beginnings and ends of the word, and its shape: always 10 strings."""
    marked = f"<{word.lower()}>"
    prefixes = [f"prefix {marked[:length]}" for length in range(2, 6)]
    suffixes = [f"suffix {marked[-length:]}" for length in range(2, 7)]
    return [*prefixes, *suffixes, f"shape {shape_of(word)}"]


@cache
def buckets_of(word: str) -> list[int]:
    return [zlib.crc32(part.encode()) % NUM_BUCKETS for part in parts_of(word)]  # hash() differs from run to run


def encode(sentence: Data, vocabulary: Vocabulary) -> Data:
    """x [n, 11]: index of the word in the vocabulary, then the buckets of its parts."""
    rows = [[vocabulary.index_of(word.lower()), *buckets_of(word)] for word in sentence.words]
    return Data(x=torch.tensor(rows), pos=sentence.pos, y=sentence.y)


def make_graph(batch: Batch, args: argparse.Namespace) -> tuple[Graph, Tensor | None]:
    """Who attends to whom in a batch of sentences, and the one-hot offset of each edge of a band."""
    num_words = batch.ptr.diff().tolist()
    if args.graph == "complete":
        return CompleteGraph(num_words), None
    graph = BandedGraph(num_words, args.band, args.band)
    source, target = graph.edge_index()
    return graph, F.one_hot(source - target + args.band, 2 * args.band + 1).float()


# Model ---------------------------------------------------------------------------------------------------------------


class Layer(nn.Module):
    """x + attention, then x + feed-forward, normalised before (Xiong et al. 2020)."""

    def __init__(self, channels: int, heads: int, dropout: float, edge_dim: int | None):
        super().__init__()
        self.attention_norm, self.norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = GraphAttention(channels, channels // heads, heads, edge_dim=edge_dim, project_out=True)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * channels, channels)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, graph: Graph, edge_attr: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), graph, edge_attr))
        return x + self.dropout(self.feed_forward(self.norm(x)))


class Tagger(nn.Module):
    """Words and their parts -> attention -> one score for each tag: [num_words, num_tags]."""

    def __init__(self, num_words: int, num_tags: int, args: argparse.Namespace):
        super().__init__()
        channels, edge_dim = args.channels, 2 * args.band + 1 if args.graph == "banded" else None
        self.word, self.parts = nn.Embedding(num_words, channels), nn.EmbeddingBag(NUM_BUCKETS, channels, mode="sum")
        nn.init.normal_(self.word.weight, std=0.3)
        nn.init.normal_(self.parts.weight, std=0.1)
        self.norm, self.dropout, self.word_dropout = nn.LayerNorm(channels), nn.Dropout(args.dropout), args.word_dropout
        # Which word is next matters for a tag, not which of a thousand: short periods, as large as the words.
        self.positions = SinusoidalPositions(channels, max_period=100) if args.graph == "complete" else None
        self.layers = nn.ModuleList(Layer(channels, args.heads, args.dropout, edge_dim) for _ in range(args.layers))
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, num_tags))

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        word, parts = x[:, 0], x[:, 1:]
        if self.training:  # some words become the unknown one (index 0), so that its vector and the parts are trained
            word = word * (torch.rand(word.shape, device=word.device) >= self.word_dropout)
        embedded = self.dropout(self.norm(self.word(word) + self.parts(parts)))
        return embedded if self.positions is None else embedded + 2 * self.positions(pos)

    def forward(self, x: Tensor, pos: Tensor, graph: Graph, edge_attr: Tensor | None) -> Tensor:
        x = self.embed(x, pos)
        for layer in self.layers:
            x = layer(x, graph, edge_attr)
        return self.head(x)

    def attention(self, x: Tensor, pos: Tensor, graph: Graph, edge_attr: Tensor | None) -> list[Tensor]:
        """What each word looks at, layer by layer: [num_words, num_words, heads], nan where there is no edge."""
        x, pictures = self.embed(x, pos), []
        for layer in self.layers:
            _, (edge_index, weights) = layer.attention(layer.attention_norm(x), graph, edge_attr, True)
            picture = torch.full((len(x), len(x), weights.size(1)), torch.nan)
            picture[edge_index[1], edge_index[0]] = weights  # rows are the words that look
            pictures.append(picture)
            x = layer(x, graph, edge_attr)
        return pictures


# Training and its result ---------------------------------------------------------------------------------------------


@torch.no_grad()
def accuracy(model: Tagger, loader: DataLoader, args: argparse.Namespace) -> float:
    """Per cent of the words with the right tag."""
    model.eval()
    right = total = 0
    for batch in loader:
        predicted = model(batch.x, batch.pos, *make_graph(batch, args)).argmax(-1)
        right, total = right + int((predicted == batch.y).sum()), total + len(batch.y)
    return 100 * right / total


def train(model: Tagger, loader: DataLoader, dev: DataLoader, args: argparse.Namespace) -> None:
    """The weights of the epoch that is best on the development set stay in the model."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05, fused=True)
    steps = args.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=steps, pct_start=0.2)
    best, best_state = -1.0, None
    for epoch in range(1, args.epochs + 1):
        model.train()
        for batch in tqdm(loader, desc=f"epoch {epoch}", leave=False):
            loss = F.cross_entropy(model(batch.x, batch.pos, *make_graph(batch, args)), batch.y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        found = accuracy(model, dev, args)
        print(f"epoch {epoch:2d}  dev accuracy {found:.2f} %  {time.process_time():.0f} CPU seconds so far", flush=True)
        if found > best:
            best, best_state = found, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best_state)


def majority_baseline(train_set: UDEnglishEWT, test_set: UDEnglishEWT) -> float:
    """Per cent right if a word gets the tag it has most often in training; an unknown one gets the commonest tag."""
    counts, overall = {}, Counter()
    for sentence in train_set:
        for word, tag in zip(sentence.words, sentence.y.tolist()):
            counts.setdefault(word.lower(), Counter())[tag] += 1
            overall[tag] += 1
    pairs = [pair for sentence in test_set for pair in zip(sentence.words, sentence.y.tolist())]
    return 100 * sum(counts.get(word.lower(), overall).most_common(1)[0][0] == tag for word, tag in pairs) / len(pairs)


@torch.no_grad()
def draw(model: Tagger, sentence: Data, vocabulary: Vocabulary, args: argparse.Namespace) -> None:
    """One row of pictures for each layer, one picture for each head."""
    model.eval()
    batch = Batch.from_data_list([encode(sentence, vocabulary)])
    inputs = batch.x, batch.pos, *make_graph(batch, args)
    tags = [UDEnglishEWT.tags[tag] for tag in model(*inputs).argmax(-1)]
    size = 1.2 + 0.24 * len(tags)
    figure, axes = plt.subplots(
        args.layers,
        args.heads,
        figsize=(size * args.heads, size * args.layers),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for layer, picture in enumerate(model.attention(*inputs)):
        for head in range(args.heads):
            axis = axes[layer, head]
            axis.set_facecolor("0.92")  # no edge
            axis.imshow(picture[..., head].numpy(), cmap="magma_r", vmin=0, vmax=1)
            axis.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=9)
            axis.set_xticks(range(len(tags)), sentence.words, rotation=90, fontsize=8)
            axis.set_yticks(range(len(tags)), [f"{word} {tag}" for word, tag in zip(sentence.words, tags)], fontsize=8)
    figure.suptitle("each row: where this word (with its predicted tag) looks; grey: no edge", fontsize=10)
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=120)
    plt.close(figure)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.environ.get("GRAPHATTN_DATA", "datasets"), help="holds the folder ud_ewt")
    parser.add_argument("--graph", choices=("banded", "complete"), default="banded")
    parser.add_argument("--band", type=int, default=3, help="words to either side that a word attends to")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64, help="sentences")
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--word-dropout", type=float, default=0.2, help="share of words made unknown in training")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="the matrices are small: one is enough")
    parser.add_argument("--output", default=None, help="picture (default results/sequence_labeling_GRAPH.png)")
    args = parser.parse_args(arguments)
    args.output = args.output or f"results/sequence_labeling_{args.graph}.png"
    return args


def main(arguments: list[str] | None = None) -> float:
    """Trains, tests once, draws; returns the accuracy on the test set in per cent."""
    args = parse_arguments(arguments)
    torch.set_num_threads(args.threads)
    seed_everything(args.seed)
    start = time.perf_counter()
    splits = [UDEnglishEWT(os.path.join(args.root, "ud_ewt"), split) for split in ("train", "dev", "test")]
    lower_cased = ([word.lower() for word in sentence.words] for sentence in splits[0])
    vocabulary = Vocabulary.from_sentences(lower_cased, min_count=2)
    encoded = [[encode(sentence, vocabulary) for sentence in split] for split in splits]
    loaders = [DataLoader(split, args.batch_size, shuffle=split is encoded[0]) for split in encoded]
    model = Tagger(len(vocabulary), len(UDEnglishEWT.tags), args)
    weights = sum(parameter.numel() for parameter in model.parameters())
    print(f"{len(splits[0])} sentences, {len(vocabulary)} known words, {weights} weights")

    train(model, *loaders[:2], args)
    found = accuracy(model, loaders[2], args)
    test_sentence = min(splits[2], key=lambda sentence: abs(sentence.num_nodes - 11))
    draw(model, test_sentence, vocabulary, args)
    print(
        f"test accuracy {found:.2f} % with {args.graph} attention"
        f" ({time.perf_counter() - start:.0f} seconds, {time.process_time():.0f} CPU seconds, seed {args.seed})"
    )
    print(f"majority tag of each word: {majority_baseline(splits[0], splits[2]):.2f} %; published: {PUBLISHED}")
    print(f"attention between the words of a sentence: {args.output}")
    return found


if __name__ == "__main__":
    main()
