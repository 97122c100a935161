"""Data sets of PyG whose files are checked before they are read, and written whole or not at all."""

import json
import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterable, Mapping
from hashlib import sha256
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch_geometric

from graphattn.datasets.download import download, new_folder, read_checked
from graphattn.version import __version__

MAKERS = f"graphattn {__version__}, torch_geometric {torch_geometric.__version__}"
RECORD = "sha256.json"

if TYPE_CHECKING:
    from torch_geometric.data import Dataset as BeforeDataset
else:
    BeforeDataset = object


class Checked(BeforeDataset):
    """To be inherited before PyG's `Dataset`.

    Raw files that are missing are downloaded. The sums of raw files are checked before they are read, those of a local copy
    too. Processed files that are damaged, of other raw files or of another version of graphattn or PyG are made again; where
    they cannot be kept, they are made for one object alone.
    """

    _made_in: str | None = None  # a folder other than that of the class

    @property
    def sums(self) -> Mapping[str, str]:
        """The sha256 of each raw file."""
        raise NotImplementedError

    def url_of(self, name: str) -> str:
        """Where a raw file, or the archive that holds it, is downloaded from."""
        raise NotImplementedError

    def read_raw(self, name: str) -> bytes:
        """The content of a raw file. Raises ValueError if its sum is another one."""
        return read_checked(Path(self.raw_dir, name), self.sums[name], self.url_of(name))

    def read_lines(self, name: str) -> Iterable[str]:
        return TextIOWrapper(BytesIO(self.read_raw(name)), encoding="utf-8")

    @property
    def missing(self) -> list[str]:
        """Raw files that are not there."""
        return [name for name in self.names_of_raw_files if not Path(self.raw_dir, name).exists()]

    @property
    def names_of_raw_files(self) -> list[str]:
        names = self.raw_file_names
        return [names] if isinstance(names, str) else list(names)

    def _download(self) -> None:
        if self.missing:
            self.download()

    def download(self) -> None:
        for name in self.missing:
            download(self.url_of(name), Path(self.raw_dir, name), self.sums[name])

    @property
    def processed_dir(self) -> str:
        return self._made_in or super().processed_dir

    def _process(self) -> None:
        folder = Path(self.processed_dir)
        if self.force_reload or not self.is_as_written(folder):
            for name in self.names_of_raw_files:
                self.read_raw(name)
            self.make_in(folder)
        else:
            super()._process()  # warns of another `pre_transform`

    def make_in(self, folder: Path) -> None:
        """Writes the processed files to another folder, and then moves them, their record last."""
        made_in = None
        try:
            made_in = new_folder(folder)
            self._made_in = str(made_in)
            super()._process()
            (made_in / RECORD).write_text(json.dumps(self.record_of(made_in)), encoding="utf-8")
            for path in sorted(made_in.iterdir(), key=lambda path: path.name == RECORD):
                os.replace(path, folder / path.name)
            return
        except (OSError, RuntimeError) as error:
            if made_in is not None and not is_of_the_disk(error):
                raise
            reason = f"'{folder}' cannot be written (got {getattr(error, 'strerror', None) or error})"
        finally:
            self._made_in = None
            if made_in is not None:
                shutil.rmtree(made_in, ignore_errors=True)
        self.make_for_this_object(reason)

    def make_for_this_object(self, reason: str) -> None:
        self._made_in = tempfile.mkdtemp(prefix="graphattn-")
        weakref.finalize(self, shutil.rmtree, self._made_in, ignore_errors=True)
        warnings.warn(
            f"{reason}: what is made of the raw files is not kept, but made again the next time", stacklevel=5
        )
        super()._process()

    def is_as_written(self, folder: Path) -> bool:
        try:
            return json.loads((folder / RECORD).read_bytes()) == self.record_of(folder)
        except (OSError, ValueError, RecursionError):  # there is none, or it is damaged itself
            return False

    def record_of(self, folder: Path) -> dict[str, Any]:
        """What tells whether the processed files in a folder are whole and of this version."""
        names = self.processed_file_names
        names = [*([names] if isinstance(names, str) else names), "pre_transform.pt", "pre_filter.pt"]
        sums = {name: sha256((folder / name).read_bytes()).hexdigest() for name in names}
        raw = sha256(json.dumps(sorted(self.sums.items())).encode()).hexdigest()
        return {"made by": MAKERS, "sha256 of the sums of the raw files": raw, "sha256": sums}


def is_of_the_disk(error: OSError | RuntimeError) -> bool:
    """Whether a file could not be written, rather than not made; of that torch.save tells in words of its own."""
    if isinstance(error, OSError):
        return error.errno is not None and not isinstance(error, FileNotFoundError)
    return any(words in str(error) for words in ("iostream error", "inline_container", "PytorchStreamWriter"))
