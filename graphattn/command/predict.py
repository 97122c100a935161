"""`graphattn predict`: what a saved model says of new data."""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor

from graphattn.command import reading
from graphattn.command.failures import tell_failures
from graphattn.datasets.failures import Failure
from graphattn.recipes import Predicted, Trained

SUMMARY = "Print what a saved model says of new data, as CSV"
EXAMPLES = """
  graphattn predict reviews.pt "a good film" "a bad film"
  graphattn predict esol.pt CCO c1ccccc1
  graphattn predict sounds.pt new/1.wav new/2.wav
  graphattn predict reviews.pt --csv more.csv --out predictions.csv     the column that it was trained on, or --column
  graphattn predict network.pt network.npz                              a line for each node
  graphattn predict network.pt edges.csv nodes.csv                      the same, where it was trained on such tables
  graphattn predict mutag.pt molecule.npz                               arrays x, edge_index, edge_attr of one graph

What cannot be read is told with its reason; the rest is predicted, and the exit code is 1.
"""

LONGEST_NAME = 200  # of a file; systems take 255 bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    reading.add_model(parser)
    reading.add_inputs(parser, "*")
    parser.add_argument("--csv", metavar="FILE", help="inputs from a column of this file")
    parser.add_argument("--column", help="its name; by default that of training")
    parser.add_argument("--out", metavar="FILE", help="write there; default: print")


def run(args: argparse.Namespace) -> int:
    trained, source = reading.load_with_source(args.model)
    if bool(args.inputs) == bool(args.csv):
        raise ValueError("give inputs, or --csv FILE with a column of them (got both or neither)")
    if args.csv:
        column = args.column or source.get("column")
        if column is None:
            raise ValueError("--csv needs --column COL, as the model was not trained on a file of this kind (got none)")
        inputs = reading.read_table(args.csv, column, source)
    else:
        inputs = reading.read_inputs(args.inputs, source)
        tell_of_files(args.inputs, source)
    inputs, predicted = predict(trained, inputs)
    if inputs.names and args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        with open(args.out, "w", newline="", encoding="utf-8") as file:
            write(file, predicted, inputs.names)
    elif inputs.names:
        write(sys.stdout, predicted, inputs.names)
    tell_failures(inputs.failures, "is not predicted")
    return 1 if inputs.failures else 0


def tell_of_files(words: list[str], source: dict[str, Any]) -> None:
    """Says which texts are names of files: their content is rarely meant by them to be left alone."""
    if source["kind"] not in ("text", "line"):
        return
    for word in words:
        if len(word) < LONGEST_NAME and Path(word).is_file():
            print(f"'{word}' is read as a text, not as the file of this name; --csv {word} reads that", file=sys.stderr)


def predict(trained: Trained, inputs: reading.Inputs) -> tuple[reading.Inputs, Any]:
    """What the model says of the examples that it takes, and these; the others are failures."""
    if not isinstance(inputs.examples, list):
        return inputs, trained.predict(inputs.examples)
    good, failures = [], list(inputs.failures)
    for name, example in zip(inputs.names, inputs.examples, strict=True):
        try:
            trained.recipe.check_input(example, trained.facts)
            good.append((name, example))
        except ValueError as error:
            failures.append(Failure(reading.shown(name), str(error)))
    names, examples = [name for name, _ in good], [example for _, example in good]
    return reading.Inputs(names, examples, failures), trained.predict(examples) if examples else None


def write(file: TextIO, predicted: Any, names: list[Any]) -> None:
    writer = csv.writer(file)
    if isinstance(predicted, Predicted):
        writer.writerow(["input", "predicted", *predicted.classes])
        for name, label, shares in zip(names, predicted.labels, predicted.probabilities.tolist(), strict=True):
            writer.writerow([name, label, *(f"{share:.4f}" for share in shares)])
        return
    writer.writerow(["input", "predicted"])
    values = predicted.tolist() if isinstance(predicted, Tensor) else predicted
    for name, value in zip(names, values, strict=True):
        value = " ".join(map(str, value.labels)) if isinstance(value, Predicted) else value
        writer.writerow([name, f"{value:.6g}" if isinstance(value, float) else value])
