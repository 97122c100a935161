"""Inputs of a saved model from the command line: words, files and columns of files become examples."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch_geometric.data import Data

from graphattn.command.network import SUFFIXES, prepared, read_network
from graphattn.datasets import from_csv, from_tables
from graphattn.datasets.csv_file import read_rows, read_sound
from graphattn.datasets.failures import Failure, read_each
from graphattn.datasets.pictures import read_image
from graphattn.inputs import from_smiles, from_text
from graphattn.recipes import Trained, load


class Inputs(NamedTuple):
    """What was asked for.

    Attributes:
        names: Of the examples; of a network, those of its nodes.
        examples: As the recipe takes them: a list, or one network.
        failures: What could not be read.
    """

    names: list[Any]
    examples: Any
    failures: list[Failure]


READERS: Mapping[str, Callable[..., Data]] = {
    "text": from_text,
    "smiles": from_smiles,
    "wav": read_sound,
    "image": read_image,
}


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a file that `graphattn train --save` wrote")


def add_inputs(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    what = "texts, SMILES, files of sounds or images; or one network: its file, or those of its edges and nodes"
    parser.add_argument("inputs", nargs=nargs, help=what)


def load_with_source(path: str) -> tuple[Trained, dict[str, Any]]:
    """A trained model, and how its raw input is read. Raises ValueError where the file does not tell."""
    trained = load(path)
    source = trained.facts.get("source")
    if source is None:
        raise ValueError(
            f"'{path}' does not say what raw input it reads; use graphattn.recipes.load('{path}') in Python"
        )
    return trained, source


def read_inputs(words: list[str], source: dict[str, Any]) -> Inputs:
    """What words of the command line say."""
    kind, options = source["kind"], source.get("options", {})
    if kind == "line":
        return Inputs(words, words, [])
    if kind == "network":
        return of_network(words, source)
    if kind == "graph":
        return read_words(words, read_network)
    reader = READERS[kind]
    return read_words(words, lambda word: reader(word, **options))


def read_words(words: list[str], read: Callable[[str], Data]) -> Inputs:
    found, failures = read_each(((shown(word), word) for word in words), read, "reading")
    lost = {failure.place for failure in failures}
    return Inputs([word for place, word in enumerate(words) if place not in lost], found, failures)


def shown(word: Any) -> str:
    """What an input is called in a message: an empty one by its quotes."""
    return str(word) if str(word).strip() else repr(word)


def of_network(files: list[str], source: dict[str, Any]) -> Inputs:
    """One file .npz or .pt, or two tables: of the edges and of the nodes."""
    columns, options = source.get("columns"), source.get("options", {})
    if len(files) == 2 and columns is not None:
        tables = from_tables(*files, **columns)
        tables.data.labels = tables.nodes  # as pages and tables call them
        return Inputs(tables.nodes, prepared(tables.data, **options), tables.failures)
    if len(files) != 1 or (columns is not None and Path(files[0]).suffix not in SUFFIXES):
        wanted = "one file" if columns is None else "the files of the edges and of the nodes"
        raise ValueError(f"the model reads one network at a time, {wanted} (got {' '.join(files)})")
    data = prepared(read_network(files[0]), **options)
    return Inputs(list(range(data.num_nodes or 0)), data, [])


def read_table(path: str, column: str, source: dict[str, Any]) -> Inputs:
    """What a column of a file says."""
    if source["kind"] == "line":
        texts = [row[column] or "" for row in read_rows(path, (column,))]
        return Inputs(texts, texts, [])
    if source["kind"] in ("network", "graph"):
        raise ValueError("the model reads networks or graphs, which are no column of a file; give their files")
    examples, _, failures = from_csv(path, **{source["kind"]: column}, **source["options"])
    lost = {failure.place for failure in failures}
    cells = [row[column] or "" for row in read_rows(path, (column,))]
    names = [cell for place, cell in enumerate(cells) if place not in lost]
    return Inputs(names, examples, failures)
