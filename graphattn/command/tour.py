"""`graphattn tour`: one layer on five inputs."""

import argparse

import torch

from graphattn.recipes.tour import run_tour

SUMMARY = "Train one attention layer on sentences, sounds, images, molecules and a social network, each in seconds"
EXAMPLES = """
  graphattn tour                    under 3 minutes on 2 cores, nothing to download
  graphattn tour --epochs 0.2       a fifth of the epochs
  graphattn tour --explore page.html   and a page for the browser: whom every node attends to, in every head
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=float, default=1.0, help="factor of the number of epochs of every stop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="the matrices are small: one is enough")
    parser.add_argument("--output", default="results/tour.png", help="the picture")
    parser.add_argument(
        "--explore", metavar="PATH", help="a page on which a person explores the attention over every input"
    )


def run(args: argparse.Namespace) -> int:
    torch.set_num_threads(args.threads)
    run_tour(args.epochs, args.seed, args.output, args.explore)
    return 0
