import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import torch
from torch_geometric.loader import DataLoader

from graphattn import CompleteGraph
from graphattn.datasets import SpokenDigits, spoken_digits
from graphattn.inputs import from_waveform

SAMPLES = {  # name of the recording: number of samples at 8 kHz
    "0_george_0.wav": 1200,
    "3_theo_4.wav": 1600,
    "3_theo_5.wav": 2400,
    "9_yweweler_49.wav": 4000,
}


def waveform(name):
    random = np.random.default_rng(SAMPLES[name])
    return (8000 * random.standard_normal(SAMPLES[name])).clip(-32768, 32767).astype(np.int16)


def write(folder):
    folder.mkdir(parents=True)
    for name in SAMPLES:
        scipy.io.wavfile.write(folder / name, 8000, waveform(name))


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "recordings")
    return tmp_path


def test_takes_0_to_4_are_the_test_set(root):
    train, test = SpokenDigits(root), SpokenDigits(root, "test")
    assert [(int(data.y), int(data.speaker), int(data.take)) for data in train] == [(3, 4, 5), (9, 5, 49)]
    assert [(int(data.y), int(data.speaker), int(data.take)) for data in test] == [(0, 0, 0), (3, 4, 4)]
    assert train.num_classes == 10 and test.speakers[test[1].speaker] == "theo"


def test_nodes_are_log_mel_frames_that_all_see_each_other(root):
    data = SpokenDigits(root, "test")[1]
    expected = from_waveform(waveform("3_theo_4.wav") / 32768, 8000, normalize=True)
    assert torch.equal(data.x, expected.x) and torch.equal(data.pos, expected.pos)
    assert data.x.shape == (18, 40) and data.graph == CompleteGraph(18)  # 1600 samples: 0.2 s


def test_frames_are_kept(root, monkeypatch):
    first = SpokenDigits(root)[0].x
    monkeypatch.setattr(spoken_digits, "to_data", None)
    assert torch.equal(SpokenDigits(root)[0].x, first)


def test_batches_keep_speakers_and_takes_as_they_are(root):
    batch = next(iter(DataLoader(SpokenDigits(root), batch_size=2)))
    assert batch.y.tolist() == [3, 9] and batch.speaker.tolist() == [4, 5] and batch.take.tolist() == [5, 49]


@pytest.mark.parametrize("name", ["10_theo_0", "3_anna_0", "3_theo", "README"])
def test_another_name_raises(root, name):
    shutil.copy(root / "recordings" / "3_theo_4.wav", root / "recordings" / f"{name}.wav")
    with pytest.raises(ValueError, match=rf"named digit_speaker_take\.wav.*got '.*{name}\.wav'"):
        SpokenDigits(root)


def test_unknown_split_raises(root):
    with pytest.raises(ValueError, match=r"'split' needs to be 'train' or 'test' \(got 'dev'\)"):
        SpokenDigits(root, "dev")


def serve(monkeypatch, source):
    """Lets `download_url` pack the folder `source` as a zip of the commit; returns the addresses asked for."""
    asked, top = [], f"free-spoken-digit-dataset-{spoken_digits.COMMIT}"

    def download_url(url, folder):
        asked.append(url)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in source.iterdir():
                archive.write(path, f"{top}/recordings/{path.name}")
        path = Path(folder, "commit.zip")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed.getvalue())
        return str(path)

    monkeypatch.setattr(spoken_digits, "download_url", download_url)
    return asked


def test_missing_recordings_are_downloaded_once(tmp_path, monkeypatch):
    write(tmp_path / "source")
    asked = serve(monkeypatch, tmp_path / "source")
    monkeypatch.setattr(spoken_digits, "NUM_RECORDINGS", len(SAMPLES))
    root = tmp_path / "root"
    assert len(SpokenDigits(root)) == len(SpokenDigits(root, "test")) == 2
    assert asked == [SpokenDigits.url]
    assert sorted(path.name for path in root.iterdir()) == ["processed", "recordings"]


def test_a_download_that_is_not_whole_raises(tmp_path, monkeypatch):
    write(tmp_path / "source")
    serve(monkeypatch, tmp_path / "source")
    with pytest.raises(ValueError, match=r"should hold 3000 recordings \(got 4\)"):
        SpokenDigits(tmp_path / "root")
