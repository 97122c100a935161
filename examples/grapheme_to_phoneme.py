"""How is a word spoken? N letters in, N' phonemes out, on CMUdict: a Transformer that reads letters and writes phonemes.

    python -m examples.grapheme_to_phoneme                      # trains, then tests
    python -m examples.grapheme_to_phoneme --minutes 20         # stops after 20 minutes ...
    python -m examples.grapheme_to_phoneme --resume             # ... goes on from there, with the result of one long run

The letters of a word attend to one another (a complete graph), a phoneme to those before it (a causal graph) and to all
letters (a bipartite graph). A batch is 256 words laid end to end under ragged graphs, words of like lengths together, and
nothing is padded. The words of the test set are written by beam search with a key/value cache.

A step takes 288 ms on one core: half of it in matrix products, a fifth in the random numbers of dropout, an eighth in
attention. torch.nn.Transformer of the same size takes 280 ms for the same batch, which has next to nothing to pad; on
batches of words of any lengths, which it must pad, 628 ms against 317 here.

A phoneme error rate (PER) is the edit distance to the nearest pronunciation in the dictionary over the length of that
pronunciation, summed over the words; a word error rate (WER) is the share of words that equal none of them. Published:
     5.2 PER, 22.1 WER  Transformer of 4 + 4 layers, CMUdict 0.7b, 12,000 test words (Yolchuyeva et al. 2019,
                        "Transformer based grapheme-to-phoneme conversion"; from memory, the paper was not at hand)
Here: a later version of the dictionary, 11,999 other test words (the dictionary has no split of its own), phonemes without
stress, as in most of the literature. So these figures show what can be expected; they are not a contest.
Measured here (seed 0, one thread): 8.1 PER, 32.2 WER after 16 CPU minutes (on two threads, which round otherwise, 8.2 and
32.6); validation words 8.7, 36.0 (greedy) after 9 of the 10 epochs, still falling by a point of WER an epoch: this is a
small model that has not seen its words often.

The weights are the running mean of those of the last steps; nothing is chosen by the test words, which are read once, at
the end.
"""

import argparse
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.seed import seed_everything
from tqdm import tqdm

from graphattn import CompleteGraph, causal
from graphattn.datasets import CMUDict
from graphattn.nn import Seq2Seq, beam_search, greedy_search
from graphattn.recipes import Fit, Keep, Schedule, fit
from graphattn.recipes.edit_distance import edit_distance
from graphattn.viz import draw_words

matplotlib.use("Agg")  # draws without a screen; to be said before pyplot is imported
import matplotlib.pyplot as plt

END = 0  # the token before the first phoneme and after the last; phoneme i is token i + 1
PUBLISHED = "Transformer 5.2 PER, 22.1 WER on CMUdict 0.7b (Yolchuyeva et al. 2019); see --help"
DRAWN = ("rhythm", "foresight", "pneumonia", "transformers")  # of the test set


# Words to tokens -----------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A word and one way to speak it."""

    letters: list[int]
    phonemes: list[int]  # tokens, END neither before nor after


def letters_of(word: str) -> list[int]:
    return [CMUDict.letters.index(letter) for letter in word]


def pairs_of(dataset: CMUDict) -> list[Pair]:
    """Every word with each of its pronunciations."""
    token_of = {phoneme: token for token, phoneme in enumerate(dataset.phonemes, start=1)}
    return [
        Pair(letters_of(word), [token_of[phoneme] for phoneme in pronunciation.split()])
        for word, pronunciations in zip(dataset.words, dataset.pronunciations, strict=True)
        for pronunciation in pronunciations
    ]


def batches_of(pairs: Sequence[Pair], size: int, seed: int) -> list[list[Pair]]:
    """Pairs of like lengths together, in an order that `seed` decides."""
    chance = random.Random(seed)
    pairs = sorted(pairs, key=lambda pair: (len(pair.letters), len(pair.phonemes), chance.random()))
    batches = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    chance.shuffle(batches)
    return batches


def loss_of(model: Seq2Seq, batch: Sequence[Pair], smoothing: float = 0.0) -> Tensor:
    """Cross entropy of each next phoneme, given the word and the phonemes before it; END is the last."""
    letters = torch.tensor([letter for pair in batch for letter in pair.letters])
    seen = torch.tensor([token for pair in batch for token in (END, *pair.phonemes)])
    wanted = torch.tensor([token for pair in batch for token in (*pair.phonemes, END)])
    letters_graph = CompleteGraph([len(pair.letters) for pair in batch])
    phonemes_graph = causal([len(pair.phonemes) + 1 for pair in batch])
    return F.cross_entropy(model(letters, seen, letters_graph, phonemes_graph), wanted, label_smoothing=smoothing)


# Training ------------------------------------------------------------------------------------------------------------


def schedule_of(args: argparse.Namespace) -> Schedule:
    """The learning rate goes up in a straight line, then down to nothing; the weights are averaged over the steps."""
    return Schedule(
        args.epochs,
        args.lr,
        batch_size=args.batch_size,
        betas=(0.9, 0.98),
        fused=True,
        shape="linear",
        warmup=args.warmup,
        clip=1.0,
        averaging=args.average,
    )


def make_model(num_phonemes: int, args: argparse.Namespace) -> Seq2Seq:
    sizes = {"channels": args.channels, "num_layers": args.layers, "heads": args.heads}
    layer = {"feedforward_channels": 2 * args.channels, "dropout": args.dropout, "attention_dropout": 0.0}
    return Seq2Seq(len(CMUDict.letters), num_phonemes + 1, **sizes, **layer, norm_first=True)


def recipe_of(args: argparse.Namespace) -> dict:
    """The arguments that decide the result."""
    names = ("epochs", "batch_size", "channels", "heads", "layers", "dropout", "smoothing", "lr", "warmup", "average")
    return {name: getattr(args, name) for name in (*names, "stress", "seed")}


def train(model: Seq2Seq, pairs: list[Pair], valid: CMUDict, args: argparse.Namespace) -> Fit:
    """Goes on to the last step, or until the minutes are over; a checkpoint restores everything to the bit."""
    valid_batches = batches_of(pairs_of(valid), 512, seed=0)

    def evaluate(model: Seq2Seq) -> dict[str, float]:
        found = validation(model, valid_batches)
        per, wer = error_rates(greedy(model, valid.words, valid.phonemes), valid.pronunciations)
        return {"loss": found, "PER": per, "WER": wer}

    def report(epoch: int, numbers: dict[str, float]) -> None:
        print(f"epoch {epoch + 1:2d}  training loss {numbers['training loss']:.3f}  validation loss {numbers['loss']:.3f}"
              f"  validation PER {numbers['PER']:.2f} %, WER {numbers['WER']:.2f} % (greedy)"
              f"  {time.process_time() / 60:.1f} CPU minutes in this run", flush=True)  # fmt: skip

    return fit(
        model,
        lambda epoch: batches_of(pairs, args.batch_size, seed=1000 * args.seed + epoch),
        lambda model, batch: loss_of(model, batch, args.smoothing),
        schedule_of(args),
        evaluate=evaluate,
        keep=Keep(args.checkpoint, args.resume, args.save_every, args.minutes, recipe_of(args)),
        title="epochs",
        report=report,
    )


@torch.no_grad()
def validation(model: Seq2Seq, batches: list[list[Pair]]) -> float:
    """The loss of a phoneme."""
    tokens = [sum(len(pair.phonemes) + 1 for pair in batch) for batch in batches]
    losses = [float(loss_of(model, batch)) for batch in batches]
    return sum(loss * count for loss, count in zip(losses, tokens, strict=True)) / sum(tokens)


# Writing and its errors ----------------------------------------------------------------------------------------------


def chunks_of(words: Sequence[str], size: int) -> Iterator[list[int]]:
    """Places of words of like lengths."""
    order = sorted(range(len(words)), key=lambda place: len(words[place]))
    yield from (order[start : start + size] for start in range(0, len(order), size))


def written(search, words: Sequence[str], phonemes: Sequence[str], **progress) -> list[str]:
    """What `search(prompts, max_length, **source)` writes for each word."""
    found = [""] * len(words)
    chunks = list(chunks_of(words, 256))
    for chunk in tqdm(chunks, leave=False, **progress):
        source = torch.tensor([letter for place in chunk for letter in letters_of(words[place])])
        graph = CompleteGraph([len(words[place]) for place in chunk])
        prompts = [torch.tensor([END])] * len(chunk)
        longest = 2 * max(len(words[place]) for place in chunk) + 5
        texts = search(prompts, longest, end=END, source=source, source_graph=graph)
        for place, text in zip(chunk, texts, strict=True):
            found[place] = " ".join(phonemes[token - 1] for token in text.tolist() if token != END)
    return found


def greedy(model: Seq2Seq, words: Sequence[str], phonemes: Sequence[str]) -> list[str]:
    return written(lambda *args, **named: greedy_search(model, *args, **named), words, phonemes, disable=True)


def beam(model: Seq2Seq, words: Sequence[str], phonemes: Sequence[str], args: argparse.Namespace) -> list[str]:
    def search(*inputs, **named) -> list[Tensor]:
        best = beam_search(model, *inputs, beams=args.beams, length_penalty=args.length_penalty, **named)
        return [texts[0].tokens for texts in best]

    return written(search, words, phonemes, desc="writing")


def error_rates(found: Sequence[str], wanted: Sequence[Sequence[str]]) -> tuple[float, float]:
    """(phoneme error rate, word error rate) in per cent, each word against the nearest of its pronunciations.

    >>> error_rates(["K AE T", "R EH D"], [["K AA T"], ["R IY D", "R EH D"]])
    (16.666666666666668, 50.0)
    """
    distance = length = wrong = 0
    for text, pronunciations in zip(found, wanted, strict=True):
        text, references = text.split(), [pronunciation.split() for pronunciation in pronunciations]
        nearest = min(references, key=lambda reference: edit_distance(text, reference))
        distance, length = distance + edit_distance(text, nearest), length + len(nearest)
        wrong += text not in references
    return 100 * distance / length, 100 * wrong / len(wanted)


# Pictures and the command --------------------------------------------------------------------------------------------


@torch.no_grad()
def attention_on_letters(model: Seq2Seq, word: str, tokens: list[int]) -> tuple[CompleteGraph, list[Tensor]]:
    """What each phoneme, while it is written, sees of the letters: [num_edges, heads] for each layer."""
    letters, seen = torch.tensor(letters_of(word)), torch.tensor([END, *tokens])
    graph, letters_graph = causal(len(seen)), CompleteGraph(len(seen), len(letters))
    memory = model.encode(letters, CompleteGraph(len(letters)))
    x, pictures = model.embedding(seen, torch.arange(len(seen))), []
    for layer in model.decoder.layers:

        def look(y: Tensor, layer=layer) -> Tensor:
            out, (_, weights) = layer.memory_attention((memory, y), letters_graph, return_attention_weights=True)
            pictures.append(weights)
            return out

        x = layer.run(x, graph, lambda y, layer=layer: layer.attention(y, graph), look)
    return letters_graph, pictures


def draw_attention(model: Seq2Seq, phonemes: Sequence[str], path: Path) -> None:
    """One column for each word, one row for each layer, the mean of the heads."""
    texts = [text.split() for text in greedy(model, DRAWN, phonemes)]
    print("written: " + ", ".join(f"{word} [{' '.join(text)}]" for word, text in zip(DRAWN, texts, strict=True)))
    num_layers = len(model.decoder.layers)
    figure, axes = plt.subplots(num_layers, len(DRAWN), figsize=(4.2 * len(DRAWN), 3.8 * num_layers), squeeze=False,
                                layout="constrained")  # fmt: skip
    for column, (word, text) in enumerate(zip(DRAWN, texts, strict=True)):
        graph, pictures = attention_on_letters(model, word, [phonemes.index(phoneme) + 1 for phoneme in text])
        for layer, weights in enumerate(pictures):
            title = f"{word}, layer {layer + 1}"
            draw_words(list(word), graph, weights, query_tokens=[*text, "end"], title=title, ax=axes[layer, column])
    figure.suptitle("each row: a phoneme, and the letters its query sees (mean of the heads)")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_curve(history: list[dict[str, float]], path: Path) -> None:
    epochs = range(1, len(history) + 1)
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    names = {"training loss": "training (dropout, smoothed labels)", "loss": "validation (averaged weights)"}
    for name, label in names.items():
        ax.plot(epochs, [numbers[name] for numbers in history], marker="o", label=label)
    ax.set(xlabel="epoch", ylabel="cross entropy of a phoneme, nats", title="letters to phonemes: learning curve")
    ax.set_yscale("log")
    ax.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.environ.get("GRAPHATTN_DATA", "datasets"), help="holds the folder cmudict")
    parser.add_argument("--stress", action="store_true", help="phonemes with stress: 69 instead of 39")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=256, help="words")
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=3, help="of the encoder, and of the decoder")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--smoothing", type=float, default=0.1, help="share of a label spread over all phonemes")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=float, default=0.08, help="share of the steps")
    parser.add_argument("--average", type=float, default=0.998, help="of the running mean of the weights")
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--length-penalty", type=float, default=0.6)
    parser.add_argument("--minutes", type=float, default=None, help="of training in this run; the rest by --resume")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--checkpoint", default="results/grapheme_to_phoneme.pt")
    parser.add_argument("--save-every", type=int, default=100, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="results", help="folder of the pictures")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> tuple[float, float] | None:
    """Trains, tests once, draws; returns PER and WER on the test set in per cent, None if the minutes were over before."""
    args = parse_arguments(arguments)
    torch.set_num_threads(args.threads)
    seed_everything(args.seed)
    start = time.perf_counter()
    root = os.path.join(args.root, "cmudict")
    train_set, valid_set = (CMUDict(root, split, args.stress) for split in ("train", "valid"))
    pairs = pairs_of(train_set)
    model = make_model(len(train_set.phonemes), args)
    weights = sum(parameter.numel() for parameter in model.parameters())
    print(f"{len(train_set)} words, {len(pairs)} pronunciations, {weights} weights", flush=True)
    found = train(model, pairs, valid_set, args)
    if not found.is_finished:
        steps = args.epochs * -(-len(pairs) // args.batch_size)
        print(f"the {args.minutes:g} minutes are over after {found.steps} of {steps} steps;"
              f" go on by --resume ({args.checkpoint})")  # fmt: skip
        return None

    out, since = Path(args.out), time.process_time()
    test_set = CMUDict(root, "test", args.stress)
    per, wer = error_rates(beam(model, test_set.words, test_set.phonemes, args), test_set.pronunciations)
    print(f"test PER {per:.2f} %, WER {wer:.2f} %, {len(test_set)} words, {args.beams} beams"
          f" ({found.seconds / 60:.1f} CPU minutes of training, {(time.process_time() - since) / 60:.1f} of writing,"
          f" {(time.perf_counter() - start) / 60:.1f} minutes in this run, seed {args.seed})")  # fmt: skip
    print(f"published: {PUBLISHED}")
    out.mkdir(parents=True, exist_ok=True)
    draw_attention(model, test_set.phonemes, out / "grapheme_to_phoneme_attention.png")
    draw_curve(found.history, out / "grapheme_to_phoneme_curve.png")
    print(f"pictures: {out}/grapheme_to_phoneme_attention.png, {out}/grapheme_to_phoneme_curve.png")
    return per, wer


if __name__ == "__main__":
    main()
