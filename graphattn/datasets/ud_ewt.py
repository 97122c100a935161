"""UD English-EWT: words with their part of speech and dependency tree."""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch_geometric.data import Data, Dataset

from graphattn.datasets.checked import Checked

UPOS = (
    "ADJ",
    "ADP",
    "ADV",
    "AUX",
    "CCONJ",
    "DET",
    "INTJ",
    "NOUN",
    "NUM",
    "PART",
    "PRON",
    "PROPN",
    "PUNCT",
    "SCONJ",
    "SYM",
    "VERB",
    "X",
)
SPLITS = ("train", "dev", "test")
SHA256 = {  # of release 2.16
    "en_ewt-ud-train.conllu": "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
    "en_ewt-ud-dev.conllu": "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
    "en_ewt-ud-test.conllu": "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
}


class Sentence(NamedTuple):
    """Words of one sentence, the tag of each, and its head: 1 .. n, or 0 for the root."""

    words: list[str]
    tags: list[str]
    heads: list[int]


def read_conllu(lines: Iterable[str], name: str = "CoNLL-U") -> Iterator[Sentence]:
    """The sentences of CoNLL-U `lines`; comments, multiword tokens (`3-4`) and empty nodes (`5.1`) are skipped.

    Args:
        lines: The text, line by line.
        name: What to call it in an error.

    Raises:
        ValueError: A line is not CoNLL-U; the message starts with `name:line number`.

    Source: https://universaldependencies.org/format.html

    >>> text = ["1-2 don't _ _ _ _ _ _ _ _", "1 do _ AUX _ _ 0 _ _ _", "2 n't _ PART _ _ 1 _ _ _"]
    >>> list(read_conllu(line.replace(' ', '\\t') for line in text))
    [Sentence(words=['do', "n't"], tags=['AUX', 'PART'], heads=[0, 1])]
    """
    sentence = Sentence([], [], [])
    number = 0
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r\n")
        if line and not line.startswith("#"):
            _add_word(sentence, line, f"{name}:{number}")
        elif not line and sentence.words:
            yield _checked(sentence, f"{name}:{number}")
            sentence = Sentence([], [], [])
    if sentence.words:
        yield _checked(sentence, f"{name}:{number}")


def _add_word(sentence: Sentence, line: str, place: str) -> None:
    columns = line.split("\t")
    if len(columns) != 10:
        raise ValueError(f"{place}: expected 10 columns separated by tabs (got {len(columns)}: {line!r})")
    index, word, _, tag, _, _, head = columns[:7]
    if "-" in index or "." in index:
        return
    if index != str(len(sentence.words) + 1):
        raise ValueError(
            f"{place}: expected word {len(sentence.words) + 1} of the sentence (got ID {index!r});"
            f" a blank line separates sentences"
        )
    if tag not in UPOS:
        raise ValueError(f"{place}: UPOS is one of {', '.join(UPOS)} (got {tag!r} for the word {word!r})")
    if not (head.isascii() and head.isdigit()):
        raise ValueError(f"{place}: HEAD is 0 for the root or the ID of a word (got {head!r} for the word {word!r})")
    sentence.words.append(word)
    sentence.tags.append(tag)
    sentence.heads.append(int(head))


def _checked(sentence: Sentence, place: str) -> Sentence:
    num_words = len(sentence.words)
    if max(sentence.heads) > num_words:
        raise ValueError(f"{place}: the sentence that ends here has {num_words} words (got HEAD {max(sentence.heads)})")
    return sentence


class UDEnglishEWT(Checked, Dataset):
    r"""Universal Dependencies, English Web Treebank (Silveira et al., 2014; https://universaldependencies.org):
    16,622 sentences of weblogs, newsgroups, e-mails, reviews and answers, with parts of speech and dependency trees.

    One Data is one sentence of `n` words:

    | attribute | type | meaning |
    |---|---|---|
    | `words` | list of `n` strings | as written; contractions are split (`do`, `n't`) |
    | `y` | int64 `[n]` | universal part of speech, an index into `UPOS` (17 classes) |
    | `edge_index` | int64 `[2, n - roots]` | dependency tree, from the head to the word that depends on it |
    | `pos` | int64 `[n]` | place in the sentence, in words, from 0 |

    Release 2.16 has 12,544 / 2,001 / 2,077 sentences and 204,577 / 25,147 / 25,094 words.

    Args:
        root: Folder of the three files `en_ewt-ud-{train,dev,test}.conllu`; they are downloaded where there is no copy,
            and checked.
        split: `'train'`, `'dev'` or `'test'`.
        transform: Called on each `Data` when it is read; makes the graph of who attends to whom.

    Raises:
        ValueError: Unknown split, or a file of another sha256; `read_conllu` reads other releases.
    """

    release = "r2.16"
    url = "https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT"
    sums = SHA256
    tags = UPOS

    def __init__(self, root: str, split: str = "train", transform: Callable[[Data], Data] | None = None) -> None:
        if split not in SPLITS:
            raise ValueError(f"'split' is one of {SPLITS} (got {split!r})")
        self.split = split
        super().__init__(root, transform)
        (name,) = self.raw_file_names
        self.sentences = [_to_data(sentence) for sentence in read_conllu(self.read_lines(name), name)]

    @property
    def raw_dir(self) -> str:
        """The root itself: the treebank comes as three text files, and nothing is written beside them."""
        return self.root

    @property
    def raw_file_names(self) -> list[str]:
        """The file of this split."""
        return [f"en_ewt-ud-{self.split}.conllu"]

    def url_of(self, name: str) -> str:
        """The file of the release."""
        return f"{self.url}/{self.release}/{name}"

    def len(self) -> int:
        """Number of sentences."""
        return len(self.sentences)

    def get(self, idx: int) -> Data:
        """Sentence `idx`, before the transform."""
        return copy.copy(self.sentences[idx])


def _to_data(sentence: Sentence) -> Data:
    heads = torch.tensor(sentence.heads)
    words = torch.arange(heads.numel())
    return Data(
        words=sentence.words,
        y=torch.tensor([UPOS.index(tag) for tag in sentence.tags]),
        pos=words,
        edge_index=torch.stack([heads - 1, words])[:, heads > 0],
        num_nodes=heads.numel(),
    )
