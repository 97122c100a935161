import pytest
import torch
from torch_geometric.loader import DataLoader

from graphattn.datasets import CMUDict
from graphattn.datasets.cmudict import PHONEMES, SPLITS, read_cmudict, split_of

pytestmark = pytest.mark.usefixtures("any_sum")
LINES = """'em AH0 M
aalto AA1 L T OW2 # name, finnish
read R EH1 D
read(2) R IY1 D
record R AH0 K AO1 R D
record(2) R EH1 K ER0 D
record(3) R AH1 K AO1 R D
x-ray EH1 K S R EY2
dr. D AA1 K T ER0
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "cmudict.dict").write_text(LINES, encoding="utf-8")
    return tmp_path


def of_all_parts(root, **options):
    return {data.word: data for split in SPLITS for data in CMUDict(root, split, **options)}


def test_variants_belong_to_their_word_and_comments_to_nobody():
    entries = read_cmudict(LINES.splitlines(keepends=True))
    assert list(entries) == ["'em", "aalto", "read", "record", "x-ray", "dr."]
    assert entries["aalto"] == ["AA1 L T OW2"] and entries["read"] == ["R EH1 D", "R IY1 D"]
    assert read_cmudict([]) == {} and read_cmudict(["\n", "# only a comment\n"]) == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("silent", r"expected a word .* and its phonemes \(got 'silent'\)"),
        ("Upper AH1", r"expected a word of the letters abc"),
        ("read(two) R IY1 D", r"expected a word"),
        ("cafe K AE1 F EY7", r"vowels with a stress 0, 1 or 2 \(got \['EY7'\]\)"),
        ("cat K1 AE T", r"got \['K1'\]"),
    ],
)
def test_reader_says_where_a_line_is_malformed(line, message):
    with pytest.raises(ValueError, match=f"^mine.dict:2: .*{message}"):
        read_cmudict(["em AH0 M", line], "mine.dict")


def test_words_are_letters_and_phonemes(root):
    words = of_all_parts(root)
    assert set(words) == {"'em", "aalto", "read", "record", "x-ray", "dr."}
    read = words["read"]
    assert [CMUDict.letters[letter] for letter in read.x] == list("read") and read.pos.tolist() == [0, 1, 2, 3]
    assert read.pronunciations == ["R EH D", "R IY D"] and [PHONEMES[index] for index in read.y] == ["R", "EH", "D"]
    assert read.num_nodes == 4 and len(PHONEMES) == 39 and len(CMUDict.letters) == 29


def test_stress_is_kept_or_dropped_and_then_makes_no_variants(root):
    plain, stressed = of_all_parts(root), of_all_parts(root, stress=True)
    assert plain["record"].pronunciations == ["R AH K AO R D", "R EH K ER D"]
    assert stressed["record"].pronunciations == ["R AH0 K AO1 R D", "R EH1 K ER0 D", "R AH1 K AO1 R D"]
    dataset = CMUDict(root, split_of("x-ray"), stress=True)
    assert len(dataset.phonemes) == 69 and len(set(dataset.phonemes)) == 69
    assert [dataset.phonemes[index] for index in stressed["x-ray"].y] == ["EH1", "K", "S", "R", "EY2"]


def test_a_word_stays_in_its_part_whatever_the_dictionary_holds(root):
    before = {split: set(CMUDict(root, split).words) for split in SPLITS}
    (root / "cmudict.dict").write_text("a AH0\n" + LINES, encoding="utf-8")
    after = {split: set(CMUDict(root, split).words) - {"a"} for split in SPLITS}
    assert before == after and sum(map(len, before.values())) == 6


def test_shares_of_the_parts():
    parts = [split_of(f"word{number}") for number in range(20_000)]
    assert parts.count("test") / len(parts) == pytest.approx(0.095, abs=0.007)
    assert parts.count("valid") / len(parts) == pytest.approx(0.021, abs=0.004)


def test_loader_and_transform(root):
    def mark(data):
        data.seen = torch.ones(data.num_nodes)
        return data

    words = [data for split in SPLITS for data in CMUDict(root, split, transform=mark)]
    batch = next(iter(DataLoader(words, batch_size=len(words))))
    assert batch.word == [data.word for data in words] and batch.x.size(0) == batch.seen.size(0) == 26
    assert batch.ptr.diff().tolist() == [len(word) for word in batch.word]
    assert batch.pronunciations == [data.pronunciations for data in words]


def test_unknown_split(root):
    with pytest.raises(ValueError, match=r"'split' must be one of .* \(got 'dev'\)"):
        CMUDict(root, "dev")


def test_it_is_downloaded_once(tmp_path, serve):
    asked = serve({"cmudict.dict": LINES.encode()})
    assert sum(len(CMUDict(tmp_path / "root", split)) for split in SPLITS) == 6
    assert asked == [CMUDict.url] and CMUDict.url.endswith(f"/{CMUDict.commit}/cmudict.dict")
