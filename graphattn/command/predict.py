"""`graphattn predict`: what a saved model says of new data."""

import argparse
import csv
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor
from torch_geometric.data import Data

from graphattn.command.network import prepared, read_network
from graphattn.datasets import from_csv
from graphattn.datasets.csv_file import read_rows
from graphattn.datasets.pictures import read_image
from graphattn.inputs import from_smiles, from_text, from_wav
from graphattn.recipes import Predicted, Trained, load

SUMMARY = "Print what a saved model says of new data, as CSV"
EXAMPLES = """
  graphattn predict reviews.pt "a good film" "a bad film"
  graphattn predict esol.pt CCO c1ccccc1
  graphattn predict sounds.pt new/1.wav new/2.wav
  graphattn predict reviews.pt --csv more.csv --out predictions.csv     the column that it was trained on, or --column
  graphattn predict network.pt network.npz                              a line for each node
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a file that `graphattn train --save` wrote")
    parser.add_argument("inputs", nargs="*", help="texts, SMILES, files of sounds or images, or of one network")
    parser.add_argument("--csv", metavar="FILE", help="inputs from a column of this file")
    parser.add_argument("--column", help="its name; by default that of training")
    parser.add_argument("--out", metavar="FILE", help="write there; default: print")


def run(args: argparse.Namespace) -> int:
    trained = load(args.model)
    source = trained.facts.get("source")
    if source is None:
        raise ValueError(
            f"'{args.model}' does not say what raw input it reads; use graphattn.recipes.load('{args.model}').predict"
        )
    if bool(args.inputs) == bool(args.csv):
        raise ValueError("give inputs, or --csv FILE with a column of them (got both or neither)")
    if args.csv:
        column = args.column or source.get("column")
        if column is None:
            raise ValueError("--csv needs --column COL, as the model was not trained on a file of this kind (got none)")
        rows, examples, failures = of_table(args.csv, column, source)
    else:
        rows, examples, failures = args.inputs, of_inputs(args.inputs, source), []
    for failure in failures:
        print(failure, file=sys.stderr)
    if args.out:
        with open(args.out, "w", newline="", encoding="utf-8") as file:
            write(file, trained, rows, examples)
    else:
        write(sys.stdout, trained, rows, examples)
    return 1 if failures else 0


def of_table(path: str, column: str, source: dict[str, Any]) -> tuple[list[str], Any, list[Any]]:
    """Names of the inputs, the examples, and what could not be read."""
    if source["kind"] == "line":
        texts = [row[column] or "" for row in read_rows(path, (column,))]
        return texts, texts, []
    if source["kind"] in ("network", "graph"):
        raise ValueError(
            "the model reads networks or graphs, which are no column of a file; use graphattn.recipes.load in Python"
        )
    examples, _, failures = from_csv(path, **{source["kind"]: column}, **source["options"])
    left_out = {failure.where for failure in failures}
    cells = [row[column] or "" for row in read_rows(path, (column,))]
    return [cell for place, cell in enumerate(cells, start=1) if f"row {place}" not in left_out], examples, failures


def of_inputs(inputs: list[str], source: dict[str, Any]) -> Any:
    """The examples that words of the command line say."""
    kind, options = source["kind"], source.get("options", {})
    if kind == "line":
        return inputs
    if kind == "network":
        if len(inputs) != 1:
            raise ValueError(f"the model reads one network at a time (got {len(inputs)} inputs)")
        return prepared(read_network(inputs[0]), **options)
    if kind == "graph":
        raise ValueError(
            "the model reads graphs of a data set of PyG; use graphattn.recipes.load(...).predict(graphs) in Python"
        )
    readers: dict[str, Callable[..., Data]] = {
        "text": from_text,
        "smiles": from_smiles,
        "wav": from_wav,
        "image": read_image,
    }
    for path in inputs if kind in ("wav", "image") else ():
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file '{path}'")
    return [readers[kind](each, **options) for each in inputs]


def write(file: TextIO, trained: Trained, rows: list[str], examples: Any) -> None:
    writer = csv.writer(file)
    predicted = trained.predict(examples)
    if isinstance(predicted, Predicted):
        writer.writerow(["input", "predicted", *predicted.classes])
        names: Iterable[Any] = range(len(predicted.labels)) if isinstance(examples, Data) else rows
        for name, label, shares in zip(names, predicted.labels, predicted.probabilities.tolist(), strict=True):
            writer.writerow([name, label, *(f"{share:.4f}" for share in shares)])
        return
    writer.writerow(["input", "predicted"])
    values = predicted.tolist() if isinstance(predicted, Tensor) else predicted
    for name, value in zip(rows, values, strict=True):
        writer.writerow([name, f"{value:.6g}" if isinstance(value, float) else value])
