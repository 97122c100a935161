"""Data from the command line: which arguments name them, and what they become."""

import argparse
import copy
import inspect
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch_geometric.datasets
from torch_geometric.data import Data
from torch_geometric.utils import is_undirected

from graphattn import datasets
from graphattn.command.network import prepared, read_network
from graphattn.datasets.columns import is_number
from graphattn.datasets.csv_file import Row, check_cells, numbered, read_rows
from graphattn.datasets.failures import Failure, read_each
from graphattn.inputs.files import check_file
from graphattn.recipes import NodeClassification, NodeRegression

INPUTS = ("text", "smiles", "wav", "image")


@dataclass
class Loaded:
    """Data, and what is known of it.

    Attributes:
        data: As recipes take it.
        task: Name of the recipe that it is for.
        names: Of the classes, if they have some.
        source: 'kind' of the raw input, and the options that it was read with: what predictions need to read more of it.
        failures: What could not be read.
    """

    data: Any
    task: str
    names: list[str] | None = None
    source: dict[str, Any] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data, one of these")
    one = group.add_mutually_exclusive_group(required=True)
    one.add_argument("--csv", metavar="FILE", help="a row for each example, with --text, --smiles, --wav or --image")
    one.add_argument("--wav-folder", metavar="DIR", help="sounds in a folder for each class")
    one.add_argument("--image-folder", metavar="DIR", help="images in a folder for each class")
    one.add_argument(
        "--npz", metavar="FILE", help="a network: arrays x, edge_index, y, train_mask, ... (or .pt with a dict)"
    )
    one.add_argument(
        "--edges", metavar="FILE", help="a network as two tables, with --nodes: a row for each edge, of two names"
    )
    one.add_argument("--tu", metavar="NAME", help="a data set of the TU collection, such as MUTAG")
    one.add_argument(
        "--pyg", metavar="CLASS", help="a class of torch_geometric.datasets, such as Planetoid or KarateClub"
    )
    one.add_argument("--text-file", metavar="FILE", help="a text in each line, for a language model")
    parser.add_argument(
        "--nodes", metavar="FILE", help="beside --edges: a row for each node, its name, label and features"
    )
    columns = parser.add_argument_group("columns of --csv and --nodes")
    for name in INPUTS:
        columns.add_argument(f"--{name}", metavar="COL")
    columns.add_argument("--label", metavar="COL", help="classes")
    columns.add_argument("--id", metavar="COL", help="names of --nodes (default: the first column)")
    columns.add_argument(
        "--features", nargs="+", metavar="COL", help="numbers and categories of --nodes (default: all other columns)"
    )
    columns.add_argument(
        "--categories", nargs="+", metavar="COL", help="those of them whose numbers are categories too"
    )
    columns.add_argument("--target", metavar="COL", help="numbers; beside --text, texts that are to be written")
    more = parser.add_argument_group("more about the data")
    more.add_argument("--name", help="argument 'name' of the class that --pyg names, such as Cora")
    more.add_argument("--y-column", type=int, metavar="N", help="of the targets of a data set with several, from 0")
    more.add_argument("--root", default=os.environ.get("GRAPHATTN_DATA", "datasets"), help="folder of downloads")
    more.add_argument("--undirected", action="store_true", help="add the opposite of every edge of a network")
    more.add_argument("--normalize", action="store_true", help="features of each node sum up to 1: for bags of words")
    more.add_argument(
        "--sample-rate", type=float, metavar="HZ", help="sounds are resampled to it (default: all have one)"
    )
    more.add_argument("--side", type=int, default=64, help="images are resized to so many pixels (default 64)")
    more.add_argument("--patch", type=int, default=8, help="pixels of a side of a patch (default 8)")


def load(args: argparse.Namespace) -> Loaded:
    """What the arguments name. Raises ValueError on columns that do not belong together, and what the readers raise."""
    given = {name: getattr(args, name) for name in (*INPUTS, "label", "target") if getattr(args, name)}
    check_columns(args, given)
    if args.csv:
        return from_table(args, given)
    if args.edges:
        return from_edges(args, given)
    if args.wav_folder or args.image_folder:
        kind = "wav" if args.wav_folder else "image"
        options = options_of(kind, args)
        data, names, failures = datasets.from_folder(args.wav_folder or args.image_folder, kind, **options)
        return Loaded(data, "sequence classification", names, source_of(kind, data, options), failures)
    if args.text_file:
        check_file(args.text_file)
        lines = Path(args.text_file).read_text(encoding="utf-8-sig").splitlines()
        return Loaded([line for line in lines if line.strip()], "language modeling", source={"kind": "line"})
    if args.npz:
        return of_network(read_network(args.npz), args)
    return of_dataset(args)


def check_columns(args: argparse.Namespace, given: dict[str, str]) -> None:
    """Raises ValueError on columns without the file that has them."""
    for_nodes = {name: getattr(args, name) for name in ("nodes", "id", "features", "categories") if getattr(args, name)}
    if for_nodes and not args.edges:
        raise ValueError(f"--edges FILE is missing (got {' '.join(f'--{name}' for name in for_nodes)} without it)")
    if args.edges and not args.nodes:
        raise ValueError("--edges needs --nodes FILE, a table with a row for each node (got none)")
    if given and not args.csv and not args.edges:
        raise ValueError(f"columns belong to --csv FILE (got {' '.join(f'--{name}' for name in given)} without it)")


def options_of(kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """How raw input of a kind is read."""
    if kind == "image":
        if args.patch < 1 or args.side < 1 or args.side % args.patch:
            raise ValueError(
                f"--side must be a multiple of --patch, both 1 or more (got {args.side} and {args.patch}); give for example --side"
                f" {max(args.side // max(args.patch, 1), 1) * max(args.patch, 1)} --patch {max(args.patch, 1)}"
            )
        return {"side": args.side, "patch": args.patch}
    return {"sample_rate": args.sample_rate} if kind == "wav" and args.sample_rate else {}


def from_edges(args: argparse.Namespace, given: dict[str, str]) -> Loaded:
    """A network in two tables."""
    if len(given) != 1 or not given.keys() <= {"label", "target"}:
        raise ValueError(
            f"--edges needs what is to be learned of --nodes: --label COL for classes, or --target COL for numbers (got {given})"
        )
    columns = {name: getattr(args, name) for name in ("id", "features", "categories") if getattr(args, name)}
    found = datasets.from_tables(args.edges, args.nodes, **columns, **given)
    loaded = of_network(found.data, args)
    source = loaded.source | {"columns": {name: getattr(found, name) for name in ("id", "features", "categories")}}
    return Loaded(loaded.data, loaded.task, found.classes, source, found.failures)


def from_table(args: argparse.Namespace, given: dict[str, str]) -> Loaded:
    inputs = {name: column for name, column in given.items() if name in INPUTS}
    if len(inputs) != 1:
        got = " ".join(f"--{name}" for name in inputs) or "none"
        raise ValueError(
            f"--csv needs the column of the input, one of --text, --smiles, --wav, --image (got {got}); {args.csv} has the columns"
            f" {list(read_rows(args.csv)[0])}"
        )
    ((kind, column),) = inputs.items()
    target = given.get("target")
    if kind == "text" and target and not hold_numbers(cells_of(read_rows(args.csv, (target,)), target)):
        return from_pairs(args, column, target)
    if kind == "text" and "label" not in given and "target" not in given:
        rows, failures = whole_rows(args.csv, (column,))
        texts = [row[column] for row in rows]
        source = {"kind": "line", "column": column}
        return Loaded([text for text in texts if text], "language modeling", source=source, failures=failures)
    if "label" not in given and "target" not in given:
        raise ValueError(
            "--csv needs what is to be learned: --label COL for classes, --target COL for numbers (got neither)"
        )
    if "target" in given and kind != "smiles":
        raise ValueError(
            f"--target is learned of --smiles and of the nodes of --edges, or written after --text (got --{kind}); give --label for"
            " classes"
        )
    options = options_of(kind, args)
    rows = read_rows(args.csv, tuple(given.values()))
    if "label" in given:
        check_classes(cells_of(rows, given["label"]), given["label"], kind)
    data, names, failures = datasets.from_csv(args.csv, **given, **options)
    tell_repeats(cells_of(rows, column), column)
    source = source_of(kind, data, options) | {"column": column}
    if "target" in given:
        return Loaded(data, "graph regression", None, source, failures)
    task = "graph classification" if kind == "smiles" else "sequence classification"
    return Loaded(data, task, names, source, failures)


def from_pairs(args: argparse.Namespace, column: str, target: str) -> Loaded:
    """Texts and what is to be written for each. Raises ValueError where these are a few words again and again, unless the task is
    named: they are classes, which would be learned letter by letter."""
    rows, failures = whole_rows(args.csv, (column, target))
    pairs = [(row[column] or "", row[target] or "") for row in rows]
    different = {text for _, text in pairs}
    task = "sequence to sequence"
    if args.task != task and len(different) <= min(MOST_CLASSES, len(pairs) / 3):
        raise ValueError(
            f"--target {target} has {len(different)} different texts in {len(pairs)} rows, which look like classes (got"
            f" {sorted(different)[:5]}); give --label {target} for classes, or --task '{task}' to have them written"
        )
    return Loaded(pairs, task, source={"kind": "line", "column": column}, failures=failures)


def whole_rows(path: str, columns: tuple[str, ...]) -> tuple[list[Row], list[Failure]]:
    """The rows of a file, and those whose cells are more than its columns."""

    def whole(row: Row) -> Row:
        check_cells(row)
        return row

    return read_each(numbered(read_rows(path, columns)), whole, f"reading {path}")


def tell_repeats(cells: list[str], column: str) -> None:
    """Says how many rows have the input of another one: as test examples they were seen in training."""
    cells = [cell.strip() for cell in cells if cell.strip()]
    repeats = len(cells) - len(set(cells))
    if repeats:
        print(
            f"{repeats} of {len(cells)} rows repeat the {column!r} of another one; test examples that were trained on flatter the"
            " figures",
            file=sys.stderr,
        )


MOST_CLASSES = 20  # of whole numbers or fractions; more of them, most once or twice, are numbers to be predicted


def check_classes(cells: list[str], column: str, kind: str) -> None:
    """Raises ValueError where a column of labels holds numbers, hardly two of them alike."""
    if len(set(cells)) > max(MOST_CLASSES, len(cells) / 3) and hold_numbers(cells):
        how = (
            f"give --target {column}"
            if kind == "smiles"
            else "numbers are learned of --smiles and of the nodes of --edges"
        )
        raise ValueError(
            f"--label {column} has {len(set(cells))} different numbers in {len(cells)} rows, which are no classes; {how}"
        )


def cells_of(rows: list[Row], column: str) -> list[str]:
    return [row[column] or "" for row in rows]


def hold_numbers(cells: list[str]) -> bool:
    """Whether each cell is a number, or empty."""
    return all(is_number(cell) for cell in cells if cell)


def source_of(kind: str, data: list[Data], options: dict[str, Any]) -> dict[str, Any]:
    """How raw input is read for predictions: sounds with the rate that the model knows."""
    more = {"sample_rate": data[0].sample_rate} if kind == "wav" else {}
    return {"kind": kind, "options": options | more}


def of_network(data: Data, args: argparse.Namespace) -> Loaded:
    is_given = not args.undirected and data.edge_index is not None
    if is_given and not is_undirected(data.edge_index, num_nodes=data.num_nodes):
        print(
            "edges are directed: a node sees those that point to it, and not those that it points to; --undirected adds the"
            " opposite of each",
            file=sys.stderr,
        )
    options = {"undirected": args.undirected, "normalize": args.normalize}
    if data.get("x") is None and data.edge_index is not None:
        print(
            "the nodes have no features x; the logarithms of their numbers of incoming and outgoing edges are taken",
            file=sys.stderr,
        )
        options["degrees"] = True
    data = prepared(data, **options)
    is_regression = getattr(args, "target", None) or getattr(args, "task", None) == NodeRegression.name
    if not is_regression:
        data = with_classes(data)
    y = data.get("y")
    is_number = isinstance(y, torch.Tensor) and y.is_floating_point() and bool((y.isfinite() & (y != y.round())).any())
    task = NodeRegression.name if is_number or is_regression else NodeClassification.name
    return Loaded(data, task, source={"kind": "network", "options": options})


def with_classes(data: Data) -> Data:
    """With labels of whole numbers, where they are a few such numbers written as floating point; nan is an unknown label, -1."""
    y = data.get("y")
    if not isinstance(y, torch.Tensor) or not y.is_floating_point() or y.dim() != 1:
        return data
    known = y[~y.isnan()]
    values = known.unique()
    if not values.isfinite().all() or bool((values != values.round()).any()) or not 2 <= len(values) <= MOST_CLASSES:
        return data
    print(
        f"the labels y are {len(values)} whole numbers (as {y.dtype}) and taken for classes; --task '{NodeRegression.name}'"
        " predicts them as numbers",
        file=sys.stderr,
    )
    data = copy.copy(data)
    data.y = torch.where(y.isnan(), -1, y.nan_to_num()).long()
    return data


def of_dataset(args: argparse.Namespace) -> Loaded:
    """A data set of PyG: the network that it is, or its graphs."""
    dataset = open_dataset("TUDataset", args.tu, args.root) if args.tu else open_dataset(args.pyg, args.name, args.root)
    if len(dataset) == 1:
        return of_network(dataset[0], args)
    examples = [with_column(data, args.y_column) for data in dataset]
    y = examples[0].get("y")
    if not isinstance(y, torch.Tensor):
        raise ValueError(f"{dataset} has no labels y to learn from; give another")
    if y.dim() and y.numel() == examples[0].num_nodes and y.numel() > 1:
        return Loaded(examples, "tagging", source={"kind": "graph"})
    task = "graph regression" if y.is_floating_point() else "graph classification"
    return Loaded(examples, task, source={"kind": "graph"})


def with_column(data: Data, column: int | None) -> Data:
    """With one of its targets [1, num_targets], where a column is named. Raises ValueError on one that is not there."""
    if column is None:
        return data
    y = data.get("y")
    if not isinstance(y, torch.Tensor) or y.dim() != 2 or not 0 <= column < y.size(1):
        got = list(y.shape) if isinstance(y, torch.Tensor) else y
        raise ValueError(f"--y-column is a column of targets [1, num_targets] (got {column}, and y of {got})")
    data = copy.copy(data)
    data.y = y[:, column]
    return data


def open_dataset(name: str, argument: str | None, root: str) -> Any:
    """The data set of a class of PyG, from where our own examples read it; files of those that are known are checked."""
    known = {each: getattr(torch_geometric.datasets, each) for each in torch_geometric.datasets.__all__}
    if name not in known:
        close = [each for each in known if name.lower() in each.lower()][:8]
        raise ValueError(f"torch_geometric.datasets has no class {name!r}; close to it: {close or sorted(known)[:8]}")
    made = known[name]
    parameters = inspect.signature(made.__init__).parameters
    options: dict[str, Any] = {}
    if "root" in parameters:
        options["root"] = str(Path(root, FOLDERS.get(name, name.lower())))
    if argument is not None and "name" in parameters:
        options["name"] = argument
    if name == "TUDataset":
        options["use_node_attr"] = True
    needed = [
        each for each, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and each not in ("self", *options)
    ]  # fmt: skip
    if needed:
        raise ValueError(
            f"{name} needs {' and '.join(needed)} (got none); --name gives the name, other arguments need Python"
        )
    checked = getattr(datasets, name, None)
    if checked is not None:
        try:
            return checked(**options)
        except ValueError as error:
            if "the sha256 of files are known of" not in str(error):
                raise
    return made(**options)


FOLDERS = {"TUDataset": "tudataset", "HeterophilousGraphDataset": "heterophilous", "MoleculeNet": "moleculenet"}
