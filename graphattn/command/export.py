"""`graphattn export`: a saved model as a program that runs without graphattn."""

import argparse
from typing import Any

import numpy as np

from graphattn.command import reading

SUMMARY = "Write a saved model as an ONNX file or as a program of torch.export"
EXAMPLES = """
  graphattn export reviews.pt reviews.onnx "a good film"             an example, which the file is compared with the model on
  graphattn export esol.pt esol.onnx CCO --inputs example.npz        and the arrays of the example, as the file takes them
  graphattn export network.pt network.pt2 network.npz                for torch.export.load

The file takes one example, or one network, of any number of nodes and edges. In Python
graphattn.recipes.load("reviews.pt").tensors(example) makes its inputs.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    reading.add_model(parser)
    parser.add_argument("file", help="to be written: .onnx (needs graphattn[export]) or .pt2")
    reading.add_inputs(parser)
    parser.add_argument(
        "--inputs", metavar="FILE", dest="arrays", help="write the arrays of the example there, as .npz"
    )


def run(args: argparse.Namespace) -> int:
    trained, source = reading.load_with_source(args.model)
    inputs = reading.read_inputs(args.inputs, source)
    if inputs.failures:
        raise ValueError(str(inputs.failures[0]))
    print(f"exported: {trained.export(args.file, inputs.examples)}")
    names = trained.facts.get("names") or trained.facts.get("classes")
    if names is not None:
        print(f"  the probabilities of {', '.join(map(str, names))}")
    if args.arrays:
        arrays: dict[str, Any] = {name: x.numpy() for name, x in trained.tensors(inputs.examples).items()}
        np.savez(args.arrays, **arrays)
        print(f"inputs of the example: {args.arrays}")
    return 0
