"""Files that are written whole or not at all, and the state of chance."""

import os
import random
import zipfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch


def write_whole(path: str | os.PathLike[str], content: Any) -> None:
    """By `torch.save`, beside the old file, which the new one then replaces at once. Makes the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        torch.save(content, draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read_whole(path: str | os.PathLike[str]) -> Any:
    """What `write_whole` wrote: tensors, numbers, strings and containers of them, nothing that runs.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file '{path}'; give the one that save() or --save wrote")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if not zipfile.is_zipfile(path):  # torch says of these what its parser stumbled over
            reason = "torch.save did not write it, or not to its end"
        elif "Weights only" in reason:
            reason = "it holds objects of other kinds than tensors, numbers and words"
        raise ValueError(
            f"'{path}' cannot be read ({reason[:200]}); give a file that save() or --save wrote"
        ) from error


def chance() -> dict[str, Any]:
    """The states of the random numbers of torch, Python and NumPy."""
    name, keys, *rest = cast(tuple[str, np.ndarray, int, int, float], np.random.get_state(legacy=True))
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": [name, keys.tolist(), *rest],
    }


def set_chance(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    name, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), place, has_gauss, gauss))
