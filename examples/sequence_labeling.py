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
not a contest. Measured here (5 epochs, seed 0): 94.9 banded, 94.7 complete, each in less than 100 CPU seconds.
"""

import argparse
import os
import time
from collections import Counter
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.seed import seed_everything

from graphattn import BandedGraph, CompleteGraph, Graph, recipes
from graphattn.datasets import UDEnglishEWT
from graphattn.inputs import Vocabulary
from graphattn.recipes import Choice, Schedule
from graphattn.recipes.models.tagger import Tagger
from graphattn.recipes.models.words import WORDS_OF_TAGS, ends_and_shape_of
from graphattn.recipes.texts import word_rows

matplotlib.use("Agg")  # draws without a screen; to be said before pyplot is imported
import matplotlib.pyplot as plt

PUBLISHED = "spaCy with XLM-RoBERTa 96.94, Stanza with pretrained vectors 95.40 (not checked); see --help"


# Words to numbers ----------------------------------------------------------------------------------------------------


def encode(sentence: Data, vocabulary: Vocabulary) -> Data:
    """x [n, 11]: index of the word in the vocabulary, then the buckets of its parts."""
    x = word_rows(sentence.words, vocabulary, ends_and_shape_of, lower=True)
    return Data(x=x, pos=sentence.pos, y=sentence.y)


def make_graph(batch: Batch, args: argparse.Namespace) -> tuple[Graph, Tensor | None]:
    """Who attends to whom in a batch of sentences, and the one-hot offset of each edge of a band."""
    num_words = batch.ptr.diff().tolist()
    if args.graph == "complete":
        return CompleteGraph(num_words), None
    graph = BandedGraph(num_words, args.band, args.band)
    source, target = graph.edge_index()
    return graph, F.one_hot(source - target + args.band, 2 * args.band + 1).float()


# Model ---------------------------------------------------------------------------------------------------------------


def tagger(num_words: int, num_tags: int, args: argparse.Namespace) -> Tagger:
    """Words and their parts -> attention -> one score for each tag: [num_words, num_tags]."""
    embed = WORDS_OF_TAGS(num_words, args.channels, dropout=args.dropout, word_dropout=args.word_dropout)
    edge_dim = 2 * args.band + 1 if args.graph == "banded" else None
    sizes = {name: getattr(args, name) for name in ("channels", "layers", "heads", "dropout")}
    return Tagger(embed, num_tags, edge_dim=edge_dim, **sizes)


def attention_of(model: Tagger, x: Tensor, pos: Tensor, graph: Graph, edge_attr: Tensor | None) -> list[Tensor]:
    """What each word looks at, layer by layer: [num_words, num_words, heads], nan where there is no edge."""
    x, pictures = model.embed(x, pos), []
    for layer in model.layers:
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

    def loss(model: Tagger, batch: Batch) -> Tensor:
        return F.cross_entropy(model(batch.x, batch.pos, *make_graph(batch, args)), batch.y)

    def report(epoch: int, numbers: dict[str, float]) -> None:
        seconds = f"{time.process_time():.0f} CPU seconds so far"
        print(f"epoch {epoch + 1:2d}  dev accuracy {numbers['accuracy']:.2f} %  {seconds}", flush=True)

    recipes.fit(
        model,
        loader,
        loss,
        Schedule(args.epochs, args.lr, weight_decay=0.05, fused=True, warmup=0.2, clip=1.0),
        evaluate=lambda model: {"accuracy": accuracy(model, dev, args)},
        choice=Choice("accuracy"),
        report=report,
    )


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
    for layer, picture in enumerate(attention_of(model, *inputs)):
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
    model = tagger(len(vocabulary), len(UDEnglishEWT.tags), args)
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
