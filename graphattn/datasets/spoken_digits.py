"""SpokenDigits: the digits zero to nine, spoken by six people."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch_geometric.data import Data, InMemoryDataset, download_url, extract_zip
from torch_geometric.io import fs

from graphattn.graphs import CompleteGraph
from graphattn.inputs import from_wav

COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
NUM_RECORDINGS = 3000  # of that commit
NUM_TEST = 5  # recordings 0 .. 4 of each speaker and digit


class SpokenDigits(InMemoryDataset):
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
        root: Folder with `recordings/{digit}_{speaker}_{take}.wav`; they are downloaded where there is no copy. The frames
            are kept in `root/processed`.
        split: 'train' or 'test'.
        transform: Called on each `Data` when it is read.

    Source: Z. Jackson et al., https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0. Raises ValueError on
    an unknown split, a file of another name, or a download that is not whole.
    """

    url = f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{COMMIT}.zip"
    classes = tuple("0123456789")
    speakers = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")

    def __init__(self, root: str, split: str = "train", transform: Callable[[Data], Data] | None = None):
        if split not in ("train", "test"):
            raise ValueError(f"'split' needs to be 'train' or 'test' (got {split!r})")
        super().__init__(root, transform)
        self.load(self.processed_paths[self.processed_file_names.index(f"{split}.pt")])

    @property
    def raw_dir(self) -> str:
        return self.root

    @property
    def raw_file_names(self) -> list[str]:
        return ["recordings"]

    @property
    def processed_file_names(self) -> list[str]:
        return ["train.pt", "test.pt"]

    def download(self) -> None:
        archive = download_url(self.url, self.root)
        extract_zip(archive, self.root)
        unpacked = Path(self.root, f"free-spoken-digit-dataset-{COMMIT}")
        found = len(list((unpacked / "recordings").glob("*.wav")))
        if found != NUM_RECORDINGS:
            raise ValueError(f"'{self.url}' should hold {NUM_RECORDINGS} recordings (got {found}); delete '{self.root}' and try"
                             f" again")
        shutil.move(unpacked / "recordings", self.raw_paths[0])
        shutil.rmtree(unpacked)
        fs.rm(archive)

    def process(self) -> None:
        parts = {"train.pt": [], "test.pt": []}
        for path in sorted(Path(self.raw_paths[0]).glob("*.wav")):
            data = to_data(path)
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
        raise ValueError(f"a recording is named digit_speaker_take.wav, with a speaker of {SpokenDigits.speakers} (got"
                         f" '{path}'); move other files elsewhere")
    return int(match[1]), SpokenDigits.speakers.index(match[2]), int(match[3])
