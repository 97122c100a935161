"""CMUdict: how English words are spoken."""

import hashlib
import re
from collections.abc import Callable, Iterable

import torch
from torch_geometric.data import Data, Dataset

from graphattn.datasets.checked import Checked

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz'-.")
VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = ("B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH", "T", "TH", "V",
              "W", "Y", "Z", "ZH")  # fmt: skip
PHONEMES = tuple(sorted(VOWELS + CONSONANTS))
SYMBOLS = frozenset(PHONEMES) | {vowel + stress for vowel in VOWELS for stress in "012"}
ENTRY = re.compile(r"[a-z'.-]+(\(\d+\))?")
SPLITS = ("train", "valid", "test")
# Of 1,000 words 95 are test words, nearly the 12,000 that papers hold out, and 21 validation words, nearly their 2,670.
TEST_SHARE, VALID_SHARE = 95, 21


def read_cmudict(lines: Iterable[str], name: str = "cmudict.dict") -> dict[str, list[str]]:
    """Each word with its pronunciations, in the order of the file; `word(2)` is the second one of `word`.

    Args:
        lines: `word P1 P2 ... # comment`, the comment left out or not.
        name: What to call the text in an error.

    Raises:
        ValueError: A line is malformed; the message starts with `name:line number`.

    >>> read_cmudict(["aalto AA1 L T OW2 # name, finnish", "read R EH1 D", "read(2) R IY1 D"])
    {'aalto': ['AA1 L T OW2'], 'read': ['R EH1 D', 'R IY1 D']}
    """
    pronunciations: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        entry, *phonemes = line.partition("#")[0].split() or [""]
        if not entry:
            continue
        word = entry.partition("(")[0]
        if not phonemes or not ENTRY.fullmatch(entry):
            raise ValueError(
                f"{name}:{number}: expected a word of the letters {''.join(LETTERS)} and its phonemes (got {line!r})"
            )
        unknown = set(phonemes) - SYMBOLS
        if unknown:
            raise ValueError(
                f"{name}:{number}: phonemes are {', '.join(PHONEMES)}, vowels with a stress 0, 1 or 2"
                f" (got {sorted(unknown)})"
            )
        pronunciations.setdefault(word, []).append(" ".join(phonemes))
    return pronunciations


def split_of(word: str) -> str:
    """'train', 'valid' or 'test': decided by the word alone, whatever else the dictionary holds.

    >>> [split_of(word) for word in ("attention", "graph", "edge")]
    ['train', 'train', 'train']
    """
    share = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") % 1000
    if share < TEST_SHARE:
        return "test"
    return "valid" if share < TEST_SHARE + VALID_SHARE else "train"


class CMUDict(Checked, Dataset):
    """The CMU Pronouncing Dictionary: 126,052 English words (many of them names) and how they are spoken in America.

    One Data is one word:

    | attribute        | type          | meaning
    |------------------|---------------|--------
    | `word`           | str           | as written, lower-case
    | `x`              | int64 `[n]`   | its letters, an index into `LETTERS` (26 letters, apostrophe, hyphen, full stop)
    | `pos`            | int64 `[n]`   | place in the word
    | `pronunciations` | list of str   | each a way to speak it, phonemes of ARPAbet separated by blanks, the usual one first
    | `y`              | int64 `[m]`   | the first of them, an index into `phonemes` of the data set

    The dictionary has no split of its own. Here the hash of a word decides, so that all pronunciations of a word are in
    one part and a part is the same in every version of the dictionary. Inflected forms are words of their own, as in the
    literature: the training words may hold "graph" where "graphs" is a test word.

    Args:
        root: Folder of `cmudict.dict`, which is downloaded where there is no copy, and checked.
        split: 'train', 'valid' or 'test'.
        stress: Whether vowels keep their stress (0 none, 1 primary, 2 secondary: 69 phonemes) or not (39, as in most of
            the literature; pronunciations that differ in nothing else are one then).
        transform: Called on each `Data` when it is read.

    Raises:
        ValueError: Unknown split, or a file of another sha256; `read_cmudict` reads other releases.

    Source: https://github.com/cmusphinx/cmudict (135,166 pronunciations).
    """

    commit = "0f8072f814306c5ee4fbf992ed853601b12c01f9"
    url = f"https://raw.githubusercontent.com/cmusphinx/cmudict/{commit}/cmudict.dict"
    sha256 = "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22"
    letters = LETTERS

    def __init__(
        self,
        root: str,
        split: str = "train",
        stress: bool = False,
        transform: Callable[[Data], Data] | None = None,
    ):
        if split not in SPLITS:
            raise ValueError(f"'split' must be one of {SPLITS} (got {split!r})")
        self.split, self.stress = split, stress
        stressed = {vowel: [vowel + level for level in "012"] for vowel in VOWELS} if stress else {}
        self.phonemes = tuple(symbol for phoneme in PHONEMES for symbol in stressed.get(phoneme, [phoneme]))
        super().__init__(root, transform)
        entries = read_cmudict(self.read_lines("cmudict.dict"))
        self.words = [word for word in entries if split_of(word) == split]
        self.pronunciations = [self.spoken(entries[word]) for word in self.words]

    @property
    def raw_dir(self) -> str:
        """The root itself: the dictionary is one text file, and nothing is written beside it."""
        return self.root

    @property
    def raw_file_names(self) -> list[str]:
        return ["cmudict.dict"]

    @property
    def sums(self) -> dict[str, str]:
        return {"cmudict.dict": self.sha256}

    def url_of(self, name: str) -> str:
        return self.url

    def spoken(self, pronunciations: list[str]) -> list[str]:
        """Different pronunciations, with the stress or without."""
        if not self.stress:
            pronunciations = [re.sub(r"\d", "", pronunciation) for pronunciation in pronunciations]
        return list(dict.fromkeys(pronunciations))

    def len(self) -> int:
        return len(self.words)

    def get(self, idx: int) -> Data:
        """Word `idx`, before the transform."""
        word, pronunciations = self.words[idx], self.pronunciations[idx]
        x = torch.tensor([LETTERS.index(letter) for letter in word])
        y = torch.tensor([self.phonemes.index(phoneme) for phoneme in pronunciations[0].split()])
        places = torch.arange(len(word))
        return Data(word=word, x=x, pos=places, pronunciations=pronunciations, y=y, num_nodes=len(word))
