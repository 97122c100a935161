"""Files of data sets: downloaded under another name, checked by their sha256, and only then given their own."""

import http.client
import os
import shutil
import stat
import tempfile
import urllib.error
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from torch_geometric.data import download_url

FEWEST_DIGITS = 32  # of a sha256 that tell one file from another


def download(url: str, path: str | Path, expected: str) -> None:
    """Fetches a file with the sha256 `expected`: `path` has all of it then, or is as it was before.

    Several processes may do so at once: each has a folder of its own until its file is whole.

    Raises:
        ConnectionError: The address does not answer, or does not have it.
        OSError: The folder cannot be written, or is full.
        ValueError: The file has another sum.
    """
    path = Path(path)
    with folder_in(path.parent) as folder:
        fetched = fetch(url, folder, path)
        check(fetched.read_bytes(), expected, url, f"nothing of it is kept: try again, or put a good copy to '{path}'")
        os.replace(fetched, path)


def download_archive(url: str, folder: str | Path, expected: Mapping[str, str]) -> None:
    """Fetches a zip archive and moves the files asked for to `folder`: all of them, or none.

    `expected` has the sha256 of each by its name below the one folder at the top of the archive. Raises as `download` does.
    """
    folder = Path(folder)
    with folder_in(folder) as temporary:
        unpack(fetch(url, temporary, folder), temporary / "unpacked", url)
        files = [path for path in (temporary / "unpacked").glob("*/**/*") if path.is_file()]
        found = {Path(*path.relative_to(temporary / "unpacked").parts[1:]).as_posix(): path for path in files}
        for name, sums in expected.items():
            if name not in found:
                raise ValueError(f"'{url}' should hold '{name}' (got {len(found)} other files); try again")
            check(found[name].read_bytes(), sums, f"{name}' of '{url}", "nothing of it is kept: try again")
        for name in expected:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(found[name], folder / name)


def fetch(url: str, folder: Path, path: Path) -> Path:
    """Fetches to `folder` what shall be `path`."""
    try:
        return Path(download_url(url, str(folder)))
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise ConnectionError(
            f"'{url}' cannot be downloaded (got {type(error).__name__}: {error}); try again, put a copy to '{path}', or give"
            " as 'root' a folder that has one (for the examples, by --root or GRAPHATTN_DATA)"
        ) from error
    except OSError as error:
        raise cannot_be_written(folder.parent, error) from error


@contextmanager
def folder_in(folder: Path) -> Iterator[Path]:
    """A new folder in a folder, for unfinished files; it is removed at the end."""
    try:
        unfinished = new_folder(folder)
    except OSError as error:
        raise cannot_be_written(folder, error) from error
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def new_folder(folder: Path) -> Path:
    """A new folder inside `folder`, so on the same disk: files can be moved out of it by their names alone."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))


def cannot_be_written(folder: Path, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"'{folder}' cannot be written (got {error.strerror or error}) and has not all files of the data set; make room"
        " there, or give another folder as 'root', one that has them or can be written",
    )


def unpack(archive: Path, folder: Path, url: str) -> None:
    """Unpacks a zip archive; raises ValueError where it is damaged or has files that would lie outside of the folder."""
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                is_inside = (folder / member.filename).resolve().is_relative_to(folder.resolve())
                if not is_inside or stat.S_ISLNK(member.external_attr >> 16):
                    raise ValueError(
                        f"'{url}' should hold nothing but files inside of its own folder (got {member.filename!r}); nothing of"
                        " it is kept: ask its makers"
                    )
            packed.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"'{url}' does not unpack (got '{error}'); nothing of it is kept: try again") from error
    except OSError as error:
        raise cannot_be_written(archive.parent.parent, error) from error


def read_checked(path: str | Path, expected: str, url: str) -> bytes:
    """The content of a file that lies on this machine, once its sum is known to be right."""
    content = Path(path).read_bytes()
    advice = f"it is damaged, cut short or another release: delete it, and it is downloaded from '{url}' again"
    check(content, expected, str(path), advice)
    return content


def check(content: bytes, expected: str, name: str, advice: str) -> None:
    """Raises ValueError for bytes of another sha256.

    `expected` may be several ones, with blanks between, each in hexadecimal digits: all 64, or the first 32 or more.
    """
    found = sha256(content).hexdigest()
    if not any(len(wanted) >= FEWEST_DIGITS and found.startswith(wanted) for wanted in expected.split()):
        raise ValueError(
            f"'{name}' should have the sha256 {' or '.join(expected.split())} (got {found}, of {len(content)} bytes); {advice}"
        )
