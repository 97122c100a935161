"""Rows of a CSV file as examples."""

import csv
import gzip
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
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
UNKNOWN = ("nan", "<na>", "null", "n/a", "#n/a")  # what programs write into the cell of a name that is missing


def read_rows(path: str | os.PathLike[str], columns: tuple[str, ...] = ()) -> list[Row]:
    """The rows of a file whose first line names the columns, UTF-8 (or UTF-16 with its mark), as it is or by gzip; the delimiter is
    that of the names, which are taken without spaces around them. What `check_cells` says of a row concerns that row alone.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no such columns, two of one name, no rows, or another encoding.
    """
    content = read_text(path)
    lines = content.splitlines()
    if not lines:
        raise ValueError(f"'{path}' is empty (got {len(content)} characters); its first line names the columns")
    delimiter = max(DELIMITERS, key=re.sub('"[^"]*"', "", lines[0]).count)
    reader = csv.DictReader(StringIO(content, newline=""), delimiter=delimiter)
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    missing = [column for column in columns if column not in names]
    if missing:
        raise ValueError(f"'{path}' has no column {', '.join(map(repr, missing))}; its first line names {names}")
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise ValueError(f"'{path}' has several columns of one name (got {twice} in its first line); rename them")
    rows = list(reader)
    if not rows:
        raise ValueError(f"'{path}' has no rows below the names of its columns (got {len(content)} characters)")
    return rows


def numbered(rows: list[Row]) -> Iterator[tuple[str, Row]]:
    """Each row behind what messages call it."""
    return ((f"row {place}", row) for place, row in enumerate(rows, start=1))


def read_text(path: str | os.PathLike[str]) -> str:
    """What a file of text says; files of gzip are unpacked. Raises FileNotFoundError, ValueError on another encoding."""
    check_file(path)
    content = Path(path).read_bytes()
    if content.startswith(b"PK\x03\x04"):
        raise ValueError(f"'{path}' is a zip archive or a spreadsheet, not CSV; unpack it, or save it as CSV")
    try:
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        is_wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not UTF-8 ({error}); save it in that encoding") from error
    except (OSError, EOFError) as error:
        raise ValueError(f"'{path}' is a damaged file of gzip ({error})") from error


def check_cells(row: Row) -> None:
    """Raises ValueError on a row with more cells than columns: a delimiter inside a text without quotes shifts all that follow."""
    surplus = [cell for cell in row.get(None, ()) if cell.strip()]  # type: ignore[call-overload] # where csv puts them
    if surplus:
        count = len(row) - 1
        raise ValueError(
            f"it has more cells than the {count} columns that the first line names (got {surplus[:3]} beyond them); put a text that"
            " holds the delimiter in quotes"
        )


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
        text, smiles, wav, image: One column of input: sentences, SMILES, or paths of files (from the folder of this one on).
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
        check_cells(row)
        data = make(row[column] or "")
        if target:
            data.y = torch.tensor([number_in(row[target] or "", target)])
        if label:
            data.label = name_in(row[label] or "", label)
        return data

    found, failures = read_each(numbered(rows), read, f"reading {path}")
    check_any(found, failures, path)
    classes = number_classes(found, with_one_spelling([data.label for data in found])) if label else None
    return found, classes, failures


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
        data = read_sound(path, **options)
        rates.append(data.sample_rate)
        if data.sample_rate != rates[0]:
            raise ValueError(
                f"'{path}' has {data.sample_rate} samples per second, those before it {rates[0]}; give the 'sample_rate' to"
                " bring all of them to (--sample-rate)"
            )
        return data

    return read


def read_sound(path: str | os.PathLike[str], **options: Any) -> Data:
    """`from_audio` of a file. Raises ValueError where a library is missing: it is this file that needs it, others may be wav."""
    try:
        return from_audio(path, **options)
    except ImportError as error:
        raise ValueError(str(error)) from error


def number_in(cell: str, column: str) -> float:
    if not cell.strip():
        raise ValueError(f"{column!r} is empty")
    try:
        value = float(cell)
    except ValueError:
        hint = "; write numbers with a point, 1.5" if re.fullmatch(r"\s*-?\d+,\d+\s*", cell) else ""
        raise ValueError(f"{column!r} is no number (got {cell!r}){hint}") from None
    if not math.isfinite(value):
        raise ValueError(f"{column!r} is not finite (got {cell!r})")
    return value


def name_in(cell: str, column: str) -> str:
    if not cell.strip():
        raise ValueError(f"{column!r} is empty")
    if cell.strip().lower() in UNKNOWN:
        raise ValueError(f"{column!r} is missing (got {cell.strip()!r})")
    return cell.strip()


def with_one_spelling(names: list[str]) -> list[str]:
    """Names that are all numbers, those of one value by the shortest of their spellings; others as they are.

    >>> with_one_spelling(['1', '0.0', '1.0', '']), with_one_spelling(['01', '1']), with_one_spelling(['1', '1.0', 'b'])
    (['1', '0.0', '1', ''], ['01', '1'], ['1', '1.0', 'b'])
    """
    shortest: dict[float, str] = {}
    for name in sorted({name for name in names if name}, key=lambda name: (len(name), name)):
        try:
            value = float(name)
        except ValueError:
            return names
        if re.fullmatch(r"0\d.*", name):  # a code, not a number
            return names
        shortest.setdefault(value, name)
    return [shortest[float(name)] if name else name for name in names]
