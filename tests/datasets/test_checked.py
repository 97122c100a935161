import errno
import gc
import json
import multiprocessing
import os
import pickle
import shutil
import warnings
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data, InMemoryDataset

from graphattn.datasets import MNIST, SST2, CMUDict, SpokenDigits, UDEnglishEWT, checked
from graphattn.datasets.checked import Checked

TEXT = b"1\n2\n3\n"


class Numbers(Checked, InMemoryDataset):
    """A number a line."""

    sums = {"numbers.txt": sha256(TEXT).hexdigest()}  # noqa: RUF012
    raw_file_names = "numbers.txt"
    processed_file_names = ("data.pt",)
    times_processed = 0

    def __init__(self, root, **options):
        super().__init__(root, **options)
        self.load(self.processed_paths[0])

    def url_of(self, name):
        return f"http://x/{name}"

    def process(self):
        type(self).times_processed += 1
        self.save(
            [Data(x=torch.tensor([[float(line)]])) for line in self.read_lines("numbers.txt")], self.processed_paths[0]
        )


def numbers(root, **options):
    """The numbers, and how often they were processed for it."""
    before = Numbers.times_processed
    dataset = Numbers(root, **options)
    return [data.x.item() for data in dataset], Numbers.times_processed - before


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "raw").mkdir(parents=True)
    (tmp_path / "root" / "raw" / "numbers.txt").write_bytes(TEXT)
    return str(tmp_path / "root")


PROCESSED = ["data.pt", "pre_filter.pt", "pre_transform.pt", "sha256.json"]


def test_files_are_processed_once(root):
    assert numbers(root) == ([1, 2, 3], 1)
    assert numbers(root) == ([1, 2, 3], 0)
    assert sorted(os.listdir(f"{root}/processed")) == PROCESSED
    assert numbers(root, force_reload=True) == ([1, 2, 3], 1)
    assert sorted(os.listdir(f"{root}/processed")) == PROCESSED


def test_missing_files_are_downloaded(tmp_path, serve):
    asked = serve({"numbers.txt": TEXT})
    assert numbers(tmp_path / "new") == ([1, 2, 3], 1)
    assert asked == ["http://x/numbers.txt"]


DAMAGES = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "one bit": lambda content: content[:-60] + bytes([content[-60] ^ 1]) + content[-59:],
    "a list": lambda content: b"[]",
    "brackets": lambda content: b"[" * 100_000,
    "not utf-8": lambda content: b"\xff" + content,
    "away": None,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", PROCESSED)
def test_damaged_processed_files_are_made_again(name, damage, root):
    numbers(root)
    path = Path(root, "processed", name)
    if damage == "away":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert numbers(root) == ([1, 2, 3], 1)
    assert numbers(root) == ([1, 2, 3], 0)


def test_a_number_that_was_changed_on_disk_is_noticed(root):
    """torch.load does not look at the sums that it writes."""
    numbers(root)
    path = Path(root, "processed", "data.pt")
    content = path.read_bytes()
    three = torch.tensor([1.0, 2.0, 3.0]).numpy().tobytes()
    assert content.count(three) == 1
    path.write_bytes(content.replace(three, torch.tensor([1.0, 2.0, 4.0]).numpy().tobytes()))
    assert numbers(root) == ([1, 2, 3], 1)


def test_processed_files_of_another_version_are_made_again(root, monkeypatch):
    numbers(root)
    monkeypatch.setattr(checked, "MAKERS", "graphattn 99, torch_geometric 99")
    assert numbers(root) == ([1, 2, 3], 1)
    other = b"7\n"
    Path(root, "raw", "numbers.txt").write_bytes(other)
    monkeypatch.setattr(Numbers, "sums", {"numbers.txt": sha256(other).hexdigest()})
    assert numbers(root) == ([7], 1)


def test_processed_files_of_somebody_else_are_made_again(root):
    """Such as those of PyG's class, of which nobody knows whether they are whole."""
    Path(root, "processed").mkdir()
    Numbers.save([Data(x=torch.tensor([[5.0]]))], f"{root}/processed/data.pt")
    torch.save("None", f"{root}/processed/pre_transform.pt")
    assert numbers(root) == ([1, 2, 3], 1)


def test_raw_files_are_checked_before_they_are_processed(root):
    path = Path(root, "raw", "numbers.txt")
    path.write_bytes(TEXT[:-2])
    with pytest.raises(ValueError, match=rf"'{path}' should have the sha256 .* from 'http://x/numbers.txt' again"):
        numbers(root)
    assert path.read_bytes() == TEXT[:-2] and not Path(root, "processed").exists()
    path.write_bytes(TEXT)
    numbers(root)
    path.write_bytes(TEXT[:-2])
    with pytest.raises(ValueError, match="should have the sha256"):
        numbers(root, force_reload=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
def test_processing_that_is_broken_off_leaves_what_was_there(error, root, monkeypatch):
    numbers(root)
    before = {path.name: path.read_bytes() for path in Path(root, "processed").iterdir()}

    def process(self):
        Path(self.processed_paths[0]).write_bytes(b"half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Numbers, "process", process)
        with pytest.raises(error):
            numbers(root, force_reload=True)
    assert {path.name: path.read_bytes() for path in Path(root, "processed").iterdir()} == before
    assert numbers(root) == ([1, 2, 3], 0)


def test_another_pre_transform_is_told(root):
    numbers(root)
    with pytest.warns(UserWarning, match="`pre_transform` argument differs"):
        numbers(root, pre_transform=lambda data: data)


def make(root, barrier):
    barrier.wait(30)
    for _ in range(20):
        assert numbers(root, force_reload=True)[0] == [1, 2, 3]
        assert numbers(root)[0] == [1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_two_processes_at_once(root):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    children = [context.Process(target=make, args=(root, barrier)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    assert sorted(os.listdir(f"{root}/processed")) == PROCESSED and numbers(root) == ([1, 2, 3], 0)


def test_a_folder_that_cannot_be_written_is_used_all_the_same(root, tmp_path, monkeypatch):
    Path(root, "processed").touch()  # no folder can be made where a file is (root may write everywhere)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(checked.tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.warns(UserWarning, match=r"processed' cannot be written .* made again the next time"):
        dataset = Numbers(root)
    assert [data.x.item() for data in dataset] == [1, 2, 3]
    again = pickle.loads(pickle.dumps(dataset))
    assert [data.x.item() for data in again] == [1, 2, 3]
    del dataset, again
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir()) and Path(root, "processed").read_bytes() == b""


@pytest.mark.parametrize("size", [0, 300])  # bytes: nothing, less than torch.save writes
def test_a_full_disk(size, root, monkeypatch):
    """Neither what was there is lost, nor what is asked for."""
    numbers(root)
    before = {path.name: path.read_bytes() for path in Path(root, "processed").iterdir()}
    make_for_this_object = Numbers.make_for_this_object
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def with_room(self, reason):  # the temporary folder is on another disk
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        make_for_this_object(self, reason)

    monkeypatch.setattr(Numbers, "make_for_this_object", with_room)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        with pytest.warns(UserWarning, match=r"processed' cannot be written .* made again the next time"):
            assert numbers(root, force_reload=True)[0] == [1, 2, 3]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in Path(root, "processed").iterdir()} == before


def test_a_disk_without_room(root, monkeypatch):
    times = []

    def process(self):
        times.append(self.processed_dir)
        if len(times) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        Numbers.save([Data(x=torch.tensor([[4.0]]))], self.processed_paths[0])

    monkeypatch.setattr(Numbers, "process", process)
    with pytest.warns(UserWarning, match=r"processed' cannot be written \(got No space left on device\)"):
        assert numbers(root)[0] == [4]
    assert not Path(times[0]).exists() and len(times) == 2


def test_a_folder_where_a_file_should_be(root):
    Path(root, "processed", "data.pt").mkdir(parents=True)
    with pytest.warns(UserWarning, match=r"processed' cannot be written \(got Is a directory\)"):
        assert numbers(root)[0] == [1, 2, 3]


def test_a_record_is_no_secret(root):
    numbers(root)
    record = json.loads(Path(root, "processed", "sha256.json").read_text())
    assert record["sha256"]["data.pt"] == sha256(Path(root, "processed", "data.pt").read_bytes()).hexdigest()


SETS = {
    "cmudict.dict": (CMUDict, b"graph G R AE1 F\n"),
    "train.tsv": (SST2, b"a gorgeous film\t1\n"),
    "en_ewt-ud-train.conllu": (UDEnglishEWT, b"1\tdo\t_\tAUX\t_\t_\t0\t_\t_\t_\n"),
    "raw/train-images-idx3-ubyte.gz": (MNIST, bytes.fromhex("1f8b0800000000000203")),
    "MNIST/raw/train-images-idx3-ubyte": (MNIST, bytes([0, 0, 8, 3] + [0] * 12)),
    "recordings/0_george_0.wav": (SpokenDigits, b"RIFF"),
}


@pytest.mark.parametrize("name", SETS)
def test_every_set_refuses_files_of_another_sum(name, tmp_path, monkeypatch):
    dataset, content = SETS[name]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(content)
    if dataset is SpokenDigits:
        monkeypatch.setattr(SpokenDigits, "sums", {name: dataset.sums.fget(None)[name]})
    with pytest.raises(ValueError, match=rf"'{tmp_path / name}' should have the sha256 \w{{32,64}} \(got "):
        dataset(str(tmp_path))
    assert (tmp_path / name).read_bytes() == content


DATA = os.environ.get("GRAPHATTN_DATA", "")


@pytest.mark.skipif(
    not Path(DATA, "cmudict", "cmudict.dict").exists(), reason="GRAPHATTN_DATA is no folder with this set"
)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_cut_dictionary_is_not_taken_for_a_whole_one(share, tmp_path):
    content = Path(DATA, "cmudict", "cmudict.dict").read_bytes()
    (tmp_path / "cmudict.dict").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="should have the sha256"):
        CMUDict(str(tmp_path))
    shutil.copy(Path(DATA, "cmudict", "cmudict.dict"), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(CMUDict(str(tmp_path), "valid")) == 2627
