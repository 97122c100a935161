import hashlib
import io
import os
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
from graphattn.datasets.download import read_checked
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


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A release of four recordings."""
    root, sums = tmp_path / "root", {}
    (root / "recordings").mkdir(parents=True)
    for name in SAMPLES:
        path = root / "recordings" / name
        scipy.io.wavfile.write(path, 8000, waveform(name))
        sums[f"recordings/{name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(SpokenDigits, "sums", sums)
    return root


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


def test_a_recording_of_another_release_raises(root):
    shutil.copy(root / "recordings" / "3_theo_4.wav", root / "recordings" / "3_theo_50.wav")
    with pytest.raises(ValueError, match=r"3_theo_50\.wav' is no recording of this release, which has 4"):
        SpokenDigits(root)


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_recording_that_is_cut_short_raises(root, share):
    path = root / "recordings" / "3_theo_5.wav"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=r"3_theo_5\.wav' should have the sha256 \w{64} \(got \w{64}.*delete it"):
            SpokenDigits(root, split)
    assert not list((root / "processed").iterdir()) if (root / "processed").exists() else True


def test_every_recording_has_a_sum():
    names = {
        f"recordings/{digit}_{name}_{take}.wav"
        for digit in range(10)
        for name in SpokenDigits.speakers
        for take in range(50)
    }
    assert set(spoken_digits.sums()) == names
    assert all(len(found) == 32 for found in spoken_digits.sums().values())


def test_sums_are_those_of_the_release():
    """How the file of sums was made: the first half of the sha256 of each recording, digit by digit, speaker, take."""
    root = Path(os.environ.get("GRAPHATTN_DATA", "datasets"), "fsdd")
    if not (root / "recordings").exists():
        pytest.skip("needs the recordings, in $GRAPHATTN_DATA/fsdd")
    halves = [hashlib.sha256((root / name).read_bytes()).digest()[:16] for name in spoken_digits.names_of_recordings()]
    assert Path(spoken_digits.__file__).with_suffix(".sums").read_bytes() == b"".join(halves)


def test_half_a_sum_tells_which_recording_is_damaged(root):
    path = root / "recordings" / "0_george_0.wav"
    wanted = spoken_digits.sums()["recordings/0_george_0.wav"]
    with pytest.raises(ValueError, match=rf"0_george_0\.wav' should have the sha256 {wanted} \(got \w{{64}}, of"):
        read_checked(path, wanted, SpokenDigits.url)


def test_unknown_split_raises(root):
    with pytest.raises(ValueError, match=r"'split' needs to be 'train' or 'test' \(got 'dev'\)"):
        SpokenDigits(root, "dev")


def packed(root, names=SAMPLES):
    """A zip as GitHub makes it of a commit."""
    content, top = io.BytesIO(), f"free-spoken-digit-dataset-{spoken_digits.COMMIT}"
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{top}/README.md", "")
        for name in names:
            archive.write(root / "recordings" / name, f"{top}/recordings/{name}")
    return {f"{spoken_digits.COMMIT}.zip": content.getvalue()}


def test_missing_recordings_are_downloaded_once(root, serve):
    asked = serve(packed(root))
    for missing in (list(SAMPLES), ["3_theo_5.wav"]):
        for name in missing:
            (root / "recordings" / name).unlink()
        shutil.rmtree(root / "processed", ignore_errors=True)
        asked.clear()
        assert len(SpokenDigits(root)) == len(SpokenDigits(root, "test")) == 2
        assert asked == [SpokenDigits.url]
        assert sorted(path.name for path in root.iterdir()) == ["processed", "recordings"]


def test_a_download_that_is_not_whole_raises(root, serve):
    serve(packed(root, list(SAMPLES)[:3]))
    shutil.rmtree(root / "recordings")
    with pytest.raises(ValueError, match=r"should hold 'recordings/9_yweweler_49\.wav' \(got 4 other files\)"):
        SpokenDigits(root)
    assert not list(root.iterdir())
