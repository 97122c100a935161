"""Audio: log-mel frames of a sound are the nodes; by default a frame attends to the frames near it."""

from os import PathLike

import numpy as np
import scipy.fft
import scipy.signal
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.graphs import BandedGraph
from graphattn.inputs.assemble import assemble
from graphattn.inputs.wav import read_wav

MIN_ENERGY = 1e-10  # -100 dB below a sine of full scale: what digital silence becomes before the logarithm


def from_wav(path: str | PathLike, **options) -> Data:
    """A wav file as a graph over its log-mel frames; options as in `from_waveform`. Channels are averaged."""
    samples, sample_rate = read_wav(path)
    try:
        return from_waveform(samples, sample_rate, **options)
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from error


def from_waveform(waveform: Tensor | np.ndarray, sample_rate: int, num_mels: int = 40, window: float = 0.025,
                  hop: float = 0.010, before: int | None = 20, after: int | None = 20, normalize: bool = False,
                  edge_index: bool = False) -> Data:
    """A sound as a graph over its log-mel frames.

    | attribute | shape              | meaning
    |-----------|--------------------|--------
    | x         | [frames, num_mels] | natural logarithm of the energy in each mel band, float32
    | pos       | [frames, 1]        | middle of the frame, in seconds
    | graph     | frames nodes       | frame i attends frames i - before .. i + after, in frames; None: no limit

    Args:
        waveform: floating-point samples [samples] or [channels, samples] (averaged), full scale = 1.
        sample_rate: in Hz. The mel bands reach from 0 to sample_rate / 2.
        window, hop: length of a frame (periodic Hann) and step between frames, in seconds. Only whole frames count, but
            a sound shorter than one window is padded with zeros to one frame.
        normalize: give all values of the sound together mean 0 and standard deviation 1, whatever its loudness.
        edge_index: also store graph.edge_index().

    Raises ValueError on a sound that is empty or holds NaN or infinite samples.

    >>> second = torch.sin(2 * torch.pi * 440 * torch.arange(8000) / 8000)
    >>> data = from_waveform(second, sample_rate=8000)
    >>> data.x.shape, data.pos[0].item()
    (torch.Size([98, 40]), 0.012500000186264515)
    """
    samples = check_waveform(waveform)
    length, step = samples_in('window', window, sample_rate), samples_in('hop', hop, sample_rate)
    power = power_frames(samples, length, step, fft_length(length, sample_rate, num_mels))  # [frames, bins]
    energy = power @ mel_filters(num_mels, power.shape[1], sample_rate).T  # [frames, num_mels]
    x = np.log(np.maximum(energy, MIN_ENERGY))
    if normalize:
        x = (x - x.mean()) / np.maximum(x.std(), 1e-5)  # silence becomes 0
    pos = (np.arange(len(x)) * step + length / 2) / sample_rate
    graph = BandedGraph(len(x), before, after)
    return assemble(torch.from_numpy(x).float(), torch.from_numpy(pos).float().unsqueeze(1), graph, edge_index)


def check_waveform(waveform: Tensor | np.ndarray) -> np.ndarray:
    """float64 samples [samples] of one channel, finite, at least one."""
    samples = waveform.detach().cpu().double().numpy() if is_floating_tensor(waveform) else np.asarray(waveform)
    if not np.issubdtype(samples.dtype, np.floating):
        raise TypeError(f"'waveform' needs floating-point samples of full scale 1 (got {samples.dtype}); divide 16-bit "
                        f"samples by 32768")
    if samples.ndim not in (1, 2):
        raise ValueError(f"'waveform' needs to be [samples] or [channels, samples] (got shape {list(samples.shape)})")
    if samples.size == 0:
        raise ValueError(f"'waveform' has no samples (got shape {list(samples.shape)})")
    if samples.ndim == 2 and samples.shape[0] > samples.shape[1]:
        raise ValueError(f"'waveform' needs to be [channels, samples] (got more channels than samples: "
                         f"{list(samples.shape)}); transpose it")
    broken = np.count_nonzero(~np.isfinite(samples))
    if broken:
        raise ValueError(f"'waveform' has {broken} samples of {samples.size} that are NaN or infinite; repair it first")
    return np.atleast_2d(samples).astype(np.float64).mean(0)


def is_floating_tensor(waveform: Tensor | np.ndarray) -> bool:
    return isinstance(waveform, Tensor) and waveform.is_floating_point()


def samples_in(name: str, seconds: float, sample_rate: int) -> int:
    """A time in whole samples, at least one."""
    if not sample_rate > 0:
        raise ValueError(f"'sample_rate' needs to be a positive number of Hz (got {sample_rate})")
    samples = round(seconds * sample_rate)
    if samples < 1:
        raise ValueError(f"'{name}' needs to be at least one sample long (got {seconds} s at {sample_rate} Hz)")
    return samples


def power_frames(samples: np.ndarray, length: int, step: int, num_fft: int) -> np.ndarray:
    """Power of each windowed frame, [frames, num_fft // 2 + 1].

    Scaled so that a row sums to the mean square of the samples under the window (Parseval; the one half of the spectrum
    stands for both): a sine of amplitude 1 sums to 1/2.
    """
    samples = np.pad(samples, (0, max(0, length - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::step]  # [frames, length]
    window = scipy.signal.get_window('hann', length)
    power = np.abs(scipy.fft.rfft(frames * window, num_fft)) ** 2 / (num_fft * np.sum(window ** 2))
    power[:, 1:(num_fft + 1) // 2] *= 2  # all but 0 Hz and, for an even length, the highest frequency
    return power


def fft_length(length: int, sample_rate: int, num_mels: int) -> int:
    """The smallest power of two that holds a frame and puts a frequency bin inside every mel filter.

    The second condition counts only for more filters than usual; padding with zeros interpolates the spectrum.
    """
    if num_mels < 1:
        raise ValueError(f"'num_mels' needs to be 1 or more (got {num_mels})")
    num_fft = 2 ** int(np.ceil(np.log2(max(length, 2))))
    while not mel_filters(num_mels, num_fft // 2 + 1, sample_rate).any(1).all():
        num_fft *= 2
    return num_fft


def mel_filters(num_mels: int, num_bins: int, sample_rate: int) -> np.ndarray:
    """Triangular filters of height 1, [num_mels, num_bins], linear in Hz.

    Each reaches from its lower neighbour's centre to its upper neighbour's; all corners are equally spaced in mel, the
    bins in Hz, from 0 to sample_rate / 2. As torchaudio.functional.melscale_fbanks(norm=None, mel_scale='htk').T.
    """
    corners = mel_to_hertz(np.linspace(0, hertz_to_mel(sample_rate / 2), num_mels + 2))  # [num_mels + 2]
    bins = np.linspace(0, sample_rate / 2, num_bins)
    lower, centre, upper = (corners[start:start + num_mels, None] for start in range(3))
    return np.clip(np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)), 0, None)


def hertz_to_mel(hertz):
    """mel = 2595 log10(1 + hertz / 700): D. O'Shaughnessy, Speech Communication, 1987, p. 150; the formula of HTK.

    >>> round(float(hertz_to_mel(1000)))
    1000
    """
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def mel_to_hertz(mel):
    """The inverse of `hertz_to_mel`."""
    return 700 * (10 ** (np.asarray(mel) / 2595) - 1)
