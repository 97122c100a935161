"""A tour: one attention layer on sentences, sounds, images, molecules and a social network. Only the graph differs.

    python examples/tour.py                 # under 3 minutes on 2 cores, no network, nothing to download
    python examples/tour.py --epochs 0.2    # a fifth of the epochs
    python examples/tour.py --explore page.html    # and a page for the browser: whom every node attends to, in every head

A graph says who attends to whom: a sentence is a complete graph over its words (or a causal one: each word sees those
before it), a sound a band over its frames, an image a grid of patches, a molecule its bonds, a network its friendships.
The model is the same for all of them: embed -> 2 x [x + GraphAttention(norm(x)), x + feed-forward] -> class.

There is no published figure for the made-up sets, whose labels single nodes do not give away; each row is measured
against always answering the majority class. For the karate club there is one: Zachary (1977) finds the half of 33 of
the 34 members by a minimum cut between the two leaders. Here the leaders' labels are all that is known in training.
"""

import argparse

import torch

from graphattn.command.tour import add_arguments
from graphattn.recipes.tour import run_tour


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> dict[tuple[str, str], float]:
    """Trains and tests every stop, prints the table, draws the picture; returns the accuracies in per cent."""
    args = parse_arguments(arguments)
    torch.set_num_threads(args.threads)
    return run_tour(args.epochs, args.seed, args.output, args.explore)


if __name__ == "__main__":
    main()
