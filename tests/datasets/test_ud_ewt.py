import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from graphattn.datasets.ud_ewt import UPOS, Sentence, UDEnglishEWT, read_conllu

pytestmark = pytest.mark.usefixtures("any_sum")


def line(index, word, tag="NOUN", head="0"):
    return "\t".join([index, word, "_", tag, "_", "_", head, "_", "_", "_"]) + "\n"


FIRST = [
    "# text = I don't see\n",
    line("1", "I", "PRON", "4"),
    line("2-3", "don't", "_", "_"),
    line("2", "do", "AUX", "4"),
    line("3", "n't", "PART", "4"),
    line("4", "see", "VERB", "0"),
    line("4.1", "seen", "VERB", "_"),
    "\n",
]
SECOND = ["# newpar\n", "# text = Ice cream\n", line("1", "Ice", "NOUN", "2"), line("2", "cream", "NOUN", "0")]


@pytest.fixture
def root(tmp_path):
    for split, lines in {"train": FIRST + SECOND + ["\n"], "dev": FIRST, "test": SECOND}.items():
        (tmp_path / f"en_ewt-ud-{split}.conllu").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def test_reader_skips_comments_multiword_tokens_and_empty_nodes():
    first = Sentence(["I", "do", "n't", "see"], ["PRON", "AUX", "PART", "VERB"], [4, 4, 4, 0])
    second = Sentence(["Ice", "cream"], ["NOUN", "NOUN"], [2, 0])
    assert list(read_conllu(FIRST + SECOND)) == [first, second]  # no blank line at the end of the file
    assert list(read_conllu(["\n", *FIRST, "\n", "# only a comment\n", "\n", *SECOND, "\n", "\n"])) == [first, second]
    assert list(read_conllu([])) == []


def test_reader_takes_windows_line_ends():
    windows = [text.replace("\n", "\r\n") for text in SECOND]
    assert list(read_conllu(windows)) == list(read_conllu(SECOND))


@pytest.mark.parametrize(
    ("bad", "where", "message"),
    [
        ([*SECOND, "3\tmelts\tmelt\n"], 5, r"expected 10 columns separated by tabs \(got 3"),
        ([SECOND[2].replace("\t", " ")], 1, r"expected 10 columns separated by tabs \(got 1"),
        ([*FIRST, line("2", "Ice")], 9, r"expected word 1 of the sentence \(got ID '2'\)"),
        ([line("1", "Ice"), line("1", "cream")], 2, r"expected word 2 of the sentence \(got ID '1'\)"),
        ([line("1", "Ice", "NN")], 1, r"UPOS is one of ADJ, .* \(got 'NN' for the word 'Ice'\)"),
        (
            [line("1", "Ice", "NOUN", "_")],
            1,
            r"HEAD is 0 for the root or the ID of a word \(got '_' for the word 'Ice'\)",
        ),
        ([line("1", "Ice", "NOUN", "-1")], 1, r"HEAD is 0 .* \(got '-1'"),
        ([line("1", "Ice", "NOUN", "3"), line("2", "cream"), "\n"], 3, r"has 2 words \(got HEAD 3\)"),
    ],
)
def test_reader_says_where_a_line_is_malformed(bad, where, message):
    with pytest.raises(ValueError, match=f"^web.conllu:{where}: .*{message}"):
        list(read_conllu(bad, "web.conllu"))


def test_sentences_are_graphs_of_their_words(root):
    dataset = UDEnglishEWT(root, "train")
    assert len(dataset) == 2
    sentence = dataset[0]
    assert isinstance(sentence, Data) and sentence.num_nodes == 4 and sentence.words == ["I", "do", "n't", "see"]
    assert [UPOS[tag] for tag in sentence.y] == ["PRON", "AUX", "PART", "VERB"]
    assert sentence.pos.tolist() == [0, 1, 2, 3]
    assert sentence.edge_index.tolist() == [[3, 3, 3], [0, 1, 2]]  # head -> word; the root has no edge
    assert dataset[1].edge_index.tolist() == [[1], [0]]
    assert len(UDEnglishEWT(root, "dev")) == len(UDEnglishEWT(root, "test")) == 1


def test_nothing_is_written_beside_the_files(root):
    before = sorted(root.iterdir())
    UDEnglishEWT(root, "test")
    assert sorted(root.iterdir()) == before


def test_transform_works_on_a_copy(root):
    def forget_tags(data):
        data.y = torch.zeros_like(data.y)
        return data

    dataset = UDEnglishEWT(root, "train", transform=forget_tags)
    assert dataset[0].y.tolist() == [0, 0, 0, 0]
    assert dataset.get(0).y.tolist() != [0, 0, 0, 0]


def test_batches_shift_the_tree(root):
    batch = next(iter(DataLoader(UDEnglishEWT(root, "train"), batch_size=2)))
    assert batch.ptr.tolist() == [0, 4, 6]
    assert batch.edge_index.tolist() == [[3, 3, 3, 5], [0, 1, 2, 4]]
    assert batch.words == [["I", "do", "n't", "see"], ["Ice", "cream"]]


def test_missing_split_is_downloaded_from_the_release(tmp_path, serve):
    asked = serve({"en_ewt-ud-dev.conllu": "".join(SECOND).encode()})
    for _ in range(2):  # the second time the copy is read
        assert len(UDEnglishEWT(str(tmp_path), "dev")) == 1
    assert asked == [
        "https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/r2.16/en_ewt-ud-dev.conllu"
    ]


def test_unknown_split_is_an_error(root):
    with pytest.raises(ValueError, match=r"'split' is one of \('train', 'dev', 'test'\) \(got 'valid'\)"):
        UDEnglishEWT(root, "valid")


def test_malformed_file_is_named(root):
    (root / "en_ewt-ud-dev.conllu").write_text(line("1", "Ice", "NN"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"^en_ewt-ud-dev\.conllu:1: UPOS"):
        UDEnglishEWT(root, "dev")
