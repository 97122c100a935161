"""Folders of files, a folder for each class."""

import numpy as np
import pytest
import scipy.io.wavfile

from graphattn.datasets import from_folder


def test_sounds(tmp_path):
    for label, count in (("yes", 2), ("no", 1)):
        (tmp_path / label).mkdir()
        for number in range(count):
            scipy.io.wavfile.write(tmp_path / label / f"{number}.wav", 8000, np.zeros(2000, dtype=np.int16))
    (tmp_path / "no" / "notes.txt").write_text("no sound")
    (tmp_path / "outside.wav").write_bytes(b"")
    data, classes, failures = from_folder(tmp_path, "wav", num_mels=8)
    assert classes == ["no", "yes"] and [each.y.item() for each in data] == [0, 1, 1]
    assert data[0].path.endswith("0.wav") and data[0].x.size(1) == 8
    assert [failure.where for failure in failures] == ["no/notes.txt", "outside.wav"]
    assert "no folder that names its class" in failures[1].reason


def test_images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for label in ("cat", "dog"):
        (tmp_path / label / "more").mkdir(parents=True)
        image.fromarray(np.zeros((8, 12), np.uint8)).save(tmp_path / label / "more" / "a.png")
    data, classes, failures = from_folder(tmp_path, "image", side=None, patch=4, mode="L")
    assert classes == ["cat", "dog"] and not failures
    assert [each.sides for each in data] == [(2, 3)] * 2 and data[0].x.shape == (6, 16)


def test_what_is_no_folder_of_classes(tmp_path):
    with pytest.raises(NotADirectoryError, match="there is no folder"):
        from_folder(tmp_path / "none")
    with pytest.raises(ValueError, match=r"'kind' must be one of \['wav', 'image'\] \(got 'mp4'\)"):
        from_folder(tmp_path, "mp4")
    with pytest.raises(ValueError, match="nothing in .* could be read"):
        from_folder(tmp_path, "wav")


def test_folders_of_parts_are_no_classes(tmp_path):
    for part in ("Train", "val"):
        (tmp_path / part / "cat").mkdir(parents=True)
        (tmp_path / part / "cat" / "a.png").write_bytes(b"")
    (tmp_path / ".hidden").mkdir()
    with pytest.raises(ValueError, match=r"are parts of the data, not classes \(got \['Train', 'val'\]\)"):
        from_folder(tmp_path, "image")
