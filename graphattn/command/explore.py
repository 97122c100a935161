"""`graphattn explore`: whom every node attends to, in a saved model."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Data

from graphattn.command import reading
from graphattn.command.failures import tell_failures
from graphattn.explain import attention_of, attention_table
from graphattn.recipes import Trained
from graphattn.viz import explore

SUMMARY = "Write a page for the browser that shows whom every word, frame, patch, atom or node attends to"
EXAMPLES = """
  graphattn explore reviews.pt page.html "a good film" "not a bad film"
  graphattn explore esol.pt page.html CCO
  graphattn explore sounds.pt page.html new/1.wav
  graphattn explore network.pt page.html network.npz
  graphattn explore reviews.pt weights.csv "a good film"             a table: layer, head, source, target, weight (needs pandas)
"""
SUFFIXES = (".html", ".csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    reading.add_model(parser)
    parser.add_argument("file", help="to be written: a page .html, which runs from the disk, or a table .csv")
    reading.add_inputs(parser)
    parser.add_argument("--title", help="of the page")


def run(args: argparse.Namespace) -> int:
    if Path(args.file).suffix not in SUFFIXES:
        raise ValueError(f"the file must end with one of {list(SUFFIXES)} (got '{args.file}')")
    trained, source = reading.load_with_source(args.model)
    inputs = reading.read_inputs(args.inputs, source)
    tell_failures(inputs.failures, "is left out")
    if isinstance(inputs.examples, list):
        examples = dict(zip(map(str, inputs.names), inputs.examples, strict=True))
    else:
        examples = {Path(args.inputs[0]).stem: inputs.examples}
    wrong = [name for name, example in examples.items() if not isinstance(example, Data)]
    if wrong:
        raise ValueError(
            f"models of the recipe {trained.recipe.name!r} write step by step; explore takes them in Python: graphattn.viz.explore"
        )
    if not examples:
        raise ValueError("none of the inputs could be read, there is nothing to be shown")
    if Path(args.file).suffix == ".csv":
        write_table(args.file, trained, examples)
    else:
        classes = trained.facts.get("names") or trained.facts.get("classes")
        options: dict[str, Any] = {"title": args.title or f"{Path(args.model).stem}: {trained.recipe.name}"}
        options |= {} if classes is None else {"classes": [str(name) for name in classes]}
        explore(trained.model, examples, args.file, args=trained.arguments, **options)
    print(f"written: {args.file}")
    return 1 if inputs.failures else 0


@torch.no_grad()
def write_table(path: str, trained: Trained, examples: dict[str, Data]) -> None:
    """The rows of `attention_table` of each example, one after the other, with its name as the first column."""
    tables = []
    for name, data in examples.items():
        arguments = trained.arguments(data)
        found = data.get("tokens", data.get("labels"))
        labels = found if isinstance(found, list) and len(found) == data.num_nodes else None
        table = attention_table(attention_of(trained.model, *arguments), labels=labels)
        table.insert(0, "input", name)
        tables.append(table.drop(columns="example"))
    import pandas

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pandas.concat(tables, ignore_index=True).to_csv(path, index=False)
