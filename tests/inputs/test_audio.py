"""Log-mel frames against a discrete Fourier transform and filters written as loops."""

import cmath
import math
import warnings

import numpy as np
import pytest
import scipy.io.wavfile
import torch
from torch_geometric.loader import DataLoader

from graphattn.graphs import BandedGraph
from graphattn.inputs import from_wav, from_waveform
from graphattn.inputs.audio import fft_length, hertz_to_mel, mel_filters, mel_to_hertz, power_frames


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(scale=0.3, size=samples)


def loop_mel(hertz):
    return 2595 * math.log10(1 + hertz / 700)


def loop_filters(num_mels, num_bins, rate):
    """Triangles by walking over filters and bins."""
    top = loop_mel(rate / 2)
    hertz = [700 * (10 ** (top * corner / (num_mels + 1) / 2595) - 1) for corner in range(num_mels + 2)]
    filters = [[0.0] * num_bins for _ in range(num_mels)]
    for mel in range(num_mels):
        low, centre, high = hertz[mel : mel + 3]
        for place in range(num_bins):
            frequency = place * rate / 2 / (num_bins - 1)
            if low <= frequency <= centre:
                filters[mel][place] = (frequency - low) / (centre - low)
            elif centre < frequency <= high:
                filters[mel][place] = (high - frequency) / (high - centre)
    return filters


def loop_log_mel(samples, rate, num_mels, length, step, num_fft):
    """Window, transform, square, filter, logarithm: sums written out."""
    window = [0.5 - 0.5 * math.cos(2 * math.pi * place / length) for place in range(length)]
    filters, rows = loop_filters(num_mels, num_fft // 2 + 1, rate), []
    for start in range(0, len(samples) - length + 1, step):
        frame = [samples[start + place] * window[place] for place in range(length)]
        power = []
        for bin in range(num_fft // 2 + 1):
            total = sum(value * cmath.exp(-2j * math.pi * bin * place / num_fft) for place, value in enumerate(frame))
            sides = 1 if bin in (0, num_fft // 2) else 2
            power.append(sides * abs(total) ** 2 / num_fft / sum(value * value for value in window))
        rows.append([math.log(max(sum(f * p for f, p in zip(row, power)), 1e-10)) for row in filters])
    return rows


@pytest.mark.parametrize("num_mels, num_bins, rate", [(40, 129, 8000), (7, 65, 11025), (40, 257, 16000), (1, 5, 100)])
def test_filters_equal_the_loop(num_mels, num_bins, rate):
    np.testing.assert_allclose(
        mel_filters(num_mels, num_bins, rate), loop_filters(num_mels, num_bins, rate), atol=1e-12
    )


def test_neighbouring_triangles_sum_to_one():
    """Between the first and the last centre the filters share every frequency without loss."""
    filters = mel_filters(40, 4097, 16000)
    peaks = filters.argmax(1)
    np.testing.assert_allclose(filters[:, peaks[0] + 1 : peaks[-1]].sum(0), 1, atol=1e-12)


def test_mel_and_back():
    assert hertz_to_mel(0) == 0 and abs(hertz_to_mel(1000) - 1000) < 0.02  # 1000 Hz is 1000 mel by construction
    np.testing.assert_allclose(mel_to_hertz(hertz_to_mel(np.linspace(0, 8000, 9))), np.linspace(0, 8000, 9), atol=1e-9)


def test_log_mel_equals_the_loop():
    rate, samples = 2000, noise(131)
    data = from_waveform(samples, rate, num_mels=6)  # 50 samples a frame, 20 a step, transform of 64
    assert fft_length(50, rate, 6) == 64
    expected = loop_log_mel(samples, rate, 6, length=50, step=20, num_fft=64)
    assert len(expected) == 5 and data.x.dtype == torch.float
    np.testing.assert_allclose(data.x.numpy(), expected, rtol=1e-5)


def test_positions_are_the_middles_of_the_frames():
    data = from_waveform(noise(8000), 8000)
    expected = [(start + start + 200) / 2 / 8000 for start in range(0, 8000 - 200 + 1, 80)]
    assert data.pos.shape == (98, 1)
    np.testing.assert_allclose(data.pos[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("hertz", [250.0, 1000.0, 3000.0])
def test_a_tone_lands_in_its_band(hertz):
    tone = np.sin(2 * np.pi * hertz * np.arange(8000) / 8000)
    loudest = from_waveform(tone, 8000).x.argmax(1).unique().tolist()
    centres = [700 * (10 ** (loop_mel(4000) * (mel + 1) / 41 / 2595) - 1) for mel in range(40)]
    assert loudest == [min(range(40), key=lambda mel: abs(loop_mel(centres[mel]) - loop_mel(hertz)))]


@pytest.mark.parametrize("length, num_fft", [(200, 256), (50, 64), (64, 64)])
def test_power_sums_to_the_energy_in_the_frame(length, num_fft):
    samples = noise(300)
    power = power_frames(samples, length, 10, num_fft)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    for row, start in zip(power, range(0, 300, 10)):
        energy = np.sum((samples[start : start + length] * window) ** 2) / np.sum(window**2)
        np.testing.assert_allclose(row.sum(), energy)


def test_a_sine_has_half_its_squared_amplitude():
    power = power_frames(0.5 * np.sin(2 * np.pi * 0.125 * np.arange(800)), 200, 80, 256)
    np.testing.assert_allclose(power.sum(1), 0.5**2 / 2, rtol=1e-6)


@pytest.mark.parametrize("samples, frames", [(1, 1), (199, 1), (200, 1), (279, 1), (280, 2), (8000, 98)])
def test_number_of_frames(samples, frames):
    data = from_waveform(noise(samples), 8000)
    assert data.x.shape == (frames, 40) and data.graph.num_queries == frames and data.num_nodes == frames
    assert torch.isfinite(data.x).all()


def test_silence_is_finite():
    np.testing.assert_allclose(from_waveform(np.zeros(400), 8000).x, math.log(1e-10), rtol=1e-6)
    assert torch.isfinite(from_waveform(np.zeros(400), 8000, normalize=True).x).all()


def test_normalize_forgets_the_loudness():
    sound = noise(4000)
    raw, x = from_waveform(sound, 8000).x.double(), from_waveform(sound, 8000, normalize=True).x
    values = raw.flatten().tolist()
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    torch.testing.assert_close(x.double(), (raw - mean) / deviation, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(from_waveform(sound / 10, 8000, normalize=True).x, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_mels, rate", [(1, 8000), (80, 16000), (128, 8000), (200, 8000)])
def test_no_filter_is_empty_whatever_their_number(num_mels, rate):
    x = from_waveform(noise(rate // 10), rate, num_mels=num_mels).x
    assert x.shape[1] == num_mels and (x > math.log(1e-9)).all()


def test_channels_are_averaged_and_tensors_are_welcome():
    left, right = torch.from_numpy(noise(500)), torch.from_numpy(noise(500, seed=1))
    stereo = from_waveform(torch.stack([left, right]), 8000)
    torch.testing.assert_close(stereo.x, from_waveform((left + right).div(2).numpy(), 8000).x)
    assert from_waveform(left.bfloat16().requires_grad_(), 8000).x.dtype == torch.float


def test_graph_is_a_band_of_frames():
    sound = noise(8000)
    assert from_waveform(sound, 8000).graph == BandedGraph(98, 20, 20)
    assert from_waveform(sound, 8000, before=3, after=0).graph == BandedGraph(98, 3, 0)
    every = from_waveform(sound, 8000, before=None, after=None, edge_index=True)
    assert every.edge_index.shape == (2, 98 * 98) and every.graph.num_edges == 98 * 98


def test_wav_equals_its_samples(tmp_path):
    samples = np.round(noise(900).clip(-1, 0.99) * 32768) / 32768
    path = tmp_path / "noise.wav"
    scipy.io.wavfile.write(path, 8000, np.stack([samples * 32768, np.zeros(900)], axis=1).astype(np.int16))
    torch.testing.assert_close(from_wav(path, num_mels=20).x, from_waveform(samples / 2, 8000, num_mels=20).x)


def test_broken_wav_files_are_named(tmp_path):
    path = tmp_path / "broken.wav"
    scipy.io.wavfile.write(path, 8000, np.zeros(400, dtype=np.int16))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=r"broken.wav' is truncated: its 'data' chunk announces 800 bytes and 700 are there"
    ):
        from_wav(path)
    scipy.io.wavfile.write(path, 8000, np.array([math.nan, 0.5], dtype=np.float32))
    with pytest.raises(ValueError, match=r"broken.wav': 'waveform' has 1 samples of 2 that are NaN"):
        from_wav(path)


@pytest.mark.parametrize(
    "waveform, message",
    [
        (np.zeros(0), r"'waveform' has no samples \(got shape \[0\]\)"),
        (torch.zeros(2, 0), r"'waveform' has no samples \(got shape \[2, 0\]\)"),
        (np.zeros((2, 3, 4)), r"\[samples\] or \[channels, samples\] \(got shape \[2, 3, 4\]\)"),
        (np.zeros((300, 2)), r"more channels than samples: \[300, 2\]\); transpose it"),
        (torch.tensor([0.0, math.nan, math.inf]), r"2 samples of 3 that are NaN or infinite"),
    ],
)
def test_bad_waveforms(waveform, message):
    with pytest.raises(ValueError, match=message):
        from_waveform(waveform, 8000)


def test_integers_and_complex_numbers_are_refused():
    with pytest.raises(TypeError, match=r"got int16\); divide 16-bit samples by 32768"):
        from_waveform(np.zeros(300, dtype=np.int16), 8000)
    with pytest.raises(TypeError, match="got complex64"):
        from_waveform(torch.zeros(300, dtype=torch.complex64), 8000)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(sample_rate=0), r"'sample_rate' needs to be a positive number of Hz \(got 0\)"),
        (dict(sample_rate=math.nan), r"'sample_rate' .* \(got nan\)"),
        (dict(window=1e-5), r"'window' needs to be at least one sample long \(got 1e-05 s at 8000 Hz\)"),
        (dict(hop=0), r"'hop' needs to be at least one sample long"),
        (dict(sample_rate=math.inf), r"'sample_rate' .* \(got inf\)"),
        (dict(hop=math.nan), r"'hop' needs to be at least one sample long"),
        (dict(window=math.inf), r"'window' needs to be at least one sample long"),
        (
            dict(sample_rate=1e12),
            r"'window' needs to be at most 4194304 samples long \(got 0.025 s at 1000000000000 Hz\)",
        ),
        (dict(num_mels=0), r"'num_mels' needs to be 1 or more \(got 0\)"),
        (dict(before=-1), r"'before'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        from_waveform(noise(400), **{"sample_rate": 8000, **options})


@pytest.mark.parametrize(
    "rate", [8000, 8000.0, np.int32(8000), np.float32(8000), torch.tensor(8000), np.array(8000)], ids=repr
)
def test_the_rate_is_kept(rate):
    data = from_waveform(noise(400), rate, num_mels=np.int64(20), before=np.int32(2), after=np.uint8(1))
    assert type(data.sample_rate) is int and data.sample_rate == 8000 and data.graph == BandedGraph(3, 2, 1)
    assert torch.equal(data.x, from_waveform(noise(400), 8000, num_mels=20).x)
    assert from_waveform(noise(400), 8000.5).sample_rate == 8000.5


@pytest.mark.parametrize("num_mels", [4.5, "4", None, True])
def test_numbers_of_bands_are_integers(num_mels):
    with pytest.raises(TypeError, match="'num_mels' must be an integer"):
        from_waveform(noise(400), 8000, num_mels=num_mels)


@pytest.mark.parametrize("rate", ["8000", None, True, [8000]])
def test_what_is_no_rate(rate):
    with pytest.raises(TypeError, match=r"'sample_rate' needs to be a positive number of Hz \(got"):
        from_waveform(noise(400), rate)


def write_wav(path, rate, samples=400):
    scipy.io.wavfile.write(path, rate, (noise(samples) * 3000).astype(np.int16))
    return path


def test_several_files_of_one_rate(tmp_path):
    paths = [write_wav(tmp_path / f"{length}.wav", 16000, length) for length in (400, 900)]
    sounds = from_wav(paths, num_mels=20)
    assert [data.sample_rate for data in sounds] == [16000, 16000]
    for data, path in zip(sounds, paths):
        assert torch.equal(data.x, from_wav(path, num_mels=20).x)
    assert next(iter(DataLoader(sounds, batch_size=2))).sample_rate.tolist() == [16000, 16000]
    assert from_wav([]) == []


def test_rates_that_differ_are_refused(tmp_path):
    fast, slow = write_wav(tmp_path / "fast.wav", 16000), write_wav(tmp_path / "slow.wav", 8000)
    with pytest.raises(
        ValueError, match=r"slow.wav' has 8000 samples per second, '.*fast.wav' 16000; resample it first"
    ):
        from_wav([fast, fast, slow])
    with pytest.raises(ValueError, match=r"slow.wav' has 8000 samples per second, 'sample_rate' 16000; resample"):
        from_wav(slow, sample_rate=16000)
    assert from_wav(slow, sample_rate=8000).sample_rate == 8000


@pytest.mark.parametrize("change", [lambda x: x[::-1][::-1], lambda x: np.repeat(x, 2)[::2], lambda x: x.astype(">f8")])
def test_samples_of_any_memory(change):
    sound = noise(900)
    assert torch.equal(from_waveform(change(sound), 8000).x, from_waveform(sound, 8000).x)
    assert torch.equal(from_waveform(sound[::-1], 8000).x, from_waveform(sound[::-1].copy(), 8000).x)


def test_several_sounds_are_no_channels():
    """Of one length they would be averaged in silence."""
    for sounds in ([noise(300), noise(300)], [torch.zeros(300), torch.zeros(300)], (noise(300), noise(200))):
        with pytest.raises(ValueError, match=r"'waveform' needs to be one sound \(got a .* of 2\); call once for each"):
            from_waveform(sounds, 8000)
    assert torch.equal(from_waveform(noise(300).tolist(), 8000).x, from_waveform(noise(300), 8000).x)


def test_samples_of_another_scale_are_said():
    sound = noise(900)
    with pytest.warns(
        UserWarning, match=r"samples up to .*e\+04 where full scale is 1; divide 16-bit samples by 32768"
    ):
        from_waveform(sound * 32768, 8000)
    with pytest.raises(ValueError, match=r"samples up to .*e\+200"):
        from_waveform(sound * 1e200, 8000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_waveform(sound * 3, 8000)


@pytest.mark.parametrize(
    "dtype, how", [("int32", "divide 32-bit samples by 2147483648"), ("uint8", "take .samples - 128. / 128")]
)
def test_other_integers_are_refused(dtype, how):
    with pytest.raises(TypeError, match=rf"got {dtype}\); {how}"):
        from_waveform(torch.zeros(300, dtype=getattr(torch, dtype)), 8000)


def test_a_batch():
    batch = next(iter(DataLoader([from_waveform(noise(samples), 8000) for samples in (300, 1000)], batch_size=2)))
    assert batch.ptr.tolist() == [0, 2, 13]
    assert batch.graph == [BandedGraph(2, 20, 20), BandedGraph(11, 20, 20)]
