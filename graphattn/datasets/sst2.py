"""SST-2: sentences of film reviews that praise or blame."""

import copy
from collections.abc import Callable, Iterable, Iterator

import torch
from torch_geometric.data import Data, Dataset

from graphattn.datasets.checked import Checked

COMMIT = "457ffd83de90a9d6d472d8ffc31bbffe40a8b236"
SHA256 = {
    "train.tsv": "ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920",
    "dev.tsv": "eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359",
    "test.tsv": "831169c7e2e429d6026e1bdbb542f33b636e3e596caad9602ebc953c205928b7",
}


def read_sentences(lines: Iterable[str], name: str = "TSV") -> Iterator[tuple[list[str], int]]:
    """The words and the label of each line `sentence<TAB>label`, with blanks between the words and the label 0 or 1.

    Raises ValueError at a line that is not so; the message starts with `name:line number`.

    >>> list(read_sentences(["a gorgeous film\\t1"]))
    [(['a', 'gorgeous', 'film'], 1)]
    """
    for number, line in enumerate(lines, start=1):
        sentence, _, label = line.rstrip("\r\n").partition("\t")
        tokens = sentence.split()
        if not tokens or label not in ("0", "1"):
            raise ValueError(f"{name}:{number}: expected a sentence, a tab, and 0 or 1 (got {line!r})")
        yield tokens, int(label)


class SST2(Checked, Dataset):
    """Stanford Sentiment Treebank, two classes: 9,613 whole sentences of film reviews, lower-cased, at most 53 words.

    | attribute | meaning
    |-----------|--------
    | tokens    | the words, list of str
    | y         | [1] int64: 0 blame, 1 praise

    | split   | sentences |
    |---------|-----------|-----------------------------------------------------------------------------
    | 'train' | 6,920     | sentences alone: many papers also train on the labelled phrases inside them
    | 'dev'   | 872       |
    | 'test'  | 1,821     |

    Args:
        root: Folder of `train.tsv`, `dev.tsv` and `test.tsv`; a file is downloaded where there is no copy, and checked.
        split: 'train', 'dev' or 'test'.
        transform: Called on each `Data` when it is read; makes numbers of the words and a graph.

    Source: R. Socher et al., Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank, EMNLP 2013; the
    sentences without neutral ones as https://github.com/clairett/pytorch-sentiment-classification has them. Raises
    ValueError on an unknown split or a file of another sha256; `read_sentences` reads other files.
    """

    url = f"https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification/{COMMIT}/data/SST2"
    sums = SHA256
    classes = ("blame", "praise")

    def __init__(self, root: str, split: str = "train", transform: Callable[[Data], Data] | None = None):
        if f"{split}.tsv" not in SHA256:
            raise ValueError(f"'split' needs to be 'train', 'dev' or 'test' (got {split!r})")
        self.split = split
        super().__init__(root, transform)
        (name,) = self.raw_file_names
        self.sentences = [to_data(*pair) for pair in read_sentences(self.read_lines(name), name)]

    @property
    def raw_dir(self) -> str:
        """The root itself: nothing is written beside the files."""
        return self.root

    @property
    def raw_file_names(self) -> list[str]:
        return [f"{self.split}.tsv"]

    def url_of(self, name: str) -> str:
        return f"{self.url}/{name}"

    def len(self) -> int:
        return len(self.sentences)

    def get(self, idx: int) -> Data:
        return copy.copy(self.sentences[idx])


def to_data(tokens: list[str], label: int) -> Data:
    return Data(tokens=tokens, y=torch.tensor([label]), num_nodes=len(tokens))
