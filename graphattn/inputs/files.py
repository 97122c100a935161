"""Whether a file is there, asked before it is read."""

from os import PathLike
from pathlib import Path


def check_file(path: str | PathLike[str]) -> None:
    """Raises FileNotFoundError where there is nothing, IsADirectoryError for a folder; both name the path."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"'{path}' is a folder; give a file of it, or a list of them")
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no file '{path}'")
