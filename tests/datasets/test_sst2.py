import pytest
from torch_geometric.loader import DataLoader

from graphattn.datasets import SST2

pytestmark = pytest.mark.usefixtures("any_sum")
LINES = {"train": "a gorgeous film\t1\nnot  a film , a list\t0\n", "dev": "so bad it is good\t1\n", "test": "no\t0\n"}


@pytest.fixture
def root(tmp_path):
    for split, text in LINES.items():
        (tmp_path / f"{split}.tsv").write_text(text, encoding="utf-8")
    return tmp_path


def test_sentences_are_words_and_a_label(root):
    dataset = SST2(root)
    assert len(dataset) == 2 and len(SST2(root, "dev")) == len(SST2(root, "test")) == 1
    assert dataset[1].tokens == ["not", "a", "film", ",", "a", "list"] and dataset[1].num_nodes == 6
    assert [dataset.classes[data.y] for data in dataset] == ["praise", "blame"]


def test_batches_keep_labels_and_words(root):
    batch = next(iter(DataLoader(SST2(root), batch_size=2)))
    assert batch.y.tolist() == [1, 0] and batch.ptr.tolist() == [0, 3, 9]
    assert batch.tokens[0] == ["a", "gorgeous", "film"]


def test_transform_works_on_a_copy(root):
    def shorten(data):
        data.tokens = data.tokens[:1]
        return data

    dataset = SST2(root, transform=shorten)
    assert dataset[0].tokens == ["a"] and dataset.get(0).tokens == ["a", "gorgeous", "film"]


@pytest.mark.parametrize("line", ["a film 1", "a film\t2", "\t1", "", "a film\t", "a\tfilm\t1"])
def test_malformed_lines_are_named(root, line):
    (root / "dev.tsv").write_text(f"good\t1\n{line}\nbad\t0\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^dev\.tsv:2: expected a sentence, a tab, and 0 or 1"):
        SST2(root, "dev")


def test_windows_line_ends_are_no_words(root):
    (root / "dev.tsv").write_bytes(b"so good\t1\r\n")
    data = SST2(root, "dev")[0]
    assert data.tokens == ["so", "good"] and data.y.item() == 1


def test_unknown_split_raises(root):
    with pytest.raises(ValueError, match=r"'split' needs to be 'train', 'dev' or 'test' \(got 'valid'\)"):
        SST2(root, "valid")


def test_a_missing_file_is_downloaded_once(tmp_path, serve):
    asked = serve({"dev.tsv": LINES["dev"].encode()})
    for _ in range(2):
        assert SST2(tmp_path / "root", "dev")[0].tokens == ["so", "bad", "it", "is", "good"]
    assert asked == [f"{SST2.url}/dev.tsv"]
