"""Rows of a CSV file as examples."""

import csv
import math
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Data

from graphattn.datasets.failures import Failure, check_any, number_classes, read_each
from graphattn.datasets.pictures import read_image
from graphattn.inputs import Vocabulary, from_audio, from_smiles, from_text
from graphattn.inputs.files import check_file

Row = dict[str, str]
DELIMITERS = ",;\t|"


def read_rows(path: str | os.PathLike[str], columns: tuple[str, ...] = ()) -> list[Row]:
    """The rows of a file whose first line names the columns, UTF-8; the delimiter is that of the names.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no such columns, no rows, or another encoding.
    """
    check_file(path)
    try:
        content = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not UTF-8 ({error}); save it in that encoding") from error
    delimiter = max(DELIMITERS, key=content.partition("\n")[0].count)
    reader = csv.DictReader(StringIO(content, newline=""), delimiter=delimiter)
    names = list(reader.fieldnames or ())
    missing = [column for column in columns if column not in names]
    if missing:
        raise ValueError(f"'{path}' has no column {', '.join(map(repr, missing))}; its first line names {names}")
    rows = list(reader)
    if not rows:
        raise ValueError(f"'{path}' has no rows below the names of its columns (got {len(content)} characters)")
    return rows


def from_csv(
    path: str | os.PathLike[str],
    text: str | None = None,
    smiles: str | None = None,
    wav: str | None = None,
    image: str | None = None,
    label: str | None = None,
    target: str | None = None,
    **options: Any,
) -> tuple[list[Data], list[str] | None, list[Failure]]:
    """The rows of a CSV file as graphs with labels or targets.

    Args:
        path: Of the file; its first line names the columns.
        text, smiles, wav, image: The column of the input, one of these: sentences, SMILES of molecules, paths of sounds or of
            images (from the folder of the file on).
        label: The column of a class; classes are numbered in the order of their sorted names.
        target: The column of a number.
        **options: Of `from_text`, `from_smiles`, `from_audio` (sample_rate brings all sounds to one) or `read_image`.

    Returns:
        (examples, classes, failures): y of an example is int64 [1], a place among the classes (None without `label`), or float32
        [1]. A row that cannot be read (a SMILES that does not parse, no number, no file) is in the failures, with its number and
        the reason.

    Raises:
        ValueError: on columns that are not there, on no or several columns of input, and if no row can be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, 'reviews.csv')
    ...     _ = path.write_text('review,stars\\na good film,many\\na bad film,few\\n,few\\n')
    ...     data, classes, failures = from_csv(path, text='review', label='stars')
    >>> classes, data[0].tokens, data[0].y, str(failures[0])
    (['few', 'many'], ['a', 'good', 'film'], tensor([1]), 'row 3: the text is empty')
    """
    inputs = {
        name: column for name, column in (("text", text), ("smiles", smiles), ("wav", wav), ("image", image)) if column
    }
    if len(inputs) != 1:
        raise ValueError(f"one of 'text', 'smiles', 'wav' and 'image' must name the column of the input (got {inputs})")
    if label and target:
        raise ValueError(f"give 'label' for classes or 'target' for numbers (got {label!r} and {target!r})")
    ((kind, column),) = inputs.items()
    rows = read_rows(path, tuple(name for name in (column, label, target) if name))
    make = maker(kind, Path(path).parent, [row[column] or "" for row in rows], options)

    def read(row: Row) -> Data:
        y = {} if not target else {"y": torch.tensor([number_in(row[target] or "", target)])}
        name = {} if not label else {"label": name_in(row[label] or "", label)}
        data = make(row[column] or "")
        for attribute, value in (y | name).items():
            data[attribute] = value
        return data

    found, failures = read_each(
        ((f"row {place}", row) for place, row in enumerate(rows, start=1)), read, f"reading {path}"
    )
    check_any(found, failures, path)
    return found, number_classes(found, (data.label for data in found)) if label else None, failures


def maker(kind: str, folder: Path, cells: list[str], options: dict[str, Any]) -> Callable[[str], Data]:
    """What makes an example of a cell."""
    if kind == "text":
        given = {"tokenizer": str.split} | options
        vocabulary = given.pop("vocabulary", None) or Vocabulary.from_sentences(cells, given["tokenizer"])

        def read_text(cell: str) -> Data:
            if not cell.strip():
                raise ValueError("the text is empty")
            return from_text(cell, vocabulary, **given)

        return read_text
    if kind == "smiles":
        return lambda cell: from_smiles(cell.strip(), **options)
    if kind == "wav":
        return sound_reader(folder, options)
    return lambda cell: read_image(folder / cell.strip(), **options)


def sound_reader(folder: Path, options: dict[str, Any]) -> Callable[[str], Data]:
    """Reads sounds, brought to the `sample_rate` of the options; without it, those that have that of the first one: frames of
    others would mean something else."""
    rates: list[float] = []

    def read(cell: str) -> Data:
        path = folder / cell.strip()
        try:
            data = from_audio(path, **options)
        except ImportError as error:  # of this file, as others may be wav
            raise ValueError(str(error)) from error
        rates.append(data.sample_rate)
        if data.sample_rate != rates[0]:
            raise ValueError(
                f"'{path}' has {data.sample_rate} samples per second, those before it {rates[0]}; give the 'sample_rate' to"
                " bring all of them to (--sample-rate)"
            )
        return data

    return read


def number_in(cell: str, column: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"{column!r} is no number (got {cell!r})") from None
    if not math.isfinite(value):
        raise ValueError(f"{column!r} is not finite (got {cell!r})")
    return value


def name_in(cell: str, column: str) -> str:
    if not cell.strip():
        raise ValueError(f"{column!r} is empty")
    return cell.strip()
