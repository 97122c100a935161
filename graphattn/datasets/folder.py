"""Folders of sounds or images as examples: the class of a file is the folder that it lies in."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch_geometric.data import Data

from graphattn.datasets.csv_file import sound_reader
from graphattn.datasets.failures import Failure, check_any, number_classes, read_each
from graphattn.datasets.pictures import read_image

KINDS = ("wav", "image")
PARTS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}  # of data that are split already


def from_folder(
    path: str | os.PathLike[str], kind: str = "wav", **options: Any
) -> tuple[list[Data], list[str], list[Failure]]:
    """Files in folders, one folder for each class: `path/cat/1.png`, `path/dog/7.png`.

    Args:
        path: Of the folder of folders.
        kind: 'wav' for sounds, 'image' for images.
        **options: Of `graphattn.inputs.from_audio` (sample_rate brings all sounds to one) or of `datasets.pictures.read_image`.

    Returns:
        (examples, classes, failures): y of an example is int64 [1], the place of its folder among the sorted names; `path` of an
        example is that of its file. Files that cannot be read, or lie in no folder of a class, are in the failures with the reason.

    Raises:
        NotADirectoryError: if there is no such folder.
        ValueError: on another kind, on folders that are parts of the data rather than classes, and if no file can be read.
    """
    if kind not in KINDS:
        raise ValueError(f"'kind' must be one of {list(KINDS)} (got {kind!r})")
    folder = Path(path)
    if not folder.is_dir():
        raise NotADirectoryError(f"there is no folder '{path}'; give one that holds a folder for each class")
    folders = sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if folders and {name.lower() for name in folders} <= PARTS:
        raise ValueError(
            f"the folders of '{path}' are parts of the data, not classes (got {folders}); give one of them, such as"
            f" '{folder / folders[0]}', or a folder that holds the classes of all"
        )
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    of_file: Callable[[str], Data] = (
        sound_reader(folder, options) if kind == "wav" else reader_of_images(folder, options)
    )

    def read(name: str) -> Data:
        label, *rest = Path(name).parts
        if not rest:
            raise ValueError("it lies in no folder that names its class")
        data = of_file(name)
        data.label, data.path = label, str(folder / name)
        return data

    names = [str(file.relative_to(folder)) for file in files]
    found, failures = read_each(((name, name) for name in names), read, f"reading {path}")
    check_any(found, failures, path)
    return found, number_classes(found, (data.label for data in found)), failures


def reader_of_images(folder: Path, options: dict[str, Any]) -> Callable[[str], Data]:
    return lambda name: read_image(folder / name, **options)
