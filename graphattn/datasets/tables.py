"""A network as two tables: a row for each edge, a row for each node."""

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.datasets.columns import Categories, categories_of, cells_of, features_in
from graphattn.datasets.csv_file import Row, check_cells, name_in, number_in, read_rows, with_one_spelling
from graphattn.datasets.failures import Failure


class Tables(NamedTuple):
    """A network out of tables.

    Attributes:
        data: x [num_nodes, num_features] unless there are none, num_nodes, edge_index, and y if there is a label (int64, -1
            where the cell is empty) or a target (float64, nan where it is empty).
        nodes: Their names, in the order of the rows.
        classes: Names of the labels, None without these.
        features: Columns that x holds.
        failures: Rows of the edges that could not be read.
        id: Column of the names.
        categories: Of each column of words among the features, the words: x has a column for each, in this order.
    """

    data: Data
    nodes: list[str]
    classes: list[str] | None
    features: list[str]
    failures: list[Failure]
    id: str
    categories: Categories


def from_tables(
    edges: str | os.PathLike[str],
    nodes: str | os.PathLike[str],
    id: str | None = None,
    features: Sequence[str] | None = None,
    label: str | None = None,
    target: str | None = None,
    categories: Sequence[str] | Mapping[str, Sequence[str]] = (),
) -> Tables:
    """A network in two CSV files, whose first lines name the columns.

    Args:
        edges: The first two columns are the names of the node that is attended to (source) and of the one that attends to it
            (target); others are passed over, which a warning says. Edges go one way: `torch_geometric.transforms.ToUndirected`
            adds the other.
        nodes: A row for each node.
        id: The column of its name; the first by default.
        features: Columns of numbers or of categories, words that come again and again, each of which gets a column of ones and
            zeros; by default all but the name, the label and the target.
        label: The column of a class; an empty cell, or one of nan, is an unknown one.
        target: The column of a number; an empty cell is an unknown one.
        categories: Columns whose numbers are categories too; or, for a table that a trained model shall read, the categories of
            each column as they were found then (`Tables.categories`): others are told by a warning, and 0 in each column.

    An edge to a node that has no row is left out, and in the failures.

    Raises:
        ValueError: on columns that are not there, features that are neither numbers nor categories, such as dates, and names
            that two nodes have.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, 'edges.csv').write_text('from,to\\nann,bob\\nbob,cid\\nann,dan\\n')
    ...     _ = Path(folder, 'nodes.csv').write_text('name,age,likes\\nann,30,tea\\nbob,41,\\ncid,25,coffee\\n')
    ...     found = from_tables(Path(folder, 'edges.csv'), Path(folder, 'nodes.csv'), label='likes')
    >>> found.data.edge_index.tolist(), found.data.x.flatten().tolist(), found.data.y.tolist()
    ([[0, 1], [1, 2]], [30.0, 41.0, 25.0], [1, -1, 0])
    >>> found.nodes, found.classes, str(found.failures[0])
    (['ann', 'bob', 'cid'], ['coffee', 'tea'], "row 3: no node is called 'dan'")
    """
    if label and target:
        raise ValueError(f"give 'label' for classes or 'target' for numbers (got {label!r} and {target!r})")
    rows = read_rows(nodes, tuple(name for name in (id, label, target, *(features or ()), *categories) if name))
    id = id or next(iter(rows[0]))
    names = names_of_nodes(rows, id, nodes)
    known = {name: place for place, name in enumerate(names)}
    chosen = chosen_of(rows, features, (id, label, target))
    if not isinstance(categories, Mapping):
        categories = categories_of(rows, chosen, categories, nodes)
    edge_index, failures = ends_in(edges, known)
    data = Data(x=features_in(rows, chosen, categories, nodes), edge_index=edge_index, num_nodes=len(rows))
    classes = None
    if label:
        data.y, classes = labels_in(rows, label)
    elif target:
        data.y = targets_in(rows, target)
    words = {column: list(found) for column, found in categories.items()}
    return Tables(data, names, classes, chosen, failures, id, words)


def chosen_of(rows: list[Row], features: Sequence[str] | None, others: tuple[str | None, ...]) -> list[str]:
    """The columns of features: those that are named, or all but the `others`: the name, the label and the target."""
    told = [name for name in others[1:] if name and name in (features or ())]
    if told:
        raise ValueError(f"what is to be learned is among the features (got {told}); leave it out of them")
    return [name for name in rows[0] if name and name not in others] if features is None else list(features)


def labels_in(rows: list[Row], column: str) -> tuple[Tensor, list[str]]:
    """The place of each label among the sorted names, int64 [num_rows], -1 where it is unknown; and the names."""
    found: list[str] = []
    for row in rows:
        try:
            found.append(name_in(row[column] or "", column))
        except ValueError:
            found.append("")
    cells = with_one_spelling(found)
    classes = sorted(set(cells) - {""})
    places = {name: place for place, name in enumerate(classes)}
    return torch.tensor([places.get(cell, -1) for cell in cells]), classes


def targets_in(rows: list[Row], column: str) -> Tensor:
    """float64 [num_rows], nan where it is unknown."""
    cells = cells_of(rows, column)
    return torch.tensor([number_in(cell, column) if cell else torch.nan for cell in cells], dtype=torch.float64)


def names_of_nodes(rows: list[Row], column: str, path: str | os.PathLike[str]) -> list[str]:
    """The name in each row. Raises ValueError where there is none, and where two nodes have one."""
    names = []
    for place, row in enumerate(rows, start=1):
        try:
            check_cells(row)
            names.append(name_in(row[column] or "", column))
        except ValueError as error:
            raise ValueError(f"'{path}', row {place}: {error}") from None
    twice = sorted(name for name, count in Counter(names).items() if count > 1)[:5]
    if twice:
        raise ValueError(
            f"'{path}' has rows with one name (got {twice} twice or more in {column!r}); give each node its own"
        )
    return names


def ends_in(path: str | os.PathLike[str], known: dict[str, int]) -> tuple[Tensor, list[Failure]]:
    """edge_index, and the rows whose ends no node has."""
    rows = read_rows(path)
    columns = [name for name in rows[0] if name is not None]
    if len(columns) < 2:
        raise ValueError(
            f"'{path}' needs two columns, of the two ends of an edge, with , ; | or a tab between them (got {columns})"
        )
    if columns[0] in known and columns[1] in known:
        raise ValueError(
            f"the first line of '{path}' is an edge (got {columns[:2]}), not the names of the columns; put such a line above it:"
            " source,target"
        )
    if len(columns) > 2:
        warnings.warn(f"the columns {columns[2:]} of '{path}' are not read: edges have two ends here", stacklevel=3)
    ends, failures = [], []
    for number, row in enumerate(rows, start=1):
        pair = [(row[column] or "").strip() for column in columns[:2]]
        strange = [name for name in pair if name not in known]
        if strange:
            failures.append(Failure(f"row {number}", f"no node is called {strange[0]!r}"))
        else:
            ends.append([known[name] for name in pair])
    if not ends:
        raise ValueError(
            f"no edge of '{path}' is between nodes that have a row (got {len(failures)}; {failures[0]}); its first two columns"
            " name nodes as the other table does"
        )
    return torch.tensor(ends).t().contiguous(), failures
