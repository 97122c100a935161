"""SpokenDigits: the digits zero to nine, spoken by six people."""

import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from itertools import product
from pathlib import Path

import torch
from torch_geometric.data import Data, InMemoryDataset

from graphattn.datasets.checked import Checked
from graphattn.datasets.download import download_archive
from graphattn.graphs import CompleteGraph
from graphattn.inputs import from_wav

COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
NUM_TEST = 5  # recordings 0 .. 4 of each speaker and digit


SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
NUM_TAKES = 50
NUM_BYTES = (
    16  # of each sha256, which has 32: half of the wheel's share, and nobody finds two files of the same half either
)


def names_of_recordings() -> list[str]:
    """The names of all recordings in the data set's folder, by digit, speaker and take: the order of `spoken_digits.sums`."""
    return [
        f"recordings/{name}.wav" for name in map("_".join, product("0123456789", SPEAKERS, map(str, range(NUM_TAKES))))
    ]


@cache
def sums() -> dict[str, str]:
    """The first 32 hexadecimal digits of the sha256 of each recording, by its name in the data set's folder."""
    content = files("graphattn.datasets").joinpath("spoken_digits.sums").read_bytes()
    starts = range(0, len(content), NUM_BYTES)
    return {name: content[at : at + NUM_BYTES].hex() for name, at in zip(names_of_recordings(), starts, strict=True)}


class SpokenDigits(Checked, InMemoryDataset):
    """Free Spoken Digit Dataset: 3,000 recordings (8 kHz, 0.14 to 2.28 s) of ten digits, 50 by each of six speakers.

    | attribute | meaning
    |-----------|--------
    | x         | [frames, 40] log-mel energies (`graphattn.inputs.from_wav`), each recording of mean 0 and deviation 1
    | pos       | [frames, 1] middle of the frame, in seconds
    | graph     | CompleteGraph(frames)
    | y         | [1] int64, the digit
    | speaker   | [1] int64, a place in `speakers`
    | take      | [1] int64, which of the 50 recordings of this digit by this speaker

    | split   | recordings | takes   |
    |---------|------------|---------|----------------------------
    | 'train' | 2,700      | 5 .. 49 |
    | 'test'  | 300        | 0 .. 4  | as the makers of the set say

    Args:
        root: Folder with `recordings/{digit}_{speaker}_{take}.wav`; those that are missing are downloaded, and all are
            checked. The frames are kept in `root/processed`.
        split: 'train' or 'test'.
        transform: Called on each `Data` when it is read.

    Source: Z. Jackson et al., https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0. Raises ValueError on
    an unknown split, a recording of another name or another sha256.
    """

    url = f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{COMMIT}.zip"
    classes = tuple("0123456789")
    speakers = SPEAKERS

    def __init__(self, root: str, split: str = "train", transform: Callable[[Data], Data] | None = None):
        if split not in ("train", "test"):
            raise ValueError(f"'split' needs to be 'train' or 'test' (got {split!r})")
        super().__init__(root, transform)
        self.load(self.processed_paths[self.processed_file_names.index(f"{split}.pt")])

    @property
    def raw_dir(self) -> str:
        return self.root

    @property
    def sums(self) -> dict[str, str]:
        return sums()

    @property
    def raw_file_names(self) -> list[str]:
        return list(self.sums)

    @property
    def processed_file_names(self) -> list[str]:
        return ["train.pt", "test.pt"]

    def url_of(self, name: str) -> str:
        return self.url

    def download(self) -> None:
        download_archive(self.url, self.raw_dir, self.sums)

    def process(self) -> None:
        parts: dict[str, list[Data]] = {"train.pt": [], "test.pt": []}
        for path in sorted(Path(self.raw_dir, "recordings").glob("*.wav")):
            data = to_data(path)
            if f"recordings/{path.name}" not in self.sums:
                raise ValueError(
                    f"'{path}' is no recording of this release, which has {len(self.sums)}; move it elsewhere"
                )
            parts["test.pt" if data.take < NUM_TEST else "train.pt"].append(data)
        for name, path in zip(self.processed_file_names, self.processed_paths):
            self.save(parts[name], path)


def to_data(path: Path) -> Data:
    digit, speaker, take = parse_name(path)
    data = from_wav(path, normalize=True)
    data.graph = CompleteGraph(data.num_nodes)
    data.y, data.speaker, data.take = torch.tensor([digit]), torch.tensor([speaker]), torch.tensor([take])
    return data


def parse_name(path: Path) -> tuple[int, int, int]:
    """Digit, place of the speaker in `SpokenDigits.speakers`, take.

    >>> parse_name(Path("7_jackson_32.wav"))
    (7, 1, 32)
    """
    match = re.fullmatch(r"([0-9])_([a-z]+)_([0-9]+)", path.stem)
    if match is None or match[2] not in SpokenDigits.speakers:
        raise ValueError(
            f"a recording is named digit_speaker_take.wav, with a speaker of {SpokenDigits.speakers} (got"
            f" '{path}'); move other files elsewhere"
        )
    return int(match[1]), SpokenDigits.speakers.index(match[2]), int(match[3])
