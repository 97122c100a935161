"""Columns of a table as features: numbers as they are, categories as one-hot columns."""

import os
import re
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from graphattn.datasets.csv_file import Row, number_in

# 2026-11-28, 28.11.2026, 11/28/26, with or without a time behind them.
DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([T ].*)?")
MOST_CATEGORIES = 20  # of any table; a longer one may have as many as a third of its rows
Categories = dict[str, list[str]]


def categories_of(
    rows: Sequence[Row], columns: Sequence[str], given: Sequence[str], path: str | os.PathLike[str]
) -> Categories:
    """The different words of each column that holds words, in order; a column of numbers is one only if it is among the `given`.

    Raises:
        ValueError: on a column of words and numbers, of dates, or of hardly two words alike.
    """
    return {
        column: sorted({cell for cell in cells_of(rows, column) if cell})
        for column in columns
        if column in given or holds_words(cells_of(rows, column), column, path)
    }


def cells_of(rows: Sequence[Row], column: str) -> list[str]:
    return [(row[column] or "").strip() for row in rows]


def holds_words(cells: list[str], column: str, path: str | os.PathLike[str]) -> bool:
    """Whether the cells are categories rather than numbers."""
    words = [(place, cell) for place, cell in enumerate(cells, start=1) if cell and not is_number(cell)]
    if not words:
        return False
    filled = sum(map(bool, cells))
    where = f"'{path}', row {words[0][0]}: {column!r}"
    other = "or leave the column out of the features"
    if len(words) < filled:
        raise ValueError(
            f"{where} is no number (got {words[0][1]!r}) as {filled - len(words)} of its other cells are; write a number there,"
            f" name the column among the 'categories' (--categories {column}), {other}"
        )
    if all(DATE.fullmatch(cell) for _, cell in words):
        raise ValueError(
            f"{where} is a date (got {words[0][1]!r}), which is neither a number nor a category; write a number, such as days since"
            f" one of them, {other}"
        )
    different = len({cell for _, cell in words})
    if different > max(MOST_CATEGORIES, len(words) / 3):
        raise ValueError(
            f"{where} is no number (got {words[0][1]!r}), and {different} different words in {len(words)} rows are no categories;"
            f" name it among the 'categories' all the same (--categories {column}), {other}"
        )
    return True


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def features_in(
    rows: Sequence[Row], columns: Sequence[str], categories: Mapping[str, Sequence[str]], path: str | os.PathLike[str]
) -> Tensor | None:
    """float32 [num_rows, num_features]: a column for each number and for each category, side by side; None without columns.

    A cell that is empty, or has a category that is not among these, is 0 in each column of it; a warning names the latter.

    >>> rows = [{'age': '3', 'town': 'Rome'}, {'age': '4', 'town': 'Oslo'}]
    >>> features_in(rows, ['age', 'town'], {'town': ['Oslo', 'Rome']}, 'people.csv')
    tensor([[3., 0., 1.],
            [4., 1., 0.]])
    """
    parts = [
        one_hot(rows, column, categories[column], path) if column in categories else numbers_in(rows, column, path)
        for column in columns
    ]
    return torch.cat(parts, dim=1) if parts else None


def numbers_in(rows: Sequence[Row], column: str, path: str | os.PathLike[str]) -> Tensor:
    """float32 [num_rows, 1]."""
    found = []
    for place, row in enumerate(rows, start=1):
        try:
            found.append(number_in((row[column] or "").strip(), column))
        except ValueError as error:
            raise ValueError(
                f"'{path}', row {place}: {error}; features are numbers or categories: fill the cell, or name the columns that are"
                " whole ('features')"
            ) from None
    return torch.tensor(found).view(len(rows), 1)


def one_hot(rows: Sequence[Row], column: str, names: Sequence[str], path: str | os.PathLike[str]) -> Tensor:
    """float32 [num_rows, num_names]."""
    cells, places = cells_of(rows, column), {name: place for place, name in enumerate(names)}
    strange = sorted({cell for cell in cells if cell and cell not in places})
    if strange:
        warnings.warn(
            f"'{path}' has {len(strange)} categories of {column!r} that the training data had not (got {strange[:5]}, known"
            f" {list(names)[:20]}); they are 0 in each of its columns, as empty cells are",
            stacklevel=2,
        )
    found = torch.zeros(len(cells), len(names))
    for row, cell in enumerate(cells):
        if cell in places:
            found[row, places[cell]] = 1
    return found
