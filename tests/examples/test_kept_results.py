import json
import os

import pytest

from examples import graph_classification, molecules, node_classification
from examples.kept_results import read_results, write_results


def test_what_is_written_is_read(tmp_path):
    file = tmp_path / "new" / "found.json"
    assert read_results(file, []) == [] and read_results(file, {}) == {}
    write_results(file, [{"test": 0.5, "name": "Veličković"}])
    write_results(file, [{"test": 0.5, "name": "Veličković"}, {}], indent=1)
    assert read_results(file, []) == [{"test": 0.5, "name": "Veličković"}, {}]
    assert os.listdir(file.parent) == ["found.json"]


@pytest.mark.parametrize("what", ["no JSON", "no disk", "interrupted"])
def test_a_failure_leaves_the_old_file(what, tmp_path, monkeypatch):
    file = tmp_path / "found.json"
    write_results(file, [1])
    if what == "no disk":  # half of it is written
        monkeypatch.setattr("pathlib.Path.write_text", lambda path, text, **_: fail(path, text))
    if what == "interrupted":
        monkeypatch.setattr(os, "replace", lambda *_: fail())
    with pytest.raises((TypeError, OSError)):
        write_results(file, [1, object() if what == "no JSON" else 2])
    assert json.loads(file.read_bytes()) == [1] and os.listdir(tmp_path) == ["found.json"]


def fail(path=None, text=""):
    if path is not None:
        path.write_bytes(text[:2].encode())
    raise OSError("there is no room")


@pytest.mark.parametrize(
    "damaged", [b'{"a": [1, 2', b"", b"\xff\xfe", b"[1] [2]"], ids=["cut", "empty", "bytes", "two"]
)
def test_a_damaged_file_is_named(damaged, tmp_path):
    file = tmp_path / "found.json"
    file.write_bytes(damaged)
    for default in ({}, []):
        with pytest.raises(ValueError, match=r"found.json holds no results .* delete or rename it to begin anew"):
            read_results(file, default)
    assert file.read_bytes() == damaged


def test_results_of_another_example_are_refused(tmp_path):
    file = tmp_path / "found.json"
    write_results(file, [])
    with pytest.raises(ValueError, match=r"found.json should hold a dict \(got a list\)"):
        read_results(file, {})


def test_examples_say_which_file_is_damaged(tmp_path):
    file = tmp_path / "found.json"
    file.write_text('{"a": ')
    with pytest.raises(ValueError, match="found.json holds no results"):
        node_classification.run_all("Minesweeper", None, node_classification.DEEP, 1, file)
    with pytest.raises(ValueError, match="found.json holds no results"):
        molecules.run_all("FreeSolv", str(tmp_path), None, 1, file)
    with pytest.raises(ValueError, match="found.json holds no results"):
        graph_classification.run_all("MNIST", None, str(tmp_path), file)
