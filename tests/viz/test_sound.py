import numpy as np
import pytest
import torch

from graphattn.inputs import from_waveform
from graphattn.viz import draw_sound

WAVE = torch.sin(2 * torch.pi * 440 * torch.arange(4000) / 8000)


def line_of(ax):
    (over,) = (other for other in ax.figure.axes if other is not ax)
    return over.lines[0].get_xdata(), over.lines[0].get_ydata()


def test_line_shows_the_weights_of_the_frame():
    data = from_waveform(WAVE, 8000, before=3, after=2)
    weights = torch.rand(data.graph.num_edges, 2)
    seconds, row = line_of(draw_sound(data, weights, node=10))
    key, query = data.graph.edge_index()
    assert torch.equal(torch.as_tensor(seconds), data.pos[:, 0])
    assert np.flatnonzero(~np.isnan(row)).tolist() == [7, 8, 9, 10, 11, 12] == key[query == 10].tolist()
    np.testing.assert_allclose(row[7:13], weights[query == 10].mean(1), rtol=1e-6)


def test_spectrogram_lies_under_its_frames():
    data = from_waveform(WAVE, 8000)
    ax = draw_sound(data)
    left, right, low, high = ax.images[0].get_extent()
    assert left < data.pos[0] < data.pos[-1] < right and high - low == 40
    assert ax.images[0].get_array().shape == (40, data.num_nodes) and ax.images[0].origin == "lower"  # deep below


def test_waveform_instead():
    ax = draw_sound(from_waveform(WAVE, 8000), waveform=WAVE[None], sample_rate=8000)
    assert not ax.images and ax.lines[0].get_xdata()[-1] == pytest.approx(3999 / 8000)
    with pytest.raises(ValueError, match="go together"):
        draw_sound(from_waveform(WAVE, 8000), waveform=WAVE)


def test_bands_are_named_in_hertz():
    """A tone lies at the height that the axis gives its frequency."""
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(4000) / 8000)
    ax = draw_sound(from_waveform(tone, 8000))
    ticks = {text.get_text(): height for text, height in zip(ax.get_yticklabels(), ax.get_yticks())}
    loudest = int(ax.images[0].get_array()[:, 20].argmax())
    assert list(ticks) == ["250 Hz", "0.5 kHz", "1 kHz", "2 kHz", "4 kHz"] and abs(ticks["1 kHz"] - loudest) <= 0.5
    assert "mel" in ax.get_ylabel()
    data = from_waveform(tone, 8000)
    del data.sample_rate
    assert draw_sound(data).get_ylabel() == "mel band"


def test_one_scale_for_several_sounds():
    data = from_waveform(WAVE, 8000, before=1, after=1)
    ax = draw_sound(data, torch.full((data.graph.num_edges,), 0.25), vmax=0.5)
    (over,) = (other for other in ax.figure.axes if other is not ax)
    assert over.get_ylim() == pytest.approx((0, 0.8))
