"""Results of finished runs, kept in a file of JSON so that an interrupted example goes on where it was."""

import json
import os
from pathlib import Path
from typing import Any


def read_results(file: Path, default: Any) -> Any:
    """What `file` holds; `default` if there is no such file.

    Raises:
        ValueError: if the file is damaged, as one that was cut while it was written or edited by hand.
    """
    if not file.is_file():
        return default
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON or of its encoding
        raise ValueError(
            f"{file} holds no results that can be read ({error}); delete or rename it to begin anew"
        ) from error
    if type(found) is not type(default):
        raise ValueError(
            f"{file} should hold a {type(default).__name__} (got a {type(found).__name__}); it may be of another example:"
            " delete or rename it, or name another file"
        )
    return found


def write_results(file: Path, results: Any, indent: int | None = None) -> None:
    """Writes them beside `file` and then in its place: an interruption leaves the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}.part")  # of this process, beside others that write the same
    try:
        draft.write_text(json.dumps(results, indent=indent), encoding="utf-8")
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
