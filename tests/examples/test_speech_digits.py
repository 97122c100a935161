"""Two digits as rising and falling glides: the same frames in another order."""

import numpy as np
import pytest
import scipy.io.wavfile
import torch
from torch_geometric.data import Batch, Data

from examples import speech_digits
from graphattn import BandedGraph, CompleteGraph
from graphattn.datasets import SpokenDigits

TINY = ["--channels", "16", "--layers", "1", "--lr", "0.01", "--dropout", "0", "--batch-size", "4"]


def glide(digit, take):
    random = np.random.default_rng(take)
    pitch = np.linspace(500, 2500, 1600)[:: 1 - 2 * digit]
    return (8000 * np.sin(2 * np.pi * np.cumsum(pitch) / 8000) + random.normal(scale=100, size=1600)).astype(np.int16)


@pytest.fixture
def root(tmp_path, monkeypatch):
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for digit in (0, 1):
        for take in (0, 1, 5, 6, *range(10, 18)):
            speaker = SpokenDigits.speakers[take % 2]
            scipy.io.wavfile.write(folder / f"{digit}_{speaker}_{take}.wav", 8000, glide(digit, take))
    monkeypatch.setattr(SpokenDigits, "sums", {f"recordings/{path.name}": "" for path in folder.iterdir()})
    return tmp_path


def test_order_of_frames_is_learned_and_drawn(root, capsys):
    options = ["--root", str(root), "--epochs", "12", "--out", str(root / "out"), *TINY]
    assert speech_digits.main(options) == {None: 100.0}
    assert (root / "out" / "speech_digits_attention.png").read_bytes().startswith(b"\x89PNG")
    assert "digit, window complete: accuracy 100.00 % of 4 recordings" in capsys.readouterr().out


def test_sweep_has_a_result_for_each_window(root, capsys):
    options = [
        "--root",
        str(root),
        "--epochs",
        "2",
        "--sweep",
        "--target",
        "speaker",
        "--out",
        str(root / "out"),
        *TINY,
    ]
    assert set(speech_digits.main(options)) == set(speech_digits.WINDOWS)
    assert (root / "out" / "speech_speakers_sweep.png").read_bytes().startswith(b"\x89PNG")
    edges = [
        int(line.split(" edges")[0].split()[-1]) for line in capsys.readouterr().out.splitlines() if " edges" in line
    ]
    frames = 18  # of each of the 4 recordings
    assert edges == [
        4 * count for count in (frames**2, frames**2, frames**2 - 2, 9 * frames - 20, 3 * frames - 2, frames)
    ]


def test_validation_does_not_touch_the_test_set(root):
    train, held_out = speech_digits.load(speech_digits.parse_arguments(["--root", str(root), "--validate"]))
    assert sorted({int(take) for take in train.take}) == list(range(10, 18))
    assert sorted({int(data.take) for data in held_out}) == [5, 6]
    whole, test = speech_digits.load(speech_digits.parse_arguments(["--root", str(root)]))
    assert len(whole) == 20 and sorted({int(data.take) for data in test}) == [0, 1]


def test_stretch_keeps_both_ends():
    x = torch.tensor([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    longer = torch.tensor([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [4.0, 5.0]])
    torch.testing.assert_close(speech_digits.stretch(x, 5 / 3), longer)
    assert speech_digits.stretch(x[:1], 0.1).shape == (1, 2)


def test_warp_moves_bands_in_proportion():
    x = torch.arange(10.0).expand(2, 10)  # band 4 holds 4
    torch.testing.assert_close(speech_digits.warp(x, 1.0), x)
    torch.testing.assert_close(speech_digits.warp(x, 0.5), x / 2)
    assert speech_digits.warp(x, 1.5)[0].tolist() == [0, 1.5, 3, 4.5, 6, 7.5, 9, 9, 9, 9]


def test_augmentation_leaves_the_recording_as_it_was():
    torch.manual_seed(0)
    data = Data(x=torch.randn(30, 40), y=torch.tensor([3]), speaker=torch.tensor([1]))
    before = data.x.clone()
    changed = speech_digits.augment(data, "digit")
    assert torch.equal(data.x, before) and 24 <= len(changed.x) <= 36
    assert changed.y.item() == 3 and changed.speaker.item() == 1


def test_augmentation_adds_noise():
    torch.manual_seed(0)
    silence = Data(x=torch.zeros(30, 40), y=torch.tensor([3]), speaker=torch.tensor([1]))
    assert 0 < speech_digits.augment(silence, "digit").x.std() < 0.2


@pytest.mark.parametrize("window", [None, 2])
def test_scores_do_not_depend_on_batch_mates(window):
    torch.manual_seed(0)
    model = speech_digits.listener(40, 10, speech_digits.parse_arguments(TINY)).eval()
    sounds = [Data(x=torch.randn(frames, 40)) for frames in (5, 9)]
    together = speech_digits.run(model, Batch.from_data_list(sounds), window)
    alone = [speech_digits.run(model, Batch.from_data_list([sound]), window) for sound in sounds]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("graph", [CompleteGraph(7), BandedGraph(7, 2, 2)])
def test_drawn_attention_sums_to_one(graph):
    torch.manual_seed(0)
    model = speech_digits.listener(40, 10, speech_digits.parse_arguments(TINY)).eval()
    frames, pooling = model.attention(torch.randn(7, 40), graph)
    torch.testing.assert_close(torch.zeros(7, 4).index_add(0, graph.edge_index()[1], frames), torch.ones(7, 4))
    torch.testing.assert_close(pooling.sum(0), torch.ones(4))


def test_intervals_are_those_of_wilson():
    assert speech_digits.interval(50.0, 100) == pytest.approx((40.383, 59.617), abs=0.001)
    assert speech_digits.interval(100.0, 300) == pytest.approx((98.736, 100.0), abs=0.001)
